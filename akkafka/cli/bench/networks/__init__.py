"""The networks that are measured by default, each a kind of bound: latency, bytes, computing."""

from __future__ import annotations

from pathlib import Path

from akkafka.errors import ConfigError

NETS = ("mlp-small", "mlp-wide", "lenet")
_HERE = Path(__file__).parent


def config_of(config: Path | None, net: str | None) -> Path:
    """The file to measure: one of the command line, or of a name. Raises ConfigError for both, or an unknown name."""
    if net is None:
        return config or Path("mnist")
    if config is not None:
        raise ConfigError(f"bench: got {config} and --net {net}", hint="Give one of them.")
    if net not in NETS:
        raise ConfigError(f"bench: there is no network {net!r}", hint=f"Known are {', '.join(NETS)}.")
    return Path("mnist") if net == "mlp-small" else _HERE / f"{net}.toml"
