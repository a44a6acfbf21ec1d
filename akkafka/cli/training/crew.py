"""Which processes a training has, and where what they leave lies on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from akkafka.broker.connection import Connection
from akkafka.broker.network import Network
from akkafka.cli.training.placement import processes_of
from akkafka.cli.training.supervision import Role, Worker
from akkafka.errors import ConfigError
from akkafka.protocol.config import Config
from akkafka.protocol.messages import Mode


@dataclass(frozen=True, slots=True)
class Home:
    """A network's directory in the state directory."""

    root: Path

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.root / "logs"

    @property
    def weights(self) -> Path:
        """Where the weights are left unless told otherwise."""
        return self.root / "weights.npz"

    @property
    def expected(self) -> Path:
        """What the last training from here defined, for processes that start before it does."""
        return self.root / "expected.json"

    @property
    def goal(self) -> Path:
        """How far the last training from here was to go."""
        return self.root / "goal.json"

    def make(self) -> None:
        """Make the directories; raises ConfigError."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self.logs} cannot be made: {error.strerror or error}", hint="Choose another --state-dir."
            ) from error

    def remember(self, network: Network, epochs: int) -> None:
        """Note the goal of this training."""
        self.goal.write_text(json.dumps({"run": str(network.run), "epochs": epochs}) + "\n", encoding="utf-8")

    def remembered(self, network: Network) -> int | None:
        """Epochs that the last training of this very run was to make, if it began here."""
        try:
            noted = json.loads(self.goal.read_text(encoding="utf-8"))
            return int(noted["epochs"]) if noted["run"] == str(network.run) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


STANDBY = "-standby"  # end of a standby's name
GATE: tuple[str, ...] = ("-m", "akkafka.gate")  # behind the interpreter; `bench cost` has gates of its own


def crew(
    config: Config,
    network: str,
    epochs: int,
    data_dir: Path | None,
    servers: str,
    allow: tuple[str, ...] = (),
    *,
    standby: bool = False,
) -> list[Worker]:
    """A process for each gate, the training sentinels, and one for validation if there are lanes for it.

    With `standby` a second one for each gate, which takes over within a second or two should the first fall silent.
    """
    allowed = tuple(word for package in allow for word in ("--allow", package))
    reach = ("--network", network, "--bootstrap-servers", servers, *allowed)
    data = () if data_dir is None else ("--data-dir", str(data_dir))
    sentinel = ("-m", "akkafka.sentinel")
    plan = config.definition.plan
    gates = [
        Worker(f"gate-{layers}", Role.GATE, (*GATE, "--layer", layers, *reach))
        for layers in processes_of(config.run.processes, len(config.definition.gates))
    ]
    standbys = [
        Worker(f"{gate.name}{STANDBY}", Role.GATE, (*gate.command, "--standby"), later=True)
        for gate in gates
        if standby
    ]
    trainers = min(config.run.sentinels, len(plan.of(Mode.TRAIN)))
    training = [  # without --shard a sentinel can do every lane of the definition, and the group shares them out
        Worker(f"sentinel-train-{i}", Role.TRAIN, (*sentinel, "train", *reach, *data, "--epochs", str(epochs)))
        for i in range(trainers)
    ]
    once = (*sentinel, "validate", *reach, *data, "--once")
    every = (*sentinel, "validate", *reach, *data, "--every", f"{config.run.validate_every:g}")
    validating = [Worker("sentinel-validate", Role.VALIDATE, every, once, later=True)] if plan.of(Mode.VALIDATE) else []
    return [*gates, *training, *validating, *standbys]


def kafka_environment(connection: Connection) -> dict[str, str]:
    """The connection as KAFKA_* variables, for children: so no password shows in a list of processes."""
    values = connection.model_dump(exclude_defaults=True)
    password = connection.sasl_password
    if password is not None:
        values["sasl_password"] = password.get_secret_value()
    return {f"KAFKA_{name.upper()}": str(value) for name, value in values.items() if value is not None}
