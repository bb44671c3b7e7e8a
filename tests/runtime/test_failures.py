"""An error of one sample affects only that sample; an error of a plugin or a network is reported as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import layerzoo
from layerzoo.errors import LayerzooError, PluginError, SampleError, TraceError
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo.testing.toy import WORDS

Install = Callable[..., None]
Misbehaving = Callable[..., ModelSpec]

MILK = WORDS.index("milk") + 1


@pytest.fixture
def misbehaving(install: Install) -> Misbehaving:
    install("misbehaves")

    def declared(**args: object) -> ModelSpec:
        return replace(layerzoo.model("misbehaving/net"), args=FrozenMap(args))

    return declared


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((8, 8, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        (
            {"build": "raise"},
            PluginError,
            "failed in layerzoo_build for misbehaving/net: LookupError: build went wrong",
        ),
        ({"build": "none"}, PluginError, "the builder 'misbehaving' made NoneType of misbehaving/net"),
        ({"build": "text"}, PluginError, "the builder 'misbehaving' made str of misbehaving/net"),
        ({"preprocess": "raise"}, PluginError, "failed in layerzoo_preprocess"),
        ({"preprocess": "text"}, PluginError, "layerzoo_preprocess answers str for misbehaving/net"),
        ({"state_dict": "raise"}, PluginError, "failed in layerzoo_state_dict"),
        ({"state_dict": "text"}, PluginError, "layerzoo_state_dict answers str for misbehaving/net"),
        ({"read_weights": "raise"}, PluginError, "failed in layerzoo_read_weights"),
        ({"read_weights": "text"}, PluginError, "layerzoo_read_weights answers str for misbehaving/net"),
        ({"refuses": "all"}, TraceError, "misbehaving/net could not be traced: .*: too bright"),
    ],
    ids=str,
)
def test_a_misbehaving_plugin_is_named_once(
    misbehaving: Misbehaving, args: dict[str, object], kind: type[LayerzooError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        layerzoo.load(misbehaving(**args))
    assert str(caught.value).count("misbehaving/net") == 1


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("text", "layerzoo_describe answers str"),
        ({"preprocess": {"colour": "blue"}}, "layerzoo_describe for .* does not fit: .*'colour'"),
        ({"preprocess": {}, "default": {"size": 3}}, "layerzoo_describe for .* does not fit: .*'size'"),
    ],
    ids=str,
)
def test_an_invalid_description_is_an_error_of_the_plugin(
    misbehaving: Misbehaving, described: object, message: str
) -> None:
    spec = misbehaving(describe=described)
    with pytest.raises(PluginError, match=message):
        layerzoo.load(replace(spec, preprocess=None, default=ModelSpec.__dataclass_fields__["default"].default))


def test_a_chain_of_another_type_is_an_error_of_the_plugin(misbehaving: Misbehaving) -> None:
    spec = misbehaving(describe={"chain": {"count": 2}})
    with pytest.raises(PluginError, match="returns an object of type FrozenMap as the chain of misbehaving/net"):
        layerzoo.load(replace(spec, layers=()))


def test_a_sample_that_the_network_fails_on_fails_alone(misbehaving: Misbehaving) -> None:
    spec = misbehaving(refuses="white")
    images = [grey(level) for level in (10, 20, 255, 30, 40, 50, 255)]
    found = layerzoo.extract(spec, images, errors="skip")
    assert found.ids == ("0", "1", "3", "4", "5")
    assert [error.id for error in found.errors] == ["2", "6"]
    assert found.errors[0].reason == "the network fails on it: ValueError: too bright"
    np.testing.assert_allclose(found.values[:, 0], 3 * np.array([10, 20, 30, 40, 50]) / 255, rtol=1e-5)
    with pytest.raises(SampleError, match="2: the network fails on it") as caught:
        layerzoo.extract(spec, images)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_sample_that_a_plugins_preprocessing_fails_on_fails_alone(misbehaving: Misbehaving) -> None:
    found = layerzoo.extract(misbehaving(), [grey(10), grey(0), grey(20)], errors="skip")
    assert found.ids == ("0", "2")
    assert [str(error) for error in found.errors] == [
        "1: its preprocessing fails: ZeroDivisionError: nothing but black"
    ]


def test_a_text_with_one_failing_chunk_is_one_failure() -> None:
    backbone = layerzoo.load("toy/next-word")

    def refuse_milk(network: nn.Module, arguments: tuple[object, ...], named: dict[str, torch.Tensor]) -> None:
        if bool((named["input_ids"] == MILK).any()):
            raise ValueError("spilt")

    backbone.module.network.register_forward_pre_hook(refuse_milk, with_kwargs=True)
    texts = ["cat", "dog " * 20 + "milk " * 20, "dog " * 40, "milk", "the"]
    found = layerzoo.extract(backbone, texts, errors="skip", chunks=True, batch_size=2)
    assert found.ids == ("0", "2", "4")
    assert [error.id for error in found.errors] == ["1", "3"]


def test_a_batch_too_large_for_the_memory_is_split() -> None:
    backbone = layerzoo.load("toy/next-word")
    expected = layerzoo.extract(backbone, ["cat", "dog", "milk"] * 4)

    def small_memory(network: nn.Module, arguments: tuple[object, ...], named: dict[str, torch.Tensor]) -> None:
        if len(named["input_ids"]) > 5:
            raise torch.OutOfMemoryError("out of memory")

    backbone.module.network.register_forward_pre_hook(small_memory, with_kwargs=True)
    np.testing.assert_array_equal(layerzoo.extract(backbone, ["cat", "dog", "milk"] * 4).values, expected.values)


def test_a_network_that_fails_on_any_input_is_not_an_error_of_a_sample() -> None:
    backbone = layerzoo.load("toy/next-word")
    backbone.module.network.hidden.weight = nn.Parameter(torch.ones(3, 5))
    with pytest.raises(PluginError, match="the network of toy/next-word fails on any input: RuntimeError: "):
        layerzoo.extract(backbone, ["cat"] * 40, errors="skip")


def test_exceptions_of_the_callers_iterator_pass_unchanged() -> None:
    def texts() -> object:
        yield from ["cat"] * 100
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        layerzoo.extract("toy/next-word", texts(), errors="skip")
