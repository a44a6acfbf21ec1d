"""Every recipe reaches what its file states, by `akkafka train` over a real broker with a process for each gate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from akkafka.protocol.config import bundled, load_config
from tests.conftest import Run
from tests.processes.fleet import Processes

STATED = re.compile(r"^# Expected: (accuracy|perplexity|mae) at (least|most) ([\d.]+)( %)? after (\d+) epochs", re.M)
RECIPES = sorted(bundled())
DATA = ("mnist", "fashion-mnist")  # read from files


def stated(name: str) -> tuple[str, bool, float, int]:
    """Metric, whether more is better, bound and epochs, as the file of a recipe says."""
    found = STATED.search(bundled()[name].read_text(encoding="utf-8"))
    assert found, f"{name}.toml does not state what is to be expected of it: {STATED.pattern}"
    metric, bound, number, percent, epochs = found.groups()
    return metric, bound == "least", float(number) / (100 if percent else 1), int(epochs)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_states_a_result_in_its_foremost_metric_and_its_epochs(name: str) -> None:
    config = load_config(Path(name))
    metric, more_is_better, _, epochs = stated(name)
    assert config.definition.name == name
    assert metric == config.definition.telling[0]
    assert more_is_better == (metric == "accuracy")
    assert epochs == config.run.epochs


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_reaches_what_it_states(
    name: str,
    processes: Processes,
    unique: Callable[[], str],
    tmp_path: Path,
    run: Run,
    request: pytest.FixtureRequest,
) -> None:
    config, report = load_config(Path(name)), tmp_path / "report.json"
    words = ["train", name, "--network", unique(), "--report", str(report), "--state-dir", str(tmp_path / "state")]
    if config.definition.data.name in DATA:
        words += ["--data-dir", str(request.getfixturevalue("real_data"))]
    training = processes.start("__main__", *words)
    assert run(training.exit_code(timeout=1700)) == 0, training.printed
    last = json.loads(report.read_text())["validations"][-1]
    versions = [gate["version"] for gate in json.loads(report.read_text())["gates"]]
    assert last["versions"] == [[version, version] for version in versions]  # of the weights at the end
    metric, more_is_better, bound, _ = stated(name)
    assert (last[metric] >= bound) if more_is_better else (last[metric] <= bound), f"{metric} {last[metric]:.4f}"
