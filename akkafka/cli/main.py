"""The door: commands and their options; what a command does is imported when it is called, so that --help is quick."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from akkafka.cli.failing import INTERRUPTED, fail
from akkafka.cli.options import (
    ByOrderOption,
    ConfigArgument,
    DataDirOption,
    JsonOption,
    KeepLogOption,
    NetworkOption,
    SeedOption,
    SetOption,
    StateDirOption,
    Where,
    connected,
)

app = typer.Typer(
    name="akkafka",
    help="Train a neural network as a chain of small services over Apache Kafka.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would double the time that `akkafka --help` takes
    add_completion=False,
    pretty_exceptions_enable=False,
)
broker_app = typer.Typer(
    help="The embedded Apache Kafka: in the foreground, or `start`, `stop`, `status`, `where`.",
    rich_markup_mode=None,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
app.add_typer(broker_app, name="broker")


def _version(asked: bool) -> None:
    if asked:
        from akkafka import __version__

        print(f"akkafka {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@connected
def train(
    config: ConfigArgument = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs in all; default: what the config says.")] = None,
    data_dir: DataDirOption = None,
    network: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: the config's name and a hash of the definition.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write figures here.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Write the weights here; default: the state directory.")
    ] = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew, even if the network is unfinished.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on, even if the network is finished.")] = False,
    keep_log: KeepLogOption = False,
    standby: Annotated[
        bool, typer.Option("--standby", help="A second process for each gate, which takes over should the first die.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Begin with these weights, as `akkafka import` takes them.")
    ] = None,
    weights_of: Annotated[
        list[str] | None, typer.Option(metavar="GATE", help="Only this gate begins with --weights; may be repeated.")
    ] = None,
    by_order: ByOrderOption = False,
    *,
    where: Where,
) -> None:
    """Train a network: finds or starts a broker, runs all processes, shows how it goes, leaves the weights."""
    from akkafka.cli.importing import Source
    from akkafka.cli.training.command import Request
    from akkafka.cli.training.command import train as work

    changes = tuple(overrides or ())
    begin = None if weights is None else Source(weights, tuple(weights_of or ()), by_order)
    request = Request(
        config, changes, seed, epochs, data_dir, network, report, out, fresh, resume, where, keep_log, standby, begin
    )
    raise SystemExit(work(request))


@app.command()
@connected
def define(
    config: ConfigArgument = None,
    network: NetworkOption = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    keep_log: KeepLogOption = False,
    *,
    where: Where,
) -> None:
    """Create a network's topics and publish its definition; prints its name."""
    from akkafka.cli import networks as commands

    commands.define(commands.configured(config, overrides or [], seed, data_dir), network, where, keep_log=keep_log)


@app.command()
@connected
def networks(as_json: JsonOption = False, *, where: Where) -> None:
    """List the networks of the broker."""
    from akkafka.cli import networks as commands

    commands.networks(where, as_json)


@app.command()
@connected
def topics(network: NetworkOption = None, as_json: JsonOption = False, *, where: Where) -> None:
    """List topics, their partitions and how many offsets they hold."""
    from akkafka.cli import networks as commands

    commands.topics(network, where, as_json)


@app.command()
@connected
def reset(
    network: Annotated[str, typer.Option(metavar="NAME", help="Which network.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    *,
    where: Where,
) -> None:
    """Delete a network with all its topics and weights."""
    from akkafka.cli import networks as commands

    commands.reset(network, where, yes)


@app.command()
@connected
def status(
    network: NetworkOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    *,
    where: Where,
) -> None:
    """Show broker, gates, lanes and sentinels as they are now."""
    from akkafka.cli.status import status as work

    work(network, where, as_json=as_json, watch=watch)


@app.command()
@connected
def audit(network: NetworkOption = None, as_json: JsonOption = False, *, where: Where) -> None:
    """Prove from the log alone that every batch counted once at every gate; 0 only if all of it holds."""
    from akkafka.cli.audit import audit as work

    raise SystemExit(work(network, where, as_json=as_json))


@app.command()
@connected
def replay(
    gate: Annotated[int, typer.Option(min=0, help="Which gate.")],
    to: Annotated[int | None, typer.Option(metavar="VERSION", min=1, help="Stop there; default: the end.")] = None,
    from_zero: Annotated[
        bool, typer.Option("--from-zero", help="From the definition, not from a snapshot; needs a log kept whole.")
    ] = False,
    network: NetworkOption = None,
    as_json: JsonOption = False,
    *,
    where: Where,
) -> None:
    """Rebuild a gate's weights from the log and compare them with what it served; 0 only if they are equal."""
    from akkafka.cli.replay import replay as work

    raise SystemExit(work(network, gate, where, to=to, from_zero=from_zero, as_json=as_json))


@app.command()
def plan(
    config: ConfigArgument = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Where it shall run; default: those of this machine.")
    ] = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
) -> None:
    """Measure what each gate's work costs here, and propose which gates share a process."""
    from akkafka.cli.training.placement import thread_caps

    os.environ.update(thread_caps(1))  # before numpy comes in: a gate's cost on one thread
    from akkafka.cli.plan import plan as work

    print("\n".join(work(config, tuple(overrides or ()), cores, data_dir)))


@app.command()
@connected
def predict(
    source: Annotated[Path, typer.Option("--in", metavar="X.npz", help="Samples: an array 'x', or the only one.")],
    out: Annotated[Path, typer.Option(metavar="Y.npz", help="Outputs 'y', and 'label' where there are classes.")],
    network: NetworkOption = None,
    *,
    where: Where,
) -> None:
    """Send samples through the live gates."""
    from akkafka.cli.predict import predict as work

    work(source, out, network, where)


@app.command()
@connected
def export(
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="safetensors (default), npz, onnx or torch.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the network's name and the format's suffix, here.")
    ] = None,
    network: NetworkOption = None,
    *,
    where: Where,
) -> None:
    """Write the weights that the log holds now, or all of the network as an ONNX graph."""
    from akkafka.cli.exporting import export as work

    work(form, out, network, where)


@app.command("import")
@connected
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="npz, safetensors, or a PyTorch state dict (.pt).")],
    config: ConfigArgument = None,
    network: NetworkOption = None,
    gate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this gate begins with them; may be repeated.")
    ] = None,
    by_order: ByOrderOption = False,
    torch_names: Annotated[
        bool, typer.Option("--torch-names", help="Names and layouts are PyTorch's, though the file is no .pt.")
    ] = False,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    keep_log: KeepLogOption = False,
    *,
    where: Where,
) -> None:
    """Define a network that begins with weights from a file; gates with trainable = false stay as they are."""
    from akkafka.cli.importing import Source, import_weights
    from akkafka.cli.networks import configured

    source = Source(file, tuple(gate or ()), by_order, torch_names)
    import_weights(configured(config, overrides or [], seed, data_dir), source, network, where, keep_log=keep_log)


@app.command()
@connected
def doctor(
    config: ConfigArgument = None, data_dir: DataDirOption = None, as_json: JsonOption = False, *, where: Where
) -> None:
    """Check what akkafka needs, and say what to do about what is missing."""
    from akkafka.cli.doctor import doctor as work

    raise SystemExit(work(config, data_dir, where, as_json))


@app.command()
def warmup() -> None:
    """Compile all kernels into the cache, so that no later start waits for the compiler."""
    from akkafka.cli.warmup import warmup as work

    work()


@app.command()
def experiment(
    name: Annotated[str, typer.Argument(metavar="A|B|C|D", help="Momentum, DC-ASGD, fidelity, or the stash.")],
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each method; default: the experiment's.")
    ] = None,
    data: Annotated[str, typer.Option(metavar="NAME", help="digits or fashion-mnist.")] = "digits",
    data_dir: DataDirOption = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Side by side; default: one for each core.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train with delayed gradients in this process, many times over, and print a fair table."""
    from akkafka.cli.experiment import run as work

    work(name, seeds, data, data_dir, processes=processes, as_json=as_json)


@app.command()
@connected
def chaos(
    config: ConfigArgument = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long faults are thrown.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the faults; the same seed throws the same.")] = 1,
    faults: Annotated[
        str, typer.Option(metavar="GROUPS", help="Some of kill, pause, broker, network, with commas.")
    ] = "kill,pause,broker,network",
    standby: Annotated[bool, typer.Option("--standby", help="A second process for each gate.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Train once more without faults; fixed schedule: the same bits.")
    ] = False,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    keep_log: KeepLogOption = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write what happened here.")] = None,
    *,
    where: Where,
) -> None:
    """Train a small network on a broker of its own, throw faults at all of it, and check that nothing was lost."""
    from akkafka.cli.chaos.command import Request
    from akkafka.cli.chaos.command import chaos as work

    groups = tuple(faults.split(","))
    changes = tuple(overrides or ())
    request = Request(
        config, changes, seed, minutes, groups, standby, compare, data_dir, report, where, keep_log=keep_log
    )
    raise SystemExit(work(request))


@broker_app.callback()
def broker(
    context: typer.Context,
    state_dir: StateDirOption = None,
    port: Annotated[int | None, typer.Option(help="This port or none; default: the last one, or a free one.")] = None,
) -> None:
    """Run the embedded Apache Kafka in the foreground, until Ctrl-C."""
    if context.invoked_subcommand is None:
        from akkafka.cli import broker as commands

        raise SystemExit(commands.foreground(state_dir, port))
    context.obj = (state_dir, port)


def _place(context: typer.Context, state_dir: Path | None) -> Path | None:
    return state_dir or (context.obj[0] if context.obj else None)


@broker_app.command("start")
def broker_start(
    context: typer.Context,
    state_dir: StateDirOption = None,
    port: Annotated[int | None, typer.Option(help="This port or none; default: the last one, or a free one.")] = None,
) -> None:
    """Start it, and keep it up until `stop`."""
    from akkafka.cli import broker as commands

    commands.start(_place(context, state_dir), port or (context.obj[1] if context.obj else None))


@broker_app.command("stop")
def broker_stop(
    context: typer.Context,
    state_dir: StateDirOption = None,
    force: Annotated[bool, typer.Option("--force", help="Even while others use it.")] = False,
) -> None:
    """Take back `start`; the broker ends with its last user."""
    from akkafka.cli import broker as commands

    raise SystemExit(commands.stop(_place(context, state_dir), force))


@broker_app.command("status")
def broker_status(context: typer.Context, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Show whether it runs, for whom, and where its data lie."""
    from akkafka.cli import broker as commands

    raise SystemExit(commands.status(_place(context, state_dir), as_json))


@broker_app.command("where")
def broker_where(context: typer.Context, state_dir: StateDirOption = None) -> None:
    """Print its address on the first line, then its directory."""
    from akkafka.cli import broker as commands

    commands.where(_place(context, state_dir))


def _mount_bench(arguments: list[str]) -> None:
    """`akkafka bench` is a room of its own: named in the help, but imported only if it is asked for."""
    if importlib.util.find_spec("akkafka.cli.bench") is None:
        return
    if arguments[:1] == ["bench"]:
        from importlib import import_module

        app.add_typer(import_module("akkafka.cli.bench").app, name="bench")
    else:
        app.add_typer(typer.Typer(help="Measure.", rich_markup_mode=None, no_args_is_help=True), name="bench")


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """Not KeyboardInterrupt: typer would make an exit code of 1 of it."""
    print("interrupted", file=sys.stderr)
    raise SystemExit(INTERRUPTED)


def _open_closed() -> None:
    """Where a shell has closed stdout or stderr (`>&-`), what is said goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (for as long as we live)


def main() -> NoReturn:
    """The script's entry: runs the command, and leaves with its exit code."""
    signal.signal(signal.SIGINT, _interrupted)
    _open_closed()
    try:
        _mount_bench(sys.argv[1:])
        app()
    except Exception as error:
        raise SystemExit(fail(error)) from None
    finally:  # the interpreter's own end is quick: all that could come of an interruption is a traceback
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(0)
