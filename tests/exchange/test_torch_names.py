"""State dicts load into PyTorch's own modules and come back, and a foreign model's do by its order."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from akkafka.errors import ConfigError
from akkafka.exchange.torch_names import from_torch, to_torch
from akkafka.nn.layer import Params
from akkafka.protocol.definition import Definition
from tests.nn.cases import CASES, EVALUATION, Case, random_params

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 (not where there is no torch)

SGD = {"type": "sgd", "lr": 0.1}
LINEAR = {"type": "linear", "out": 12}


class One:
    """A definition as far as names need it: one gate that is the case's layers."""

    def __init__(self, case: Case) -> None:
        self.layers = (case.build(),)
        self.gates = (type("Spec", (), {"name": "g"})(),)


@pytest.mark.parametrize("case", [case for case in CASES if case.params], ids=lambda case: case.name)
def test_weights_come_back_from_pytorchs_names_bit_for_bit(case: Case) -> None:
    one: Any = One(case)
    own = case.weights()
    back = from_torch(one, to_torch(one, {"g": own}))
    assert back.keys() == {f"g.{name}" for name in own}
    assert all(back[f"g.{name}"].tobytes() == array.tobytes() for name, array in own.items())


class Recurrent(nn.Module):  # type: ignore[misc]  # torch is not looked into
    """A recurrent layer whose last state goes on; its keys are the layer's own."""

    def __init__(self, kind: Any, *sizes: int) -> None:
        super().__init__()
        inner: Any = kind(*sizes, batch_first=True)
        self._names = [name for name, _ in inner.named_parameters()]
        for name, weight in inner.named_parameters():
            self.register_parameter(name, weight)
        object.__setattr__(self, "_inner", inner)

    def forward(self, x: Any) -> Any:
        weights = {name: getattr(self, name) for name in self._names}
        return torch.func.functional_call(self._inner, weights, x)[0][:, -1]


class SelfAttention(nn.MultiheadAttention):  # type: ignore[misc]  # likewise
    """Queries, keys and values of one input."""

    def forward(self, x: Any) -> Any:
        return super().forward(x, x, x, need_weights=False)[0]


IMAGES = (
    {"name": "digits"},
    [
        ("conv", [
            {"type": "reshape", "shape": [1, 8, 8]}, {"type": "scale"}, {"type": "conv2d", "out": 4, "kernel": 3},
            {"type": "batch-norm"}, {"type": "relu"}, {"type": "conv-transpose2d", "out": 2, "kernel": 2},
            {"type": "group-norm", "groups": 2}, {"type": "flatten"},
        ]),
        ("head", [LINEAR, {"type": "layer-norm"}, {"type": "gelu"}, {"type": "linear", "out": 10}]),
    ],
    lambda: nn.Sequential(OrderedDict(
        conv=nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Identity(), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
            nn.ConvTranspose2d(4, 2, 2), nn.GroupNorm(2, 2), nn.Flatten(),
        ),
        head=nn.Sequential(nn.Linear(98, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, 10)),
    )),
)  # fmt: skip
SEQUENCES = tuple(
    (
        {"name": "digits"},
        [
            ("first", [{"type": "reshape", "shape": [8, 8]}, {"type": "scale"}, {"type": "attention", "heads": 2}]),
            ("second", [{"type": kind, "out": 5, "last": True}, {"type": "linear", "out": 10}]),
        ],
        lambda module=module: nn.Sequential(OrderedDict(
            first=nn.Sequential(nn.Unflatten(1, (8, 8)), nn.Identity(), SelfAttention(8, 2, batch_first=True)),
            second=nn.Sequential(Recurrent(module, 8, 5), nn.Linear(5, 10)),
        )),
    )
    for kind, module in (("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU))
)  # fmt: skip
NETWORKS: dict[str, Any] = {"images": IMAGES, **dict(zip(("rnn", "lstm", "gru"), SEQUENCES, strict=True))}


def defined(data: dict[str, Any], gates: Any) -> Definition:
    specs = [{"name": name, "layers": layers, "optimizer": SGD} for name, layers in gates]
    return Definition.model_validate({"name": "n", "data": data, "gates": specs})


def weights_of(definition: Definition) -> dict[str, Params]:
    pairs = zip(definition.gates, definition.layers, strict=True)
    return {spec.name: random_params(layer, number) for number, (spec, layer) in enumerate(pairs)}


def through(definition: Definition, gates: dict[str, Params], x: Any) -> Any:
    for spec, layer in zip(definition.gates, definition.layers, strict=True):
        x, _ = layer.forward(gates[spec.name], x, EVALUATION)
    return x


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[Definition, Any]:
    """A definition, and the same network of PyTorch's modules."""
    data, gates, module = NETWORKS[request.param]
    return defined(data, gates), module().eval()


def test_a_state_dict_loads_into_an_equal_sequential_which_computes_the_same(network: tuple[Definition, Any]) -> None:
    definition, module = network
    gates = weights_of(definition)
    state = {name: torch.from_numpy(np.array(array)) for name, array in to_torch(definition, gates).items()}
    module.load_state_dict(state, strict=True)
    x = np.random.default_rng(1).integers(0, 17, (4, 64), dtype=np.uint8)
    theirs = module(torch.from_numpy(x).float() / 255).detach().numpy()
    np.testing.assert_allclose(theirs, through(definition, gates, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("by_order", [False, True])
def test_a_models_state_dict_gives_gates_that_compute_what_the_model_does(
    network: tuple[Definition, Any], by_order: bool
) -> None:
    definition, module = network
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    if by_order:
        names = [name.rpartition(".")[0].removesuffix(".out_proj") for name in state]
        renamed = {old: f"net.block_{i}" for i, old in enumerate(dict.fromkeys(names))}
        state = {
            f"{renamed[old]}{name.removeprefix(old)}": a for old, (name, a) in zip(names, state.items(), strict=True)
        }
    flat = from_torch(definition, state, by_order=by_order)
    gates: dict[str, Params] = {
        spec.name: {name: flat.pop(f"{spec.name}.{name}") for name in layer.param_shapes}
        for spec, layer in zip(definition.gates, definition.layers, strict=True)
    }
    assert not flat
    x = np.random.default_rng(1).integers(0, 17, (4, 64), dtype=np.uint8)
    theirs = module(torch.from_numpy(x).float() / 255).detach().numpy()
    np.testing.assert_allclose(theirs, through(definition, gates, x), rtol=1e-4, atol=1e-5)


def test_models_that_differ_are_told_apart() -> None:
    definition = defined({"name": "digits"}, [("a", [{"type": "scale"}, {"type": "linear", "out": 10}])])
    two = {f"{name}.weight": np.zeros((10, 64), np.float32) for name in ("x", "y")}
    with pytest.raises(ConfigError, match=r"2 modules with weights \(x, y\), the network has 1 layers .*a\.1"):
        from_torch(definition, two, by_order=True)
    assert from_torch(definition, two).keys() == two.keys()
    norm = defined(
        {"name": "digits"}, [("a", [{"type": "scale"}, {"type": "batch-norm"}, {"type": "linear", "out": 10}])]
    )
    with pytest.raises(ConfigError, match=r"has a\.1\.weight, but no a\.1\.bias"):
        from_torch(norm, {"a.1.weight": np.zeros(64, np.float32)})
