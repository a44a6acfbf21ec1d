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
ConfigArgument = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="A file, or a bundled name; default: mnist.")
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
    config: ConfigArgument = None,
    net: NetOption = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"May be repeated; default: all ({', '.join(PEERS)})."),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE …", help="akkafka once more with these settings (wire.edges=bfloat16); repeatable."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each of them runs.")] = 5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In each round, warm-up included; default: what the config says.")
    ] = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    target: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0.01, max=1.0, help="Tell the time to this validation accuracy, too (0.95)."),
    ] = None,
    out: OutOption = None,
    plot: PlotOption = None,
) -> None:
    """Throughput of akkafka beside others with the same network and data, one after the other in turn."""
    from akkafka.cli.bench.command import Request
    from akkafka.cli.bench.command import peers as work

    file = config_of(config, net)
    peers_asked, more = tuple(peer or ()), tuple(variant or ())
    work(
        Request(
            file, tuple(overrides or ()), seed, epochs, rounds, peers_asked, data_dir, out, plot, more, target or 0.0
        )
    )


@app.command()
def pipeline(
    config: ConfigArgument = None,
    net: NetOption = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long each round is measured.")] = 15.0,
    rounds: Annotated[int, typer.Option(min=1, help="Each with a training of its own.")] = 1,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    plot: PlotOption = None,
) -> None:
    """Throughput, CPU by process and broker, and where a batch's time goes: tables and a waterfall of one batch."""
    from akkafka.cli.bench.pipeline import Request
    from akkafka.cli.bench.pipeline import pipeline as work

    file = config_of(config, net)
    work(Request(file, tuple(overrides or ()), seed, data_dir, seconds, rounds, out, plot))


@app.command()
def wire(
    size: Annotated[
        list[int] | None,
        typer.Option(metavar="BYTES", min=1, max=60_000_000, help="May be repeated; default: 1 KB to 4 MB."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Over all sizes in turn.")] = 3,
    out: OutOption = None,
    plot: PlotOption = None,
) -> None:
    """A hop over the broker by size: latency, MB/s, CPU of both ends and of the broker."""
    from akkafka.cli.bench.hop import Request
    from akkafka.cli.bench.hop import wire as work

    work(Request(tuple(size or ()), rounds, out, plot))


@app.command()
def scaling(
    config: ConfigArgument = None,
    net: NetOption = None,
    over: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS", help="batch, window, gates, lanes, processes; may be repeated; default: all."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long each point is measured.")] = 8.0,
    rounds: Annotated[int, typer.Option(min=1, help="Of all points in turn.")] = 1,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    out: OutOption = None,
    plot: PlotOption = None,
) -> None:
    """How speed and cost move with batch size, window, number of gates, lanes and processes."""
    from akkafka.cli.bench.scaling import Request
    from akkafka.cli.bench.scaling import scaling as work

    file = config_of(config, net)
    work(Request(file, tuple(overrides or ()), data_dir, tuple(over or ()), seconds, rounds, out, plot))


@app.command()
def recovery(
    config: ConfigArgument = None,
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


@app.command()
def endurance(
    config: ConfigArgument = None,
    pairs: Annotated[int, typer.Option(min=1, help="Phases of peace and as many of kills, in turn.")] = 10,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long a phase takes.")] = 60.0,
    every: Annotated[float, typer.Option(min=1.0, help="Seconds from one kill to the next.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of moments and gates.")] = 1,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    out: OutOption = None,
) -> None:
    """Throughput, memory and disk while gates with standbys are killed, beside the same training in peace."""
    from akkafka.cli.bench.endurance import Request
    from akkafka.cli.bench.endurance import endurance as work

    file = config or Path("mnist")
    work(Request(file, tuple(overrides or ()), seed, pairs, seconds, every, data_dir, out))


@app.command()
def cost(
    config: ConfigArgument = None,
    net: NetOption = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long each turn is measured.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="Of both in turn.")] = 12,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
) -> None:
    """What journal and snapshots cost while nothing fails, beside gates that keep neither (for this bench only)."""
    from akkafka.cli.bench.cost import Request
    from akkafka.cli.bench.cost import cost as work

    work(Request(config_of(config, net), tuple(overrides or ()), seed, data_dir, seconds, rounds, out))


@app.command()
def kernels(
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Cases whose names have it; may be repeated; default: all.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender's turn comes.")] = 15,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write figures here.")] = None,
) -> None:
    """Layers, losses and optimizers beside PyTorch's, same shapes, one thread, in turn."""
    from akkafka.cli.bench.kernels.command import Request
    from akkafka.cli.bench.kernels.command import kernels as work

    work(Request(tuple(only or ()), rounds, out))
