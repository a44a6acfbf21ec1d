"""A PyTorch module is a layer like any other: its laws, the pipeline's bits, and who may bring it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from akkafka.broker.memory import MemoryBroker
from akkafka.errors import ConfigError, ShapeError
from akkafka.nn.layer import FLOAT32, Pass
from akkafka.nn.spec import build_sequence, layer_spec
from akkafka.protocol.config import load_config

from ..conftest import Run
from ..pipeline.fleet import train_through
from ..pipeline.reference import Reference, fixed_schedule, same_bits
from .conftest import WORKERS

torch = pytest.importorskip("torch")

Allow = Callable[..., None]
CONFIG = WORKERS / "own_torch" / "torch-digits.toml"
BLOCK = {"type": "torch-conv-block", "out": 3, "p": 0.5}
TRAINING, EVALUATION = Pass(True, 77), Pass(False, 77)


@pytest.fixture
def layer(allow: Allow) -> Any:
    """The sample block on small images."""
    allow("own_torch")
    return build_sequence([layer_spec(BLOCK)], (2, 4, 6), FLOAT32)


def images(batch: int = 3) -> Any:
    return np.random.default_rng(1).standard_normal((batch, 2, 4, 6), dtype=np.float32)


def drawn(layer: Any) -> dict[str, Any]:
    params: dict[str, Any] = layer.init(np.random.default_rng(5))
    return params


def test_shapes_names_and_buffers_are_pytorchs(layer: Any) -> None:
    assert layer.out_shape == (3, 2, 3)
    assert dict(layer.param_shapes) == {
        "0.0.weight": (3, 2, 3, 3),
        **dict.fromkeys(("0.0.bias", "0.1.weight", "0.1.bias", "0.1.running_mean", "0.1.running_var"), (3,)),
    }
    assert layer.buffers == {"0.1.running_mean": 1.0, "0.1.running_var": 1.0}
    assert same_bits(drawn(layer), drawn(layer)) and not same_bits(drawn(layer), layer.init(np.random.default_rng(6)))


def test_the_gradient_is_autograds_with_the_same_chance(layer: Any) -> None:
    params, x = drawn(layer), images()
    y, tape = layer.forward(params, x, TRAINING)
    dy = np.random.default_rng(2).standard_normal(y.shape, dtype=np.float32)
    dx, grads = layer.backward(params, tape, dy)

    block = layer.layers[0]._spec.module((2, 4, 6))
    block.load_state_dict({n.removeprefix("0."): torch.tensor(w) for n, w in params.items()}, strict=False)
    their_x = torch.tensor(x, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TRAINING.at(0).key % 2**63)
        their_y = block.train()(their_x)
    their_y.backward(torch.tensor(dy))
    np.testing.assert_array_equal(y, their_y.detach().numpy())
    np.testing.assert_array_equal(dx, their_x.grad.numpy())
    for name, weight in block.named_parameters():
        np.testing.assert_array_equal(grads[f"0.{name}"], weight.grad.numpy())
    for name in ("running_mean", "running_var"):
        np.testing.assert_array_equal(grads[f"0.1.{name}"], getattr(block[1], name).numpy())


def test_chance_follows_from_the_key_alone_and_nothing_of_it_outside_of_training(layer: Any) -> None:
    params, x = drawn(layer), images()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, _ = layer.forward(params, x, TRAINING)
    torch.rand(5)
    assert not torch.equal(state, torch.get_rng_state())
    torch.manual_seed(3)
    again, tape = layer.forward(params, x, TRAINING)
    assert torch.equal(state, torch.get_rng_state()), "the generator of others was moved"
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, layer.forward(params, x, Pass(True, 78))[0])
    plain, still = layer.forward(params, x, EVALUATION)
    np.testing.assert_array_equal(plain, layer.forward(params, x, Pass(False, 1))[0])
    dy = np.ones_like(plain)
    for name in layer.buffers:
        np.testing.assert_array_equal(layer.backward(params, still, dy)[1][name], params[name])
    for a, b in zip(
        layer.backward(params, tape, dy)[1].values(), layer.backward(params, tape, dy)[1].values(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert layer.backward(params, tape, dy, need_dx=False)[0] is None


def test_what_the_module_does_not_take_is_told_before_anything_starts(allow: Allow) -> None:
    allow("own_torch")
    with pytest.raises(ShapeError, match=r"torch-conv-block does not take \(64,\) float32"):
        build_sequence([layer_spec(BLOCK)], (64,), FLOAT32).out_shape  # noqa: B018 (found when asked for)
    with pytest.raises(ConfigError, match="unknown key 'q'"):
        layer_spec({**BLOCK, "q": 1})


def test_without_the_package_the_layer_is_unknown() -> None:
    with pytest.raises(ConfigError, match="torch-conv-block"):
        load_config(CONFIG)


def test_a_network_with_it_trains_as_in_plain_loops_bit_for_bit(
    allow: Allow, run: Run, unique: Callable[[], str]
) -> None:
    allow("own_torch")
    changes = ("batch_size=256", "lanes.train=1", "schedule.kind=fixed", "schedule.window=2")
    definition = load_config(CONFIG, changes).definition
    assert [package.name for package in definition.packages] == ["own_torch"]
    network, states = run(train_through(MemoryBroker(), definition, unique(), epochs=2))
    reference = Reference(network)
    expected = reference.run(fixed_schedule(reference, epochs=2, delay=1))
    assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))
    assert not same_bits(states[0].params, reference.weights[0][0])
