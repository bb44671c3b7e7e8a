"""Random or batch-dependent features are detected once, announced, and equal in any batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.terminal import Zoo

import layerzoo
from layerzoo.runtime.variation import Comparison, compare
from layerzoo.spec import FrozenMap, ModelSpec

BY_BATCH = ("batch norm", "batch mean")
BY_VALUES = (
    "batch extreme",
    "batch softmax",
    "ranked",
    "ranked downwards",
    "sorted values",
    "next row",
    "row after next",
    "numbered",
    "smallest",
    "quantised",
)
"""Dependences that no operation reveals, each in some rows only, or small."""
RANDOM = ("dropout", "noise", "masking", "skips")
STEADY = ("plain", "running batch norm", "instance norm", "unused")
LARGE = 4000
"""The width of a layer that makes a network too large for a trace with real values."""


@pytest.fixture
def varying(install: Callable[..., None]) -> Callable[..., ModelSpec]:
    install("varying")

    def declared(kind: str, width: int = 0) -> ModelSpec:
        return replace(layerzoo.model("varying/image"), args=FrozenMap({"kind": kind, "width": width}))

    return declared


def images(count: int) -> list[NDArray[np.uint8]]:
    return [np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8) for seed in range(count)]


def assert_same_alone_and_in_any_batch(backbone: layerzoo.Backbone) -> None:
    inputs = images(5)
    together = layerzoo.extract(backbone, inputs).values
    torch.rand(7)
    again = layerzoo.extract(backbone, inputs[::-1], batch_size=2).values[::-1]
    alone = np.concatenate([layerzoo.extract(backbone, [one]).values for one in inputs])
    np.testing.assert_allclose(again, together, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3


@pytest.mark.parametrize("width", [0, LARGE], ids=["run when it is traced", "run with the first batch"])
@pytest.mark.parametrize("kind", [*BY_BATCH, *RANDOM])
def test_layers_that_vary_with_the_batch_are_announced_and_run_one_sample_at_a_time(
    varying: Callable[..., ModelSpec], caplog: pytest.LogCaptureFixture, kind: str, width: int
) -> None:
    with caplog.at_level(logging.WARNING, "layerzoo"):
        backbone = layerzoo.load(varying(kind, width), weights="random:1", layer=["stage.0", "stage.1"])
        features = layerzoo.extract(backbone, images(3), layer="stage.1")
    word, key = ("depend on the other samples", "batch_dependent") if kind in BY_BATCH else ("random", "random")
    (notice,) = {record.getMessage() for record in caplog.records}
    assert word in notice
    assert "stage.1" in notice
    assert "stage.0" not in notice
    if kind not in ("noise", "batch mean"):  # numpy's random numbers, and a mean, are in no operation
        assert "odd" in notice
    assert list(features.provenance[key]) == ["stage.1"]
    assert_same_alone_and_in_any_batch(layerzoo.load(varying(kind, width), weights="random:1"))


_IN_SHORT = ("smallest", "quantised")
"""The other cases, loaded from a model, are slow tests; all of them are compared without one below."""


@pytest.mark.parametrize("width", [0, LARGE], ids=["run when it is traced", "run with the first batch"])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in _IN_SHORT else pytest.mark.slow) for kind in BY_VALUES]
)
def test_a_dependence_on_the_batch_is_detected_in_any_row(
    varying: Callable[..., ModelSpec], kind: str, width: int
) -> None:
    backbone = layerzoo.load(varying(kind, width), weights="random:1", layer=["stage.0", "stage.1"])
    for inputs in (images(3), images(3)[::-1]) if width else (images(2),):
        features = layerzoo.extract(backbone, inputs)
        assert list(features.provenance["batch_dependent"]) == ["stage.1"]
    assert_same_alone_and_in_any_batch(layerzoo.load(varying(kind, width), weights="random:1"))


@pytest.mark.parametrize("kind", STEADY)
def test_layers_that_do_not_vary_run_in_full_batches(
    varying: Callable[..., ModelSpec], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    spec = varying(kind)
    backbone = layerzoo.load(spec, weights="random:1")
    layerzoo.extract(backbone, images(2))  # after the first batch nothing is checked any more
    sizes: list[int] = []
    backbone.module.network.register_forward_pre_hook(lambda network, inputs: sizes.append(len(inputs[0])))
    layerzoo.extract(backbone, images(5))
    features = layerzoo.extract(backbone, images(5))
    assert sizes == [5, 1, 1, 5]  # of the first batch of more than four rows, two run alone
    assert not caplog.records
    assert [features.provenance[key] for key in ("random", "batch_dependent", "seed")] == [{}, {}, None]


@pytest.mark.parametrize("width", [0, LARGE], ids=["run when it is traced", "run with the first batch"])
def test_a_dependence_in_large_batches_alone_is_detected_before_their_features_are_returned(
    varying: Callable[..., ModelSpec], caplog: pytest.LogCaptureFixture, width: int
) -> None:
    spec = varying("mean of a large batch", width)
    backbone = layerzoo.load(spec, weights="random:1", layer=["stage.0", "stage.1"])
    layerzoo.extract(backbone, images(6))
    assert not backbone.variation
    with caplog.at_level(logging.WARNING, "layerzoo"):
        features = layerzoo.extract(backbone, images(9))
    assert "stage.1 depend on the other samples of a batch" in caplog.records[-1].getMessage()
    assert list(features.provenance["batch_dependent"]) == ["stage.1"]
    alone = np.concatenate([layerzoo.extract(backbone, [image])["stage.1"] for image in images(9)])
    np.testing.assert_allclose(features["stage.1"], alone, rtol=1e-5, atol=1e-6)
    assert layerzoo.load(spec, weights="random:1").variation  # the result is stored


def test_a_layer_before_the_statistics_does_not_vary(varying: Callable[..., ModelSpec]) -> None:
    backbone = layerzoo.load(varying("batch norm"), layer="stage.0", weights="random:1")
    assert not backbone.variation


def test_the_variation_is_stored_with_the_trace(varying: Callable[..., ModelSpec]) -> None:
    spec = varying("batch mean", LARGE)
    backbone = layerzoo.load(spec, weights="random:1")
    assert not backbone.variation
    layerzoo.extract(backbone, images(3))
    assert list(layerzoo.load(spec, weights="random:1").variation.by_batch) == ["stage.1"]


def test_equal_inputs_do_not_reveal_a_dependence_on_the_batch(varying: Callable[..., ModelSpec]) -> None:
    spec = varying("batch mean", LARGE)
    backbone = layerzoo.load(spec, weights="random:1")
    layerzoo.extract(backbone, images(1) * 3)
    assert not backbone.variation
    layerzoo.extract(backbone, images(2))
    assert backbone.variation


def test_a_seed_does_not_change_the_generators_of_the_caller(varying: Callable[..., ModelSpec]) -> None:
    backbone = layerzoo.load(varying("dropout"), weights="random:1")
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    layerzoo.extract(backbone, images(2))
    assert (torch.rand(1), np.random.rand()) == expected


def test_a_random_layer_equals_the_network_after_the_seed(varying: Callable[..., ModelSpec]) -> None:
    backbone = layerzoo.load(varying("dropout"), weights="random:1")
    inputs = images(2)
    expected = []
    for one in inputs:
        torch.manual_seed(0)
        with torch.no_grad():
            expected.append(backbone.module(backbone.preprocess([one]))["stage.1"].mean((2, 3)).numpy())
    np.testing.assert_allclose(layerzoo.extract(backbone, inputs).values, np.concatenate(expected), rtol=1e-5)


def test_browsing_shows_the_variation(install: Callable[..., None], home: Path, zoo: Zoo) -> None:
    install("varying")
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/odd: {modality: vision, base: varying/image, args: {kind: dropout}}\n"
    )
    traced = zoo("layers", "--trace", "mine/odd")
    assert traced.code == 0
    for printed in (traced, zoo("layers", "mine/odd", "--format", "table")):
        assert "features at stage.1 are random (random numbers drawn in odd)" in printed.err
    assert "random" not in zoo("layers", "--trace", "varying/image").err


Rows = Callable[[torch.Tensor], torch.Tensor]
_WEIGHT = torch.randn(12, 12, generator=torch.Generator().manual_seed(1))

DEPENDENT: dict[str, Rows] = {
    "extreme": lambda x: x / x.abs().max(),
    "largest row": lambda x: x - x.amax(0),
    "mean": lambda x: x - x.mean(0),
    "a small share of the mean": lambda x: x + x.mean(0) / 100,
    "statistics": lambda x: torch.nn.functional.batch_norm(x, None, None, training=True) if len(x) > 1 else x,
    "softmax": lambda x: x.softmax(0),
    "share of the sum": lambda x: x / x.abs().sum(0),
    "order of rows": lambda x: x[x.sum(1).argsort()],
    "order of rows, downwards": lambda x: x[x.sum(1).argsort(descending=True)],
    "sorted": lambda x: x.sort(0).values,
    "flipped": lambda x: x.flip(0),
    "previous row": lambda x: x + torch.cat([torch.zeros(1, 12), x[:-1]]),
    "next row": lambda x: x + torch.cat([x[1:], torch.zeros(1, 12)]),
    "the row before the last": lambda x: x + torch.cat([torch.zeros(min(2, len(x)), 12), x[:-2]]),
    "first row": lambda x: x + x[:1],
    "place": lambda x: x + torch.arange(len(x))[:, None],
    "size": lambda x: x * len(x),
    "int8 by the range of the batch": lambda x: (x / (x.abs().max() / 127)).round() * (x.abs().max() / 127),
    "int8, averaged over many values": lambda x: (
        (x / (x.abs().max() / 127)).round().repeat(1, 99) * (x.abs().max() / 127)
    ),
    "attention over rows": lambda x: (x @ x.T / 12).softmax(1) @ x,
    "not a number, next to a large row": lambda x: x.exp() if len(x) == 1 else x / x.new_zeros(()),
}
INDEPENDENT: dict[str, Rows] = {
    "identity": lambda x: x,
    "linear": lambda x: x @ _WEIGHT,
    "deep": lambda x: torch.linalg.matrix_power(_WEIGHT / 4, 7).T.matmul((x @ _WEIGHT).tanh().T).T,
    "softmax": lambda x: x.softmax(1),
    "layer norm": lambda x: torch.nn.functional.layer_norm(x, (12,)),
    "int8 by the range of each row": lambda x: (x / x.abs().amax(1, keepdim=True) * 127).round(),
    "rounding of another size": lambda x: x * (1 + 2e-6 * len(x)),
    "zeros": torch.zeros_like,
    "infinite": lambda x: x / 0,
}


def compared(network: Rows, values: torch.Tensor) -> Comparison:
    def read(batch: layerzoo.Batch) -> dict[str, list[NDArray[np.float32]]]:
        return {"layer": [row.numpy() for row in network(batch.inputs["x"])]}

    return compare(read, lambda numbers: layerzoo.Batch({"x": values[list(numbers)]}))


@pytest.mark.parametrize("name", [*DEPENDENT, *INDEPENDENT])
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1.0, 0.5, 3.0]))
@settings(max_examples=4)
def test_a_dependence_on_the_batch_is_distinguished_from_rounding(name: str, seed: int, scale: float) -> None:
    values = torch.randn(2, 12, generator=torch.Generator().manual_seed(seed))
    values[1] *= scale
    network = DEPENDENT.get(name) if name in DEPENDENT else INDEPENDENT[name]
    assert network is not None
    assert compared(network, values) == Comparison(frozenset(), frozenset({"layer"} if name in DEPENDENT else ()))


@pytest.mark.parametrize("kind", ["torch", "numpy", "private"])
def test_random_numbers_of_any_generator_are_detected(kind: str) -> None:
    private = torch.Generator().manual_seed(1)
    draw: dict[str, Callable[[torch.Size], torch.Tensor]] = {
        "torch": lambda shape: torch.randn(shape),
        "numpy": lambda shape: torch.from_numpy(np.random.normal(size=shape)),
        "private": lambda shape: torch.randn(shape, generator=private),
    }
    found = compared(lambda x: x + draw[kind](x.shape), torch.ones(2, 12))
    assert found == Comparison(frozenset({"layer"}), frozenset(), frozenset({"layer"} if kind == "private" else ()))


@pytest.mark.parametrize("width", [0, LARGE], ids=["run when it is traced", "run with the first batch"])
@pytest.mark.parametrize(
    ("kind", "message", "seed"),
    [
        ("noise", "after torch.manual_seed(0), which repeats them", 0),
        ("dropout", "after torch.manual_seed(0)", 0),
        ("private noise", "differ in every run: the network keeps a private generator", None),
        ("private numpy noise", "differ in every run: the network keeps a private generator", None),
    ],
)
def test_the_reported_effect_of_a_seed_was_measured(
    varying: Callable[..., ModelSpec],
    caplog: pytest.LogCaptureFixture,
    kind: str,
    message: str,
    seed: int | None,
    width: int,
) -> None:
    with caplog.at_level(logging.WARNING, "layerzoo"):
        backbone = layerzoo.load(varying(kind, width), weights="random:1", layer="stage.1")
        layerzoo.extract(backbone, images(2))
    again = [layerzoo.extract(backbone, images(2)) for _ in range(2)]
    is_repeated = bool(np.array_equal(again[0].values, again[1].values))
    assert is_repeated == (seed is not None)
    assert message in caplog.records[-1].getMessage()
    assert again[0].provenance["seed"] == seed
    assert list(again[0].provenance["random"]) == ["stage.1"]
