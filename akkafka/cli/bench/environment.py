"""Environments for peers: heavy packages are installed on demand beside akkafka, never into its own environment."""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import platformdirs

from akkafka.errors import AkkafkaError

Say = Callable[[str], None]

OFFLINE = ("NewConnectionError", "Max retries", "name resolution", "No route to host", "ConnectTimeout", "ProxyError")
MARK = "complete.json"  # written last, into an environment that is whole
NEWS = ("Collecting ", "Downloading ", "Installing collected")


def pinned(requirements: Sequence[str]) -> tuple[str, ...]:
    """The peer's own requirements with akkafka's very numpy: the same BLAS on both sides."""
    return (*requirements, f"numpy=={np.__version__}")


def default_root() -> Path:
    """Where environments are kept: `bench` in the user's cache directory of akkafka."""
    return platformdirs.user_cache_path("akkafka") / "bench"


def home_of(name: str, requirements: Sequence[str], *, root: Path | None = None) -> Path:
    """An environment's directory, named by all it depends on: requirements, Python, machine."""
    facts = [*sorted(requirements), sys.base_prefix, platform.python_version(), sys.platform, platform.machine()]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    return (root or default_root()) / f"{name}-{key}"


def python_of(name: str, requirements: Sequence[str], say: Say, *, root: Path | None = None) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there; nothing is fetched if it is.

    Raises AkkafkaError: no venv in this Python, no package index, a full disk; a half-made environment is made anew
    by the next call.
    """
    home = home_of(name, requirements, root=root)
    python, mark = home / "bin" / "python", home / MARK
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _alone(home.with_suffix(".lock"), say):
            if not mark.is_file():
                shutil.rmtree(home, ignore_errors=True)
                _make(name, home, python, requirements, say)
                mark.write_text(json.dumps({"requirements": list(requirements)}) + "\n", encoding="utf-8")
    except OSError as error:
        raise AkkafkaError(
            f"peer {name}: its environment cannot be made in {home}: {error.strerror or error}",
            hint="Make room or mend permissions there, set XDG_CACHE_HOME, or leave this peer out: --peer in-process.",
        ) from error
    return python


@contextmanager
def _alone(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock file, so that two benches do not build one environment."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that makes {path.stem}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(name: str, home: Path, python: Path, requirements: Sequence[str], say: Say) -> None:
    say(f"peer {name}: making an environment of its own in {home}, once ({', '.join(requirements)})")
    code, said = _followed([sys.executable, "-m", "venv", str(home)], lambda line: None)
    if code:
        raise AkkafkaError(
            f"peer {name}: `python -m venv` failed: {_gist(said)}",
            hint="Some systems have venv in a package of its own, such as python3-venv.",
        )
    options = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--only-binary", ":all:")
    code, said = _followed(
        [str(python), "-m", "pip", "install", *options, *requirements],
        lambda line: say(f"  {line}") if line.startswith(NEWS) else None,
    )
    if code:
        raise _not_installed(name, requirements, said)


def _followed(command: list[str], hear: Say) -> tuple[int, list[str]]:
    """Run it, handing on its lines as they come; exit code and last lines."""
    last: deque[str] = deque(maxlen=200)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None, "it is a pipe"
        for line in process.stdout:
            last.append(line.strip())
            hear(line.strip())
    return process.returncode, list(last)


def _not_installed(name: str, requirements: Sequence[str], said: list[str]) -> AkkafkaError:
    """The error for what pip said; a missing network is told as such, as pip speaks of missing versions then."""
    wanted = ", ".join(requirements)
    if any(sign in line for line in said for sign in OFFLINE):
        return AkkafkaError(
            f"peer {name}: no package index could be reached to install {wanted}",
            hint="Go online or name a mirror by PIP_INDEX_URL, or leave this peer out: --peer in-process.",
        )
    return AkkafkaError(
        f"peer {name}: {wanted} could not be installed: {_gist(said)}",
        hint="Mend what pip says, or leave this peer out: --peer in-process.",
    )


def _gist(said: list[str]) -> str:
    """The line that tells most: pip's first error, else the last line."""
    errors = [line for line in said if line.startswith("ERROR:")]
    return errors[0].removeprefix("ERROR: ") if errors else (said[-1] if said else "it said nothing")
