"""`akkafka predict`: samples from a file through the live gates, outputs into a file."""

from __future__ import annotations

import asyncio
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.broker.base import Broker
from akkafka.broker.network import Network, find
from akkafka.cli.console import say
from akkafka.cli.locating import locate, reached
from akkafka.cli.networks import missing
from akkafka.cli.options import Where
from akkafka.cli.status import look
from akkafka.cli.training.report import check_writable
from akkafka.errors import DataError, NetworkError

WAIT_TOLD_S = 5.0


def predict(source: Path, out: Path, name: str | None, where: Where) -> None:
    """Write `y` (N, *out_shape) float32, and `label` (N,) or (N, T) int64 where outputs stand for classes."""
    x = read_samples(source)
    check_writable(out)

    async def work() -> tuple[Network, NDArray[Any]]:
        async with reached(locate(where, say)) as broker:
            network = await find(broker, name)
            if network is None:
                raise missing(name) if name else NetworkError("no network is defined on this broker")
            return network, await _predicted(broker, network, x)

    network, y = asyncio.run(work())
    arrays = {"y": y} if network.definition.classes is None else {"y": y, "label": labels(y)}
    with out.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for its own flag
    print(f"{len(y)} samples through network {network.name!r}: {out}")


def labels(y: NDArray[Any]) -> NDArray[np.int64]:
    """Class numbers of outputs (..., C); a single output is the second of two classes' logit."""
    found = y.argmax(axis=-1) if y.shape[-1] > 1 else y[..., 0] > 0
    return found.astype(np.int64)


async def _predicted(broker: Broker, network: Network, x: NDArray[Any]) -> NDArray[Any]:
    """The outputs; says every 5 s what is missing if they do not come."""
    from akkafka.sentinel.predict import predict as through_gates

    work = asyncio.ensure_future(through_gates(broker, network, x))
    try:
        while not (await asyncio.wait({work}, timeout=WAIT_TOLD_S))[0]:
            down = [
                f"{gate['gate']} ({gate['name']})" for gate in (await look(broker, network))["gates"] if not gate["up"]
            ]
            say(f"waiting for gates that are not up: {', '.join(down)}" if down else "waiting for outputs")
        return work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def read_samples(path: Path) -> NDArray[Any]:
    """Array `x` of an .npz file, or its only one; raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as held:
            names = list(held.files)
            if "x" not in names and len(names) != 1:
                raise DataError(f"{path} holds {', '.join(names) or 'nothing'}; expected 'x', or one array")
            return np.asarray(held["x" if "x" in names else names[0]])
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise DataError(
            f"{path} is not an .npz file of plain arrays: {error}", hint="np.savez('x.npz', x=samples) makes one."
        ) from error
