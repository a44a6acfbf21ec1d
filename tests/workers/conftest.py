"""Sample packages that come and go with a test, and processes that find them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akkafka.data import DATASETS
from akkafka.nn.allow import allow_packages
from akkafka.nn.spec import LAYERS

from ..processes.fleet import ROOT, Processes

WORKERS = ROOT / "workers"


@pytest.fixture
def processes(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Processes]:
    """A fleet to be; what it printed is shown if the test fails."""
    fleet = Processes(kafka_bootstrap, tmp_path)
    yield fleet
    fleet.close()
    print(fleet.told())


@pytest.fixture
def tables_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test's packages register is gone with it, and so are their modules."""
    tables: tuple[dict[str, object], ...] = (LAYERS, DATASETS)  # type: ignore[assignment]  # only put back
    before, modules = [dict(table) for table in tables], set(sys.modules)
    yield
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)
    for name in set(sys.modules) - modules:
        if name.split(".")[0].startswith("own_"):
            del sys.modules[name]


@pytest.fixture
def allow(tables_as_before: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Allow a package here, as --allow does in a process; it lies in `folder`, or in workers/<name>."""

    def allowed(name: str, folder: Path | None = None) -> None:
        monkeypatch.syspath_prepend(str(folder or WORKERS / name))
        allow_packages([name])

    return allowed


@pytest.fixture
def forget(allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be as a process that never had the package."""

    def forgotten(name: str) -> None:
        for table in (LAYERS, DATASETS):
            for key, value in list(table.items()):
                module = getattr(value, "loader", value).__module__
                if module.split(".")[0] == name:
                    del table[key]
        for module in [each for each in sys.modules if each.split(".")[0] == name]:
            del sys.modules[module]
        monkeypatch.setattr(sys, "path", [p for p in sys.path if not (Path(p) / name).is_dir()])

    return forgotten
