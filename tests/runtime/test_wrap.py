"""Modules in memory as backbones: their features equal those of a hook on the module."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import models, transforms

import layerzoo
from layerzoo.errors import InputError, LayerError, PoolingError, TraceError, UsageError
from layerzoo.spec import AudioPreprocess, ImagePreprocess, Layer


class SmallNet(nn.Sequential):
    """(batch, 1, 28, 28) → (batch, 10), for images of one size."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.5),
            nn.Flatten(), nn.Linear(16 * 14 * 14, 10),
        )  # fmt: skip


class TwoInputs(nn.Module):
    """(batch, 5) and (batch, 7) → a dict of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(5, 8), nn.Linear(7, 8), nn.Linear(8, 3)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        hidden = self.left(a) + self.right(b)
        return {"scores": self.out(hidden.relu()), "hidden": hidden}


class Recurrent(nn.Module):
    """(batch, token) → (batch, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn, self.out = nn.Embedding(50, 6), nn.GRU(6, 9, batch_first=True), nn.Linear(9, 2)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.rnn(self.embedding(ids))
        scores: Tensor = self.out(states[:, -1])
        return scores


class VisionTransformer(nn.Module):
    """A transformer for images of one size, with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(3))
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        scores: Tensor = self.head(tokens[:, 0])
        return scores


def hooked(module: nn.Module, path: str, *inputs: Tensor, **named: Tensor) -> Any:
    """Return the output of a submodule of the whole network."""
    found: list[Any] = []
    handle = module.get_submodule(path).register_forward_hook(lambda _, args, output: found.append(output))
    with torch.no_grad():
        module(*inputs, **named)
    handle.remove()
    return found[0]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def images(samples: Path) -> list[Path]:
    return [samples / "skimage/data/chelsea.png", samples / "skimage/data/coffee.png"]


def test_a_class_of_a_notebook_needs_no_other_argument() -> None:
    module, batch = SmallNet(), torch.randn(5, 1, 28, 28)
    backbone = layerzoo.wrap(module)
    assert [layer.module for layer in backbone.spec.layers] == ["2", "7", "9"]
    features = layerzoo.extract(backbone, batch, layer=["stage.0", "last"], pool={"stage.0": "none"})
    np.testing.assert_array_equal(features["stage.0"], hooked(module, "2", batch).numpy())
    np.testing.assert_allclose(features["stage.2"], module(batch).detach().numpy(), atol=1e-6)
    assert backbone.spec.id == "memory/SmallNet"


def test_the_module_is_neither_copied_nor_changed() -> None:
    module = SmallNet()
    before = copy.deepcopy(module.state_dict())
    backbone = layerzoo.wrap(module)
    assert backbone.module.network is module
    assert not module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
    layerzoo.extract(backbone, torch.randn(2, 1, 28, 28))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def test_batches_lists_datasets_and_single_samples_are_equal() -> None:
    backbone, batch = layerzoo.wrap(SmallNet(), layer="module:4", pool="none"), torch.randn(4, 1, 28, 28)
    expected = layerzoo.extract(backbone, batch).values
    pairs = TensorDataset(batch, torch.arange(4))
    for inputs in (batch.numpy(), list(batch), [image.numpy() for image in batch], pairs, DataLoader(pairs, 3)):
        np.testing.assert_array_equal(layerzoo.extract(backbone, inputs).values, expected)
    alone = [layerzoo.extract(backbone, image).values[0] for image in batch]
    np.testing.assert_allclose(np.stack(alone), expected, atol=1e-6)


def test_integers_for_a_network_of_floats_are_refused() -> None:
    backbone = layerzoo.wrap(SmallNet())
    for batch in (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), np.zeros((2, 1, 28, 28), np.int16)):
        with pytest.raises(layerzoo.errors.SampleError, match=r"of type u?int\d+: .*float32 per sample.* values / 255"):
            layerzoo.extract(backbone, batch)


def test_several_inputs_and_outputs_are_named() -> None:
    module, a, b = TwoInputs(), torch.randn(4, 5), torch.randn(4, 7)
    backbone = layerzoo.wrap(module, example=(a, b), layers={"first": "left", "both": ".[hidden]"})
    expected = hooked(module, "", a, b)["hidden"].numpy()
    rows = [{"a": first, "b": second} for first, second in zip(a, b, strict=True)]
    for inputs in ({"a": a, "b": b}, (a, b), rows):
        np.testing.assert_allclose(layerzoo.extract(backbone, inputs, layer="both").values, expected, atol=1e-6)
    assert layerzoo.extract(layerzoo.wrap(module, example={"a": a, "b": b}), (a, b)).values.shape == (4, 3)


def test_sequences_of_several_lengths_are_not_padded() -> None:
    module = Recurrent()
    backbone = layerzoo.wrap(module, layer="module:rnn[0]")
    ids = [torch.randint(0, 50, (length,)) for length in (3, 9, 5, 3)]
    expected = [hooked(module, "rnn", each[None])[0].mean(1)[0].numpy() for each in ids]
    np.testing.assert_allclose(layerzoo.extract(backbone, ids).values, np.stack(expected), atol=1e-6)


def test_axes_of_a_network_of_one_size_follow_from_its_modules() -> None:
    module, batch = VisionTransformer(), torch.randn(3, 3, 32, 32)
    backbone = layerzoo.wrap(module, example=batch)
    block = next(layer for layer in backbone.spec.layers if layer.name == "block.1")
    assert (block.axes, block.prefix_tokens) == (("batch", "token", "channel"), 1)
    expected = hooked(module, "blocks.1", batch)[:, 1:].mean(1).numpy()
    np.testing.assert_allclose(layerzoo.extract(backbone, batch, layer="block.1").values, expected, atol=1e-6)


def test_a_transform_of_torchvision_is_applied(images: list[Path]) -> None:
    transform = models.ResNet18_Weights.DEFAULT.transforms()
    module = models.resnet18(weights=None).eval()
    batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in images])
    features = layerzoo.extract(layerzoo.wrap(module, preprocess=transform), images, layer=["stage.1", "pooled"])
    np.testing.assert_allclose(features["pooled"], hooked(module, "avgpool", batch).flatten(1), atol=1e-5)
    np.testing.assert_allclose(features["stage.1"], hooked(module, "layer2", batch).mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize(
    "declared",
    [
        {"size_px": 28, "resize": "bilinear", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        ImagePreprocess(size_px=(28, 28), resize="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ],
)
def test_preprocessing_can_be_declared(declared: Any, images: list[Path]) -> None:
    backbone = layerzoo.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), preprocess=declared)
    features = layerzoo.extract(backbone, images, layer="module:0", pool="none")
    batch = backbone.preprocess(images).inputs["pixels"]
    np.testing.assert_allclose(features.values, hooked(backbone.module.network, "0", batch).numpy(), atol=1e-6)


def test_a_grayscale_transform_and_one_of_any_size(images: list[Path]) -> None:
    gray = transforms.Compose([transforms.Grayscale(), transforms.Resize((28, 28)), transforms.ToTensor()])
    assert layerzoo.extract(layerzoo.wrap(SmallNet(), preprocess=gray), images).values.shape == (2, 10)
    any_size = layerzoo.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), preprocess=transforms.ToTensor())
    assert layerzoo.extract(any_size, images, layer="module:0").values.shape == (2, 4)


def test_texts_are_tokenized_by_a_callable() -> None:
    module = Recurrent()
    texts = ["hello", "a", "good day"]

    def tokenize(text: str) -> list[int]:
        return [ord(letter) % 50 for letter in text]

    features = layerzoo.extract(layerzoo.wrap(module, preprocess=tokenize, layer="module:rnn[0]"), texts)
    expected = [hooked(module, "rnn", torch.tensor([tokenize(text)]))[0].mean(1)[0].numpy() for text in texts]
    np.testing.assert_allclose(features.values, np.stack(expected), atol=1e-6)


def test_audio_is_resampled_to_the_declared_rate(samples: Path) -> None:
    module = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 400, 160), nn.ReLU())
    backbone = layerzoo.wrap(module, preprocess=AudioPreprocess(sample_rate_hz=16_000), layer="module:1")
    file = samples / "arcade/resources/assets/sounds/coin1.wav"
    waveform = backbone.preprocess([file]).inputs["waveform"]
    expected = hooked(module, "1", waveform).mean(2).numpy()
    np.testing.assert_allclose(layerzoo.extract(backbone, [file]).values, expected, atol=1e-6)


def test_the_preprocessing_of_a_model_can_be_used(images: list[Path]) -> None:
    backbone = layerzoo.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), preprocess="starter/efficientnet-lite0")
    assert layerzoo.extract(backbone, images, layer="module:0").values.shape == (2, 4)
    assert backbone.spec.preprocess == layerzoo.model("starter/efficientnet-lite0").preprocess


def test_a_module_in_bfloat16_computes_in_it() -> None:
    module, batch = SmallNet().bfloat16(), torch.randn(2, 1, 28, 28)
    backbone = layerzoo.wrap(module, layer="module:4", pool="none")
    expected = hooked(module, "4", batch.bfloat16()).float().numpy()
    np.testing.assert_array_equal(layerzoo.extract(backbone, batch).values, expected)
    assert backbone.provenance["dtype"] == "bfloat16"


def test_compiled_modules_are_unwrapped() -> None:
    module = SmallNet()
    assert layerzoo.wrap(torch.compile(module)).module.network is module


def test_provenance_has_a_digest_of_the_weights_and_of_later_changes() -> None:
    module = SmallNet()
    backbone = layerzoo.wrap(module, name="my net")
    first = layerzoo.extract(backbone, torch.randn(1, 1, 28, 28)).provenance
    assert (first["model"], first["weights"]["changed"]) == ("memory/my-net", None)
    assert first["loaded"]["sha256"] == layerzoo.wrap(copy.deepcopy(module)).provenance["loaded"]["sha256"]
    with torch.no_grad():
        module[4].weight.mul_(2)
    changed = layerzoo.extract(backbone, torch.randn(1, 1, 28, 28)).provenance["weights"]["changed"]
    assert changed["tensors"] == 1
    assert layerzoo.wrap(module).provenance["loaded"]["sha256"] != first["loaded"]["sha256"]


def test_unusable_arguments_are_named() -> None:
    with pytest.raises(UsageError, match=r"takes a torch.nn.Module, and this is the class SmallNet"):
        layerzoo.wrap(SmallNet)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"lazy parameters.*run it once"):
        layerzoo.wrap(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(TraceError, match=r"derived from the modality vision.*example=BATCH"):
        layerzoo.wrap(TwoInputs())
    with pytest.raises(UsageError, match=r"preprocess= fails on an RGB image of Pillow"):
        layerzoo.wrap(SmallNet(), preprocess=lambda image: image.missing)
    with pytest.raises(UsageError, match=r"sample rate of the network is unknown"):
        layerzoo.wrap(SmallNet(), preprocess=lambda samples: samples, modality="audio")
    with pytest.raises(LayerError, match=r"no layer 'module:99'"):
        layerzoo.wrap(SmallNet(), layers=[Layer(name="a", module="99")])
    backbone = layerzoo.wrap(SmallNet())
    with pytest.raises(InputError, match=r"this network takes arrays, and not files"):
        layerzoo.extract(backbone, "photos/")
    with pytest.raises(layerzoo.errors.SampleError, match=r"0: \(28, 28\): this network takes arrays like"):
        layerzoo.extract(backbone, [np.zeros((28, 28), np.float32)])


class Tagger(nn.Module):
    """(batch, step, 5) → (batch, step, 3): nothing shows the axes of its activations."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(5, 7, batch_first=True), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.out(self.rnn(x)[0])
        return scores


def test_a_layer_of_unknown_axes_can_be_read_but_not_pooled() -> None:
    module, batch = Tagger(), torch.randn(3, 9, 5)
    backbone = layerzoo.wrap(module, example=batch)
    expected = hooked(module, "rnn", batch)[0].numpy()
    pools: list[Any] = ["none", {"module:rnn[0]": "none"}]
    for pool in pools:
        features = layerzoo.extract(backbone, batch, layer="module:rnn[0]", pool=pool)
        np.testing.assert_allclose(features.values, expected, atol=1e-6)
    for layer in ("module:rnn[0]", None):
        with pytest.raises(PoolingError, match=r"layers=\[layerzoo.Layer\(.*axes=\('batch', 'token', 'channel'\)"):
            layerzoo.extract(backbone, batch, layer=layer)
    layers = [Layer(name="states", module="rnn[0]", axes=("batch", "token", "channel"))]
    features = layerzoo.extract(layerzoo.wrap(module, example=batch, layers=layers), batch, layer="states")
    np.testing.assert_allclose(features.values, expected.mean(1), atol=1e-6)


def test_the_module_of_a_layer_may_be_an_address() -> None:
    module, batch = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(2, 3)
    hidden, output = hooked(module, "0", batch), hooked(module, "", batch)
    for address, expected in {"1<": hidden, "1#0": output, ".": output, "0": hidden}.items():
        layers = [Layer(name="x", module=address, axes=("batch", "channel"))]
        values = layerzoo.extract(layerzoo.wrap(module, layers=layers), batch, layer="x").values
        np.testing.assert_allclose(values, expected, atol=1e-6)
    with pytest.raises(LayerError, match=r"has no layer 'module:5'.*All \d: backbone.spec.layers"):
        layerzoo.wrap(module, layers={"x": "5"})


def test_extraction_keeps_the_training_mode_of_each_submodule() -> None:
    module, batch = SmallNet(), torch.randn(4, 1, 28, 28)
    backbone = layerzoo.wrap(module)
    expected = {layer: layerzoo.extract(backbone, batch, layer=layer).values for layer in ("stage.2", "module:8")}
    module.train()
    module[1].eval()
    before = copy.deepcopy(module.state_dict())
    for layer, values in expected.items():
        np.testing.assert_array_equal(layerzoo.extract(backbone, batch, layer=layer).values, values)
        assert [child.training for child in module] == [index != 1 for index in range(len(module))]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class OneMapping(TwoInputs):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        return super().forward(batch["a"], batch["b"])


def test_the_only_argument_of_a_network_may_be_a_mapping() -> None:
    module, batch = OneMapping(), {"a": torch.randn(4, 5), "b": torch.randn(4, 7)}
    expected = hooked(module, "left", batch).numpy()  # type: ignore[arg-type]
    examples: list[Any] = [batch, {"batch": batch}, (batch,)]
    for example in examples:
        backbone = layerzoo.wrap(module, example=example)
        for inputs in (batch, example):
            values = layerzoo.extract(backbone, inputs, layer="module:left").values
            np.testing.assert_allclose(values, expected, atol=1e-6)


def test_complex_numbers_are_refused() -> None:
    batch = torch.randn(2, 1, 28, 28, dtype=torch.complex64)
    with pytest.raises(layerzoo.errors.SampleError, match=r"0: complex numbers of type complex64.*absolute values"):
        layerzoo.extract(layerzoo.wrap(SmallNet()), batch)
    with pytest.raises(layerzoo.errors.SampleError, match=r"complex numbers of type complex128"):
        layerzoo.wrap(SmallNet(), preprocess=lambda image: np.full((1, 28, 28), 1j))


def test_messages_name_what_was_passed_and_what_is_expected() -> None:
    with pytest.raises(UsageError, match=r"this is an object of type int\."):
        layerzoo.wrap(5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"preprocess= is of type int: it has to be a callable"):
        layerzoo.wrap(SmallNet(), preprocess=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"returns an image of Pillow \(28, 28\).*ToTensor"):
        layerzoo.wrap(SmallNet(), preprocess=lambda image: image.resize((28, 28)))
    with pytest.raises(TraceError, match=r"returns pixels \(28, 28, 3\) float32 .*\(height, width, channel\).*permute"):
        layerzoo.wrap(SmallNet(), preprocess=lambda image: np.asarray(image.resize((28, 28))))
    with pytest.raises(UsageError, match=r"empty name"):
        layerzoo.wrap(SmallNet(), layers={"": "0"})
    ids = torch.randint(0, 50, (2, 4))
    backbone = layerzoo.wrap(Recurrent(), example=ids, layer="module:embedding")
    with pytest.raises(InputError, match=r"without the inputs ids, mask: .*example=\{'ids': …, 'mask': …\}"):
        layerzoo.extract(backbone, {"ids": ids, "mask": torch.ones_like(ids)})
    assert layerzoo.extract(backbone, {"ids": ids}).values.shape == (2, 6)
