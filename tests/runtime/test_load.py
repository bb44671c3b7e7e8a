"""Loading declared weights, the user's files, and models that only a file of the user declares."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import layerzoo
from layerzoo.errors import LayerError, PluginError, UnsafeWeightsError, WeightsError
from layerzoo.runtime.backbone import resolved_model
from layerzoo.runtime.checkpoint import KeyRules
from layerzoo.runtime.network import Stub
from layerzoo.runtime.trace import named_tensors
from layerzoo.spec import FrozenMap, ImagePreprocess, Layer, ModelSpec, Weights

TOY = {"hidden.weight": torch.arange(24.0).reshape(3, 8), "next_word.weight": torch.ones(8, 3)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_file(TOY, tmp_path / "toy.safetensors")
    return tmp_path / "toy.safetensors"


@pytest.fixture
def own_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty working directory. Returns: the path of its registry.yaml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "registry.yaml"


def vision(name: str, **declared: object) -> ModelSpec:
    args = declared.pop("args", FrozenMap({"name": name}))
    return ModelSpec(id=f"mine/{name}", modality="vision", builder="timm", args=args, **declared)  # type: ignore[arg-type]


def test_other_weights_can_be_loaded_into_a_known_architecture(checkpoint: Path) -> None:
    features = layerzoo.extract("toy/next-word", ["the", "milk"], weights=checkpoint)
    np.testing.assert_array_equal(features.values, TOY["hidden.weight"].T[[1, 6]])
    assert features.provenance["weights"]["source"] == str(checkpoint)
    loaded = features.provenance["loaded"]
    assert {**loaded, "sha256": ""} == {"tensors": 1, "of_tensors": 2, "bytes": 96, "of_bytes": 192, "sha256": ""}
    assert re.fullmatch("[0-9a-f]{64}", loaded["sha256"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"next_word.weight": torch.ones(8, 3)}, "has no 'hidden.weight'"),
        ({**TOY, "hidden.weight": torch.ones(4, 8)}, r"'hidden.weight' is \(4, 8\) in the checkpoint and \(3, 8\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=message):
        layerzoo.load("toy/next-word", weights=tmp_path / "other.safetensors")


def test_tensors_after_the_cut_may_be_missing_from_the_checkpoint(tmp_path: Path) -> None:
    save_file({"hidden.weight": TOY["hidden.weight"]}, tmp_path / "short.safetensors")
    layerzoo.load("toy/next-word", layer="block.0", weights=tmp_path / "short.safetensors")
    with pytest.raises(WeightsError, match=r"has no 'next_word.weight'"):
        layerzoo.load("toy/next-word", layer="head", weights=tmp_path / "short.safetensors")


def test_a_pickle_is_not_opened_without_a_declared_digest(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "opened"),)

    torch.save({"hidden.weight": Boom()}, tmp_path / "toy.pth")
    with pytest.raises(UnsafeWeightsError, match="opened only when its sha256 is declared"):
        layerzoo.load("toy/next-word", weights=tmp_path / "toy.pth")
    assert not (tmp_path / "opened").exists()


def test_a_declared_pickle_never_runs_code(tmp_path: Path) -> None:
    import hashlib

    class Boom:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "opened"),)

    path = tmp_path / "toy.pth"
    torch.save({"hidden.weight": Boom()}, path)
    weights = Weights(source=f"file:{path}", sha256=((path.name, hashlib.sha256(path.read_bytes()).hexdigest()),))
    with pytest.raises(WeightsError, match="cannot be read as a pickled state dict"):
        layerzoo.load(
            layerzoo.ModelSpec(**{**_fields("toy/next-word"), "weights": weights, "plugin": None, "id": "mine/x"})
        )
    assert not (tmp_path / "opened").exists()


def _fields(model: str) -> dict[str, object]:
    spec = layerzoo.model(model)
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


def test_a_checkpoint_is_converted_once_or_at_each_load_with_a_read_only_cache(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LAYERZOO_CACHE", str(shutil.copytree(index, tmp_path / "cache")))
    batch = layerzoo.load("starter/efficientnet-lite0", layer="stem").preprocess.example(1)
    assert batch is not None
    (kept,) = (tmp_path / "cache/converted").glob("*.safetensors")
    before = kept.stat().st_mtime_ns
    expected = layerzoo.load("starter/efficientnet-lite0", layer="stem").activations(batch)["stem"]
    assert kept.stat().st_mtime_ns == before
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path / "file"))  # even root cannot create a folder below a file
    found = layerzoo.load("starter/efficientnet-lite0", layer="stem").activations(batch)["stem"]
    assert torch.equal(found, expected)
    assert "converted again at every load" in caplog.text


def test_two_processes_that_load_concurrently_give_equal_features(index: Path, tmp_path: Path) -> None:
    shutil.copytree(index, tmp_path, dirs_exist_ok=True)
    script = (
        "import layerzoo, sys; b = layerzoo.load('starter/whisper-tiny-en', layer='stem');"
        "sys.stdout.write(str(float(b.module.network.conv1.weight.double().sum())))"
    )
    environment = {**os.environ, "LAYERZOO_CACHE": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    reported = [process.communicate(timeout=120)[0] for process in running]
    assert reported[0] == reported[1]
    assert all(process.returncode == 0 for process in running)
    assert len(list((tmp_path / "converted").glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet10t", {"stem": "maxpool", "stage.0": "layer1", "stage.1": "layer2", "stage.3": "layer4", "head": "fc"}),
        ("vit_tiny_patch16_224", {"block.0": "blocks.0", "block.11": "blocks.11", "norm": "norm", "head": "head"}),
        ("convnext_atto", {"stem": "stem", "stage.0": "stages.0", "stage.3": "stages.3", "head": "head.fc"}),
    ],
)
def test_layers_of_a_network_that_declares_none_are_named_by_its_trace(name: str, expected: dict[str, str]) -> None:
    layers = {
        layer.name: layer.module
        for layer in resolved_model(layerzoo.load(vision(name), weights="random:0", pool="none")).spec.layers
    }
    assert expected.items() <= layers.items()


@pytest.mark.parametrize(
    ("name", "layer", "axes", "shape", "prefix"),
    [
        ("resnet10t", "stage.1", "batch channel height width", (128, 22, 22), None),
        ("swin_tiny_patch4_window7_224", "stage.0", "batch height width channel", (56, 56, 96), None),
        ("vit_tiny_patch16_224", "block.3", "batch token channel", (197, 192), 1),
        ("deit_tiny_distilled_patch16_224", "block.3", "batch token channel", (198, 192), 2),
        ("vit_tiny_patch16_224", "head", "batch channel", (1000,), None),
    ],
)
def test_axes_shapes_and_prefix_tokens_are_inferred_from_traces(
    name: str, layer: str, axes: str, shape: tuple[int, ...], prefix: int | None
) -> None:
    (found,) = layerzoo.load(vision(name), layer=layer, weights="random:0", pool="none").layers
    assert found.axes == tuple(axes.split())
    assert (found.shape, found.prefix_tokens) == (shape, prefix)


def test_attention_windows_are_not_a_batch_axis() -> None:
    spec = vision("swin_tiny_patch4_window7_224")
    backbone = layerzoo.load(spec, layer="module:layers.0.blocks.0.attn", weights="random:0", pool="none")
    assert backbone.layers[0].axes is None
    with pytest.raises(layerzoo.LayerzooError, match="a trace cannot tell them: declare them"):
        layerzoo.load(spec, layer="module:layers.0.blocks.0.attn", weights="random:0", pool="mean")


SMALL = {
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 48, "num_heads": 3},
    "swinv2_cr_tiny_ns_224": {"depths": [1, 1, 1, 1], "embed_dim": 24, "num_heads": [1, 2, 3, 4]},
    "densenet121": {"block_config": [2, 2, 2, 2], "growth_rate": 8},
    "crossvit_tiny_240": {},
    "regnety_002": {},
}
"""Networks that read weights of uncalled modules, overwrite in place, branch, or call a module twice."""


@pytest.mark.parametrize("name", SMALL)
def test_a_cut_of_a_random_network_equals_the_whole_one(name: str) -> None:
    spec = vision(name, args=FrozenMap({"name": name, **SMALL[name]}))
    whole = layerzoo.load(spec, layer="module:", weights="random:1", pool="none")
    batch = whole.preprocess.example(2)
    assert batch is not None
    calls = [call for call in resolved_model(whole).tracer.trace.calls if None in call.outputs and call.module]
    for call in calls[:: max(1, len(calls) // 4)]:
        selector = f"module:{call.module}#{call.index}"
        cut = layerzoo.load(spec, layer=selector, weights="random:1", pool="none")
        both = layerzoo.load(spec, layer=[selector, "module:"], weights="random:1", pool="none")
        assert torch.equal(cut.activations(batch)[selector], both.activations(batch)[selector]), selector
        is_read_later = any(step > call.end for step in resolved_model(whole).tracer.trace.reads.values())
        assert any(isinstance(module, Stub) for module in cut.module.modules()) == is_read_later


def test_a_users_file_needs_no_code(own_zoo: Path) -> None:
    from timm import create_model

    torch.manual_seed(5)
    network = create_model("vit_tiny_patch16_224", num_classes=7).eval()
    save_file(network.state_dict(), own_zoo.parent / "shelf-v2.safetensors")
    own_zoo.write_text(
        "layerzoo: 1\nmodels:\n  mine/shelf-v2:\n    modality: vision\n    builder: timm\n"
        "    args: {name: vit_tiny_patch16_224, num_classes: 7}\n    weights: file:./shelf-v2.safetensors\n"
        "aliases: {shelf: mine/shelf-v2}\n"
    )
    backbone = layerzoo.load("shelf", layer=["block.5", "head"], pool={"block.5": "cls"})
    batch = backbone.preprocess.example(2)
    assert batch is not None
    with torch.no_grad():
        expected = network.forward_intermediates(
            next(iter(batch.inputs.values())),
            indices=[5],
            intermediates_only=True,
            norm=False,
            return_prefix_tokens=True,
        )
    cls = expected[0][1][:, 0]
    assert np.allclose(np.stack(backbone.pool_rows(batch, {"block.5": "cls"})["block.5"]), cls.numpy(), atol=1e-5)


def test_a_folder_of_save_pretrained_needs_no_code(own_zoo: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    source = layerzoo.model("starter/minilm-l6").weights
    assert source is not None
    from layerzoo.weights import resolve

    folder = own_zoo.parent / "tiny-bert"
    AutoTokenizer.from_pretrained(resolve(source)["config.json"].parent).save_pretrained(folder)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, max_position_embeddings=40
    )
    classifier = BertForSequenceClassification(config).eval()  # its checkpoint has the base under `bert.`
    classifier.save_pretrained(folder)
    own_zoo.write_text(
        "layerzoo: 1\nmodels:\n  mine/tiny-bert: {modality: text, builder: transformers, weights: file:./tiny-bert}\n"
    )
    backbone = layerzoo.load("mine/tiny-bert", layer=["block.*"], pool="cls")
    assert [layer.name for layer in resolved_model(backbone).spec.layers][:5] == [
        "stem",
        "block.0",
        "block.1",
        "block.2",
        "pooled",
    ]
    batch = backbone.preprocess(["a fine film", "no"])
    with torch.no_grad():
        states = classifier.bert(**batch.inputs, output_hidden_states=True).hidden_states
    for index in range(3):
        assert torch.equal(backbone.activations(batch)[f"block.{index}"], states[index + 1])
    assert backbone.spec.preprocess.max_tokens == 40  # type: ignore[union-attr]


def test_a_declared_layer_must_exist_in_the_network() -> None:
    spec = vision("resnet10t", layers=(Layer(name="stage.0", module="layer1", axes=("batch", "token", "channel")),))
    with pytest.raises(LayerError, match="the declared axes 'batch token channel' do not fit its shape"):
        layerzoo.load(spec, weights="random:0")


def test_an_architecture_unknown_to_the_library_is_an_error_of_the_plugin() -> None:
    declared = ImagePreprocess(size_px=(32, 32), resize="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(PluginError, match="no_such_network"):
        layerzoo.load(vision("no_such_network", preprocess=declared), weights="random:0")


def test_preprocessing_is_never_guessed() -> None:
    spec = ModelSpec(id="mine/x", modality="audio", builder="timm", args=FrozenMap({"name": "resnet10t"}))
    with pytest.raises(PluginError, match="declares no `preprocess`"):
        layerzoo.load(spec, weights="random:0")


def test_non_persistent_buffers_have_real_values() -> None:
    backbone = layerzoo.load(vision("swin_tiny_patch4_window7_224"), layer="stage.1", weights="random:0")
    reference = layerzoo.build(vision("swin_tiny_patch4_window7_224"))
    buffers = dict(reference.named_buffers())
    found = {
        name: tensor for name, tensor in named_tensors(backbone.module.network) if not isinstance(tensor, nn.Parameter)
    }
    assert found
    for name, tensor in found.items():
        assert torch.equal(tensor, buffers[name]), name


def test_weights_are_read_from_the_file_tensor_by_tensor(tmp_path: Path) -> None:
    """Bytes after the cut may be damaged: they are never read."""
    path = tmp_path / "network.safetensors"
    network = layerzoo.build(vision("resnet10t"))
    save_file(network.state_dict(), path)
    expected = load_file(path)["conv1.0.weight"]
    loaded = layerzoo.load(vision("resnet10t"), layer="stem", weights=path)
    assert torch.equal(loaded.module.network.conv1[0].weight, expected)
    assert loaded.provenance["loaded"]["bytes"] < 0.02 * loaded.provenance["loaded"]["of_bytes"]
    assert loaded.module.network.conv1[0].weight.untyped_storage().nbytes() == expected.numel() * 4


def test_key_rules_replace_whole_segments_in_order() -> None:
    rules = KeyRules((("model", ""), ("_blocks.1", "blocks.1.0"), ("_bn0", "bn1"), ("_bn1", "bn2")))
    assert rules("model._blocks.1._bn0.weight") == "blocks.1.0.bn1.weight"
    assert rules("_blocks.11._bn1.weight") == "_blocks.11.bn2.weight"
    assert rules("models.x") == "models.x"
