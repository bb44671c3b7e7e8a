"""Checkpoints in their published formats are mapped like timm, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import layerzoo
from layerzoo.spec import FrozenMap, ImagePreprocess, ModelSpec
from layerzoo_timm.checkpoint import map_checkpoint

State = dict[str, Tensor]


def state(name: str, **args: Any) -> State:
    """Return the state dict of a network with random weights, buffers and norms."""
    network = timm.create_model(name, **args)
    generator = torch.Generator().manual_seed(3)
    return {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }


def renamed(saved: State, *rules: tuple[str, str]) -> State:
    """Return the state dict with every rule's pattern replaced in every key."""
    for pattern, replacement in rules:
        saved = {re.sub(pattern, replacement, key): value for key, value in saved.items()}
    return saved


def of_convnext(saved: State) -> State:
    """Return the state dict in the format of the authors' repository."""
    return renamed(
        saved,
        (r"^stem\.(\d)", r"downsample_layers.0.\1"),
        (r"^stages\.(\d)\.downsample\.(\d)", r"downsample_layers.\1.\2"),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc(\d)", r"pwconv\1"),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    )


def of_swin(saved: State) -> State:
    """Return the state dict in the format of the authors' repository: a stage ends with its downsampling, and buffers
    are saved."""
    earlier = {
        re.sub(r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key): value
        for key, value in saved.items()
    }
    buffers = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49)}
    return renamed(earlier, (r"^head\.fc\.", "head.")) | buffers


def of_efficientformer(saved: State) -> State:
    """Return the state dict in the format of the authors' repository: stages and the modules between them are
    numbered together."""
    for index in range(4):
        saved = renamed(
            saved,
            (rf"^stages\.{index}\.downsample\.conv", f"network.{2 * index - 1}.proj"),
            (rf"^stages\.{index}\.downsample\.norm", f"network.{2 * index - 1}.norm"),
            (rf"^stages\.{index}\.blocks\.", f"network.{2 * index}."),
        )
    stem = {"conv1": 0, "norm1": 1, "conv2": 3, "norm2": 4}
    rules = [(rf"^stem\.{part}", f"patch_embed.{number}") for part, number in stem.items()]
    return renamed(saved, *rules, (r"ls(\d)\.gamma", r"layer_scale_\1"), (r"^head_dist", "dist_head"))


PUBLISHED: dict[str, tuple[Callable[[State], State], dict[str, Any]]] = {
    "convnext_atto": (of_convnext, {}),
    "swin_tiny_patch4_window7_224": (of_swin, {}),
    "efficientformer_l1": (of_efficientformer, {}),
    "eva02_tiny_patch14_224": (lambda saved: {f"visual.trunk.{key}": saved[key] for key in saved}, {}),
    "beit_base_patch16_224": (
        lambda saved: saved | {"blocks.0.attn.relative_position_index": torch.zeros(197, 197)},
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
    ),
}
"""By architecture: its published format, converted from the format of timm; and arguments that make it small."""


def mapped_and_loaded(
    name: str, published: State, args: Mapping[str, Any]
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Return a checkpoint as the plugin maps it, and the state dict of a network into which timm loaded it."""
    create = partial(timm.create_model, name, **args)
    network = create(pretrained=True, pretrained_cfg_overlay={"state_dict": dict(published)})
    return map_checkpoint(create, published), network.state_dict()


def assert_equal(mapped: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> None:
    assert mapped.keys() == loaded.keys()
    assert [name for name in loaded if not torch.equal(mapped[name], loaded[name])] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_formats_are_mapped_like_timm(name: str) -> None:
    published_as, args = PUBLISHED[name]
    assert_equal(*mapped_and_loaded(name, published_as(state(name, **args)), args))


@pytest.mark.parametrize("name", PUBLISHED)
def test_renamed_keys_are_mapped_without_reading_tensors(name: str) -> None:
    published_as, args = PUBLISHED[name]
    published = {key: value.to("meta") for key, value in published_as(state(name, **args)).items()}
    mapped = map_checkpoint(partial(timm.create_model, name, **args), published)
    given = {id(tensor) for tensor in published.values()}
    assert [key for key, tensor in mapped.items() if id(tensor) not in given] == []


@pytest.mark.parametrize(
    ("name", "args", "computed"),
    [
        ("vit_tiny_patch16_224", {"depth": 1, "img_size": 160}, ["pos_embed"]),
        ("vit_tiny_patch16_224", {"depth": 1, "in_chans": 1}, ["patch_embed.proj.weight"]),
        ("vit_tiny_patch16_224", {"depth": 1, "num_classes": 0}, []),
    ],
)
def test_tensors_are_adapted_like_timm(name: str, args: dict[str, Any], computed: list[str]) -> None:
    published = state(name, depth=1)
    mapped, loaded = mapped_and_loaded(name, published, args)
    assert_equal(mapped, loaded)
    given = {id(tensor) for tensor in published.values()}
    assert [key for key, tensor in mapped.items() if id(tensor) not in given] == computed


def test_a_checkpoint_with_the_keys_of_the_network_is_unchanged() -> None:
    saved = state("resnet10t", num_classes=7)
    mapped = map_checkpoint(partial(timm.create_model, "resnet10t", num_classes=7), saved)
    assert {name: id(tensor) for name, tensor in mapped.items()} == {name: id(saved[name]) for name in saved}


def test_the_prefix_of_data_parallel_training_is_removed() -> None:
    saved = state("resnet10t")
    mapped = map_checkpoint(partial(timm.create_model, "resnet10t"), {f"module.{key}": saved[key] for key in saved})
    assert {name: id(tensor) for name, tensor in mapped.items()} == {name: id(saved[name]) for name in saved}


def test_a_mismatched_checkpoint_keeps_its_keys() -> None:
    saved = {name: tensor for name, tensor in state("resnet10t").items() if not name.startswith("layer4")}
    assert map_checkpoint(partial(timm.create_model, "resnet10t"), saved).keys() == saved.keys()


def test_a_cut_of_a_published_checkpoint_reads_part_of_the_file(tmp_path: Path) -> None:
    saved = state("convnext_atto")
    save_file(of_convnext(saved), tmp_path / "convnext.safetensors")
    spec = ModelSpec(id="mine/convnext", modality="vision", builder="timm", args=FrozenMap({"name": "convnext_atto"}))
    backbone = layerzoo.load(spec, layer="stage.1", weights=tmp_path / "convnext.safetensors")
    batch = backbone.preprocess.example(2)
    assert batch is not None
    network = timm.create_model("convnext_atto").eval()
    network.load_state_dict(saved)
    (images,) = batch.inputs.values()
    with torch.no_grad():
        expected = network.stages[:2](network.stem(images))
    assert torch.equal(backbone.activations(batch)["stage.1"], expected)
    loaded = backbone.provenance["loaded"]
    assert loaded["bytes"] < loaded["of_bytes"] / 5


def test_a_checkpoint_that_requires_computation_is_read_completely_and_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Positions for another image size are interpolated from the saved ones."""
    save_file(state("vit_tiny_patch16_224", depth=2), tmp_path / "vit.safetensors")
    args = FrozenMap({"name": "vit_tiny_patch16_224", "depth": 2})
    images = ImagePreprocess(size_px=(96, 96), resize="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    spec = ModelSpec(id="mine/vit", modality="vision", builder="timm", args=args, preprocess=images)
    loaded = layerzoo.load(spec, layer="block.0", weights=tmp_path / "vit.safetensors").provenance["loaded"]
    assert loaded["bytes"] == loaded["of_bytes"]
    assert "mine/vit: all of vit.safetensors is read" in caplog.text
