"""Weights as files of three formats. Only numbers are read: no format here can run code.

npz and safetensors hold "<gate>.<param>", shaped as in the gate; a .pt holds a PyTorch state dict (torch_names.py).
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from akkafka.errors import ConfigError, DataError
from akkafka.exchange.weights import Arrays, Facts

FACTS: Final = "__metadata__"  # of an npz: a text of JSON; safetensors has a place of its own by this name
SUFFIXES: Final[Mapping[str, str]] = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".onnx": "onnx",
}


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What a file holds."""

    arrays: Arrays
    facts: Facts


def needed(module: str, extra: str, what: str) -> Any:
    """An optional package's module; raises ConfigError that tells how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{what} needs the package {module.split('.')[0]}, which is not installed here",
            hint=f"pip install 'akkafka[{extra}]'",
        ) from error


def write_npz(path: Path, arrays: Arrays, facts: Facts) -> None:
    """An archive for np.load; `facts` as JSON under `__metadata__`."""
    with path.open("wb") as file:
        np.savez(file, **arrays, **{FACTS: np.array(json.dumps(dict(facts)))})  # type: ignore[arg-type]  # as in report.py


def write_safetensors(path: Path, arrays: Arrays, facts: Facts) -> None:
    """As huggingface/safetensors; `facts` are its metadata."""
    safetensors = needed("safetensors.numpy", "export", "a safetensors file")
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    safetensors.save_file(whole, path, metadata=dict(facts))


def write_torch(path: Path, arrays: Arrays, facts: Facts) -> None:
    """A state dict for `torch.load(path, weights_only=True)`; `facts` under "akkafka" in its `_metadata`.

    There PyTorch keeps what modules tell of themselves, by module: load_state_dict passes over what it does not know.
    """
    torch = needed("torch", "torch", "a PyTorch file")
    state: OrderedDict[str, Any] = OrderedDict()
    for name, array in arrays.items():
        state[name] = torch.from_numpy(np.array(array))  # a copy: torch warns of what cannot be written
    state._metadata = OrderedDict(akkafka=dict(facts))  # type: ignore[attr-defined]  # as torch's own state dicts
    torch.save(state, path)


def read(path: Path) -> Read:
    """Arrays and facts of a weights file, by its suffix; raises DataError, ConfigError for a suffix unknown."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind not in _READERS:
        raise ConfigError(f"{path}: cannot be imported", hint=f"Weights come from {', '.join(_SUFFIXES_IN)} files.")
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    return _READERS[kind](path)


def _read_npz(path: Path) -> Read:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise DataError(f"{path} is not an .npz file of plain arrays: {error}") from error
    text = arrays.pop(FACTS, None)
    return Read(arrays, {} if text is None else _facts(str(text)))


def _facts(text: str) -> Facts:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _read_safetensors(path: Path) -> Read:
    safetensors = needed("safetensors", "export", "a safetensors file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return Read({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, TypeError) as error:  # TypeError: numpy has no bfloat16
        raise DataError(f"{path} is not a safetensors file of numbers that numpy has: {error}") from error


def _read_torch(path: Path) -> Read:
    torch = needed("torch", "torch", "a PyTorch file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler meets in a file that is no state dict
        said = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is not a state dict that can be loaded without running code: {type(error).__name__}: {said}",
            hint="torch.save(model.state_dict(), path) makes one.",
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise DataError(f"{path} holds something else than a state dict", hint="torch.save(model.state_dict(), path)")
    told = getattr(state, "_metadata", {}).get("akkafka", {})
    return Read({str(name): _array(torch, tensor) for name, tensor in state.items()}, dict(told))


def _array(torch: Any, tensor: Any) -> Any:
    plain = (
        tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    )  # numpy has no bfloat16; float32 holds all of it
    return plain.contiguous().numpy()


_READERS: Final[Mapping[str | None, Callable[[Path], Read]]] = {
    "npz": _read_npz,
    "safetensors": _read_safetensors,
    "torch": _read_torch,
}
_SUFFIXES_IN: Final = [suffix for suffix, kind in SUFFIXES.items() if kind in _READERS]
