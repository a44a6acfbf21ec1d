"""Options that many commands share, so that a secured cluster is reached the same way by all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

NetworkOption = Annotated[
    str | None, typer.Option("--network", metavar="NAME", help="Which network, if there are several.")
]
DataDirOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Where data files lie (AKKAFKA_DATA_DIR).")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one setting; may be repeated.")
]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Seed of weights, masks and shuffling.")]
ConfigArgument = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="A file, or a bundled name; default: digits.")
]
StateDirOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Home of the embedded broker, logs and weights (AKKAFKA_STATE_DIR)."),
]
KeepLogOption = Annotated[
    bool, typer.Option("--keep-log", help="Trim nothing: the whole log stays for `replay --from-zero`.")
]
ByOrderOption = Annotated[
    bool,
    typer.Option("--by-order", help="A PyTorch model of whatever names: its layers with weights are ours, in order."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Where:
    """What a command was told about the broker."""

    flags: Mapping[str, str | int | None]  # fields of broker.connection.Connection; None: not given
    state_dir: Path | None = None
    allow: tuple[str, ...] = ()  # packages with own layers or data sets, already imported here


def _connection_options(
    bootstrap_servers: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Kafka's address (KAFKA_BOOTSTRAP_SERVERS).")
    ] = None,
    security_protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    ] = None,
    sasl_mechanism: Annotated[
        str | None, typer.Option(metavar="NAME", help="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")
    ] = None,
    sasl_username: Annotated[
        str | None, typer.Option(metavar="USER", help="The password comes by KAFKA_SASL_PASSWORD.")
    ] = None,
    ssl_cafile: Annotated[str | None, typer.Option(metavar="FILE", help="Certificates to trust (PEM).")] = None,
    ssl_certfile: Annotated[str | None, typer.Option(metavar="FILE", help="Our certificate (PEM).")] = None,
    ssl_keyfile: Annotated[str | None, typer.Option(metavar="FILE", help="Our certificate's key (PEM).")] = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies of new topics; default min(3, brokers).")
    ] = None,
    state_dir: StateDirOption = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Package with own layers or data sets (import name); may be repeated."),
    ] = None,
) -> None:
    """The shared options, as typer reads them."""


def _allow(packages: tuple[str, ...]) -> None:
    from akkafka.nn.allow import allow_packages  # brings numpy in: not for --help

    allow_packages(packages)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; they reach it as one keyword argument, `where: Where`."""
    shared = inspect.signature(_connection_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @wraps(command)
    def wrapper(**given: Any) -> None:
        flags = {name: given.pop(name) for name in shared}
        state_dir, allow = flags.pop("state_dir"), tuple(flags.pop("allow") or ())
        _allow(allow)
        command(**given, where=Where(flags, state_dir, allow))

    kept = [p.replace(kind=p.KEYWORD_ONLY) for name, p in own.parameters.items() if name != "where"]
    extra = [p.replace(kind=p.KEYWORD_ONLY) for p in shared.values()]
    hints = {**get_type_hints(command, include_extras=True), **get_type_hints(_connection_options, include_extras=True)}
    hints.pop("where")
    wrapper.__annotations__ = hints
    wrapper.__signature__ = own.replace(parameters=[*kept, *extra])  # type: ignore[attr-defined]  # read by inspect
    return wrapper
