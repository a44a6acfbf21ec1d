"""The commands under `akkafka bench`; what they do is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from akkafka.cli.bench.networks import NETS, config_of
from akkafka.cli.bench.peers import PEERS
from akkafka.cli.options import DataDirOption, SeedOption, SetOption

NetOption = Annotated[
    str | None, typer.Option("--net", metavar="NAME", help=f"Instead of a config: {', '.join(NETS)}.")
]
OutOption = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write figures here.")]
PlotOption = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw them here (needs the extra `plot`).")]

app = typer.Typer(
    help="Measure.", rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def _bench() -> None:
    """Measure."""


@app.command()
def peers(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="A file, or a bundled name; default: mnist.")
    ] = None,
    net: NetOption = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"May be repeated; default: all ({', '.join(PEERS)})."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each of them runs.")] = 5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In each round, warm-up included; default: what the config says.")
    ] = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    plot: PlotOption = None,
) -> None:
    """Throughput of akkafka beside others with the same network and data, one after the other in turn."""
    from akkafka.cli.bench.command import Request
    from akkafka.cli.bench.command import peers as work

    file = config_of(config, net)
    work(Request(file, tuple(overrides or ()), seed, epochs, rounds, tuple(peer or ()), data_dir, out, plot))


@app.command()
def recovery(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="A file, or a bundled name; default: mnist.")
    ] = None,
    kills: Annotated[int, typer.Option(min=1, help="Of each kind: with restarts, with standbys.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of moments and gates.")] = 1,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    out: OutOption = None,
) -> None:
    """Seconds from the SIGKILL of a working gate to its next applied update."""
    from akkafka.cli.bench.recovery import Request
    from akkafka.cli.bench.recovery import recovery as work

    work(Request(config or Path("mnist"), tuple(overrides or ()), seed, kills, data_dir, out))
