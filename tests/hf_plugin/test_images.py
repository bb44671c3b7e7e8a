"""Images and videos through the library's own processors equal the library's own call, bit for bit."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.terminal import Zoo
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor

import layerzoo
from layerzoo.errors import ProcessorError, SampleError
from layerzoo.runtime import load_preprocess
from layerzoo.spec import FrozenMap, ImagePreprocess, ModelSpec, VideoPreprocess, Weights

Folder = Callable[..., Path]
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CROPPED = {"do_center_crop": True, "crop_size": {"height": 48, "width": 48}}

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "squashed, not cropped, from 384 on": ("convnext", "ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "cropped below 384": ("convnext", "ConvNextImageProcessor", {"size": {"shortest_edge": 60}, "crop_pct": 0.875}),
    "both sides resized, then cropped": (
        "deit", "DeiTImageProcessor",
        {"size": {"height": 56, "width": 56}, **CROPPED},
    ),
    "crop in the middle, rounded down": ("clip", "CLIPImageProcessor", {"size": {"shortest_edge": 48}, **CROPPED}),
    "crop larger than the image": ("clip", "CLIPImageProcessor", {"size": {"shortest_edge": 40}, **CROPPED}),
    "proportions kept": ("detr", "DetrImageProcessor", {"size": {"shortest_edge": 80, "longest_edge": 133}}),
    "padded to a size": (
        "detr", "DetrImageProcessor",
        {"size": {"shortest_edge": 60, "longest_edge": 90}, "pad_size": {"height": 96, "width": 128}},
    ),
    "another size than the network's": ("dinov2", "BitImageProcessor", {"size": {"shortest_edge": 56}, **CROPPED}),
    "blue before green before red": (
        "mobilevit", "MobileViTImageProcessor",
        {"size": {"shortest_edge": 56}, **CROPPED, "do_flip_channel_order": True},
    ),
    "another factor": (
        "vit", "ViTImageProcessor",
        {"size": {"height": 48, "width": 48}, "rescale_factor": 1 / 127.5},
    ),
    "not rescaled": ("vit", "ViTImageProcessor", {"size": {"height": 48, "width": 48}, "do_rescale": False}),
    "not normalized": ("vit", "ViTImageProcessor", {"size": {"height": 48, "width": 48}, "do_normalize": False}),
    "not resized": ("vit", "ViTImageProcessor", {"do_resize": False}),
    "rescaled before it is resized": ("dinov3_vit", "DINOv3ViTImageProcessor", {"size": {"height": 48, "width": 48}}),
    "a multiple, with proportions kept": (
        "dpt", "DPTImageProcessor",
        {"size": {"height": 64, "width": 64}, "keep_aspect_ratio": True, "ensure_multiple_of": 16},
    ),
    "rescaled with an offset, normalized twice": (
        "efficientnet", "EfficientNetImageProcessor",
        {"size": {"height": 48, "width": 48}, "rescale_offset": True, "include_top": True},
    ),
    "thumbnail, padded": (
        "donut-swin", "DonutImageProcessor",
        {"size": {"height": 96, "width": 64}, "do_align_long_axis": True},
    ),
    "padded to a multiple": ("swin2sr", "Swin2SRImageProcessor", {"size_divisor": 8}),
    "rounded down to a multiple": ("glpn", "GLPNImageProcessor", {"size_divisor": 32}),
    "patches in a list": ("siglip2", "Siglip2ImageProcessor", {"max_num_patches": 64}),
    "long side fits, padded to a square": (
        "sam", "SamImageProcessor",
        {"size": {"longest_edge": 96}, "pad_size": {"height": 96, "width": 96}},
    ),
    "padded to a square before it is resized": (
        "owlv2", "Owlv2ImageProcessor",
        {"size": {"height": 48, "width": 48}},
    ),
}  # fmt: skip
"""By description: a model type, and a processor's class and settings."""


def noise(height: int, width: int) -> Image.Image:
    coarse = np.random.default_rng(height).integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


IMAGES = {"wide": noise(61, 101), "tall": noise(150, 66), "odd": noise(97, 98), "small": noise(20, 23)}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write the folder of a model without weights."""

    def make(model_type: str, processor: Mapping[str, Any] | None = None, *, file: str = "", **config: Any) -> Path:
        AutoConfig.for_model(model_type, **config).save_pretrained(tmp_path)
        if processor is not None:
            (tmp_path / (file or "preprocessor_config.json")).write_text(json.dumps(processor), encoding="utf-8")
        return tmp_path

    return make


def model(where: Path, modality: Any = "vision", **other: Any) -> ModelSpec:
    weights = Weights(source=f"file:{where}/")
    return ModelSpec(id="mine/m", modality=modality, builder="transformers", weights=weights, **other)


@pytest.mark.parametrize("case", CASES)
def test_an_image_equals_the_library(case: str, folder: Folder) -> None:
    model_type, kind, settings = CASES[case]
    where = folder(model_type, {"image_processor_type": kind, **IMAGENET, **settings})
    processor = AutoImageProcessor.from_pretrained(where, backend="pil")
    ours = load_preprocess(model(where))
    for image in IMAGES.values():
        if case == "rounded down to a multiple" and min(image.size) < 32:
            continue
        wanted, got = processor(images=image, return_tensors="pt"), ours([image]).inputs
        name = "pixels" if "pixels" in got else "pixel_values"
        assert torch.equal(got[name], wanted["pixel_values"])
        assert all(torch.equal(tensor, wanted[other]) for other, tensor in got.items() if other != name)


@pytest.mark.parametrize("kind", ["VivitImageProcessor", "VideoMAEImageProcessor"])
def test_a_clip_equals_the_image_processor_on_its_frames(kind: str, folder: Folder) -> None:
    settings = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "rescale_factor": 1 / 127.5}
    model_type = "vivit" if kind.startswith("Vivit") else "videomae"
    where = folder(model_type, {"image_processor_type": kind, **settings, "offset": True}, num_frames=4, image_size=32)
    video = np.stack([np.asarray(IMAGES["wide"])] * 2 + [np.asarray(noise(61, 101))[::-1]] * 2)
    wanted = AutoImageProcessor.from_pretrained(where, backend="pil")(
        [Image.fromarray(frame) for frame in video], return_tensors="pt"
    )
    (got,) = load_preprocess(model(where, "video"))([video]).inputs.values()
    assert torch.equal(got, wanted["pixel_values"])
    if model_type == "vivit":
        assert got.min() < -1.5  # the offset is subtracted before normalization


def test_a_clip_equals_the_video_processor(folder: Folder) -> None:
    settings = {"video_processor_type": "VJEPA2VideoProcessor", "crop_size": {"height": 32, "width": 32}}
    where = folder("vjepa2", settings, file="video_preprocessor_config.json", frames_per_clip=4, crop_size=32)
    video = np.random.default_rng(0).integers(0, 256, (4, 50, 70, 3), np.uint8)
    frames = [[Image.fromarray(frame) for frame in video]]
    processor = AutoVideoProcessor.from_pretrained(where)
    wanted = processor(videos=frames, do_sample_frames=False, return_tensors="pt")["pixel_values_videos"]
    (got,) = load_preprocess(model(where, "video"))([video]).inputs.values()
    assert torch.equal(got, wanted)


def test_without_a_file_the_default_processor_uses_the_configured_size(folder: Folder) -> None:
    where = folder("clip_vision_model", image_size=64)
    wanted = AutoImageProcessor.from_pretrained(
        folder("clip_vision_model", {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64},
                                     "crop_size": {"height": 64, "width": 64}}, image_size=64),
        backend="pil",
    )(IMAGES["tall"], return_tensors="pt")["pixel_values"]  # fmt: skip
    (where / "preprocessor_config.json").unlink()
    (got,) = load_preprocess(model(where))([IMAGES["tall"]]).inputs.values()
    assert torch.equal(got, wanted)


def test_a_nested_configuration_is_read(folder: Folder) -> None:
    own = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 48}, **CROPPED}
    where = folder("clip", {"processor_class": "CLIPProcessor", "image_processor": own}, file="processor_config.json")
    (got,) = load_preprocess(model(where))([IMAGES["tall"]]).inputs.values()
    assert got.shape == (1, 3, 48, 48)
    assert torch.equal(
        got, AutoImageProcessor.from_pretrained(where, backend="pil")(IMAGES["tall"], return_tensors="pt").pixel_values
    )


def test_declared_values_take_precedence_and_are_recorded_in_provenance(folder: Folder) -> None:
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    where = folder("vit", {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}},
                   image_size=32, patch_size=8, **tiny)  # fmt: skip
    own = ImagePreprocess(size_px=(32, 32), resize="nearest", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    library = layerzoo.load(model(where), layer="block.0", weights="random:0")
    declared = layerzoo.load(model(where, preprocess=own), layer="block.0", weights="random:0")
    message = library.provenance["preprocess"]
    assert (message["processor"], message["backend"], message["settings"]["size"]) == (
        "ViTImageProcessorPil",
        "pil",
        {"height": 32, "width": 32},
    )
    assert "processor" not in declared.provenance["preprocess"]
    (got,) = declared.preprocess([IMAGES["odd"]]).inputs.values()
    assert (got.min() >= 0, got.max() <= 1) == (True, True)
    assert not torch.equal(got, next(iter(library.preprocess([IMAGES["odd"]]).inputs.values())))


def test_show_names_the_processor_of_a_model(zoo: Zoo, home: Path, folder: Folder) -> None:
    message = zoo("show", "hf/clip", "--format", "table")
    assert message.code == 0
    assert "CLIPImageProcessorPil" in message.out


def test_show_names_the_processor_of_a_traced_model_in_a_folder(zoo: Zoo, home: Path) -> None:
    where = home / "m"
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    AutoConfig.for_model("vit", image_size=32, patch_size=8, **tiny).save_pretrained(where)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3}
    (where / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    declared = "{modality: vision, builder: transformers, weights: 'file:./m'}"
    (home / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n  mine/m: {declared}\n", encoding="utf-8")
    assert "none declared; a trace asks its library" in zoo("show", "mine/m", "--format", "table").out
    assert zoo("layers", "--trace", "mine/m").code == 0
    shown = zoo("show", "mine/m", "--format", "table").out
    assert "ViTImageProcessorPil" in shown
    assert "resample 3" in shown


def test_a_processor_can_be_sent_to_another_process(folder: Folder) -> None:
    ours = load_preprocess(model(folder("vit", {"image_processor_type": "ViTImageProcessor"})))
    (got,) = pickle.loads(pickle.dumps(ours))([IMAGES["odd"]]).inputs.values()
    assert torch.equal(got, next(iter(ours([IMAGES["odd"]]).inputs.values())))


@pytest.mark.parametrize(
    ("model_type", "kind", "reason"),
    [
        ("llava_next", "LlavaNextImageProcessor", "tiles or patches"),
        ("vit", "VitPoseImageProcessor", "boxes"),
        ("vit", "SuperGlueImageProcessor", "pair"),
        ("seggpt", "SegGptImageProcessor", "prompt_pixel_values"),
    ],
)
def test_a_processor_that_requires_more_than_an_image_is_refused(
    model_type: str, kind: str, reason: str, folder: Folder
) -> None:
    where = folder(model_type, {"image_processor_type": kind})
    with pytest.raises(ProcessorError, match=reason) as caught:
        load_preprocess(model(where))([IMAGES["wide"]])
    assert caught.value.processor.startswith(kind)


def test_an_image_that_the_library_refuses_is_a_bad_sample(folder: Folder) -> None:
    where = folder("glpn", {"image_processor_type": "GLPNImageProcessor", "size_divisor": 32})
    with pytest.raises(SampleError, match="GLPNImageProcessor"):
        load_preprocess(model(where))([noise(10, 10)])


# ---------------------------------------------------------------- masks, and images of different size


RESNET = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage4"],
}  # fmt: skip
DETR = {
    "use_timm_backbone": False, "backbone_config": RESNET, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 6, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}  # fmt: skip


def saved(where: Path, **config: Any) -> Any:
    """Save a small network in a folder. Returns: the network and the folder."""
    torch.manual_seed(0)
    network = AutoModel.from_config(AutoConfig.from_pretrained(where, **config)).eval()
    network.save_pretrained(where)
    return network


def test_images_of_different_size_are_the_same_alone_and_in_a_batch(folder: Folder) -> None:
    size = {"size": {"shortest_edge": 64, "longest_edge": 100}}
    where = folder("detr", {"image_processor_type": "DetrImageProcessor", **size}, **DETR)
    saved(where)
    backbone = layerzoo.load(model(where), layer=["stage.3", "neck.block.0"], pool="mean")
    images = [IMAGES["wide"], IMAGES["tall"], IMAGES["wide"].rotate(180), IMAGES["odd"]]
    together = layerzoo.extract(backbone, images)
    assert backbone.spec.preprocess is not None
    assert backbone.spec.preprocess.batching == "equal_lengths"
    for index, image in enumerate(images):
        alone = layerzoo.extract(backbone, [image])
        for layer in ("stage.3", "neck.block.0"):
            assert np.allclose(alone[layer][0], together[layer][index], atol=1e-5)


def test_pooling_ignores_pixels_outside_the_pixel_mask(folder: Folder) -> None:
    padded = {"size": {"shortest_edge": 64, "longest_edge": 96}, "pad_size": {"height": 128, "width": 192}}
    where = folder("detr", {"image_processor_type": "DetrImageProcessor", **padded}, **DETR)
    network = saved(where)
    inputs = AutoImageProcessor.from_pretrained(where, backend="pil")(images=IMAGES["wide"], return_tensors="pt")
    assert not inputs["pixel_mask"].all()
    with torch.no_grad():
        made = network(**inputs, output_hidden_states=True)
        feature_map, mask = network.backbone(inputs["pixel_values"], inputs["pixel_mask"])[-1]
    tokens = made.encoder_last_hidden_state[0][mask[0].flatten()]
    stage = "module:backbone.model.encoder.stages.3"
    layers = [stage, "neck.block.1", "query.block.0"]
    found = layerzoo.extract(model(where), [IMAGES["wide"]], layer=layers, pool="mean")
    assert np.allclose(found[stage][0], feature_map[0][:, mask[0]].mean(1), atol=1e-5)
    assert np.allclose(found["neck.block.1"][0], tokens.mean(0), atol=1e-5)
    assert np.allclose(found["query.block.0"][0], made.decoder_hidden_states[1][0].mean(0), atol=1e-5)


def test_pooling_uses_a_mask_that_the_network_does_not_accept(folder: Folder) -> None:
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
              "image_size": [64, 64], "num_detection_tokens": 3}  # fmt: skip
    padded = {"size": {"shortest_edge": 64, "longest_edge": 96}, "pad_size": {"height": 96, "width": 128}}
    where = folder("yolos", {"image_processor_type": "YolosImageProcessor", **padded}, **config)
    network = saved(where)
    inputs = AutoImageProcessor.from_pretrained(where, backend="pil")(images=IMAGES["wide"], return_tensors="pt")
    mask = inputs["pixel_mask"][0, ::16, ::16].bool().flatten()
    assert not mask.all()
    with torch.no_grad():
        tokens = network(inputs["pixel_values"]).last_hidden_state[0, 1:-3]
    found = layerzoo.extract(model(where), [IMAGES["wide"]], layer="norm", pool="mean")
    assert np.allclose(found["norm"][0], tokens[mask].mean(0), atol=1e-5)


def test_pooling_ignores_padded_patches(folder: Folder) -> None:
    tower = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
             "patch_size": 8, "num_patches": 64}  # fmt: skip
    settings = {"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 64, "patch_size": 8}
    where = folder("siglip2_vision_model", settings, **tower)
    network = saved(where)
    processor = AutoImageProcessor.from_pretrained(where, backend="pil")
    images = [IMAGES["wide"], IMAGES["tall"], IMAGES["odd"]]
    found = layerzoo.extract(model(where), images, layer="norm", pool="mean")
    assert not processor(images=images, return_tensors="pt")["pixel_attention_mask"].all()
    for image, got in zip(images, found["norm"], strict=True):
        inputs = processor(images=image, return_tensors="pt")
        with torch.no_grad():
            tokens = network(**inputs).last_hidden_state[0]
        assert np.allclose(got, tokens[inputs["pixel_attention_mask"][0].bool()].mean(0), atol=1e-5)


def test_features_with_interpolated_positions_equal_the_library(folder: Folder) -> None:
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    processor = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 56}, **CROPPED}
    where = folder("dinov2", processor, image_size=84, patch_size=8, **tiny)
    network = saved(where)
    inputs = AutoImageProcessor.from_pretrained(where, backend="pil")(images=IMAGES["odd"], return_tensors="pt")
    with torch.no_grad():
        wanted = network(**inputs, output_hidden_states=True).hidden_states[2][0, 1:].mean(0)
    found = layerzoo.extract(model(where), [IMAGES["odd"]], layer="block.1", pool="mean")
    assert np.allclose(found["block.1"][0], wanted, atol=1e-6)


# ---------------------------------------------------------------- declarations


def test_the_description_of_a_processor_states_its_operations(folder: Folder) -> None:
    _, kind, settings = CASES["both sides resized, then cropped"]
    declared = load_preprocess(model(folder("deit", {"image_processor_type": kind, **IMAGENET, **settings}))).declared  # type: ignore[attr-defined]
    assert isinstance(declared, ImagePreprocess)
    assert (declared.size_px, declared.processor, declared.backend) == ((48, 48), "DeiTImageProcessorPil", "pil")
    assert declared.settings["crop_size"] == FrozenMap({"height": 48, "width": 48})
    assert declared.mean == (0.485, 0.456, 0.406)


def test_a_spec_with_a_processor_survives_serialization() -> None:
    image = ImagePreprocess(
        size_px=(8, 8), resize="none", mean=(0, 0, 0), std=(1, 1, 1), processor="P", backend="pil",
        settings=FrozenMap({"size": {"height": 8}, "do_resize": False}), variable_size=True, refused="because",
    )  # fmt: skip
    spec = ModelSpec(id="a/b", modality="vision", builder="c", preprocess=image)
    assert ModelSpec.from_json(spec.to_json()) == spec
    video = replace(spec, modality="video", preprocess=VideoPreprocess(frames=2, image=image))
    assert ModelSpec.from_json(video.to_json()) == video
