"""Preprocessing equals timm's evaluation transform bit for bit, for every pretrained tag."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageOps
from timm.data import create_transform, resolve_data_config, resolve_model_data_config

from layerzoo.media.image import decode, to_array
from layerzoo.registry.format.schema import check_model
from layerzoo.spec import ImagePreprocess, ModelSpec, preprocess_from_dict
from layerzoo_timm.preprocess import preprocess_of

CONFIGURATIONS = 183
"""The number of tags and architectures of timm 1.0.31; another version may differ."""

Transforms = dict[str, tuple[ImagePreprocess, Callable[[Image.Image], torch.Tensor]]]


@pytest.fixture(scope="module")
def tags() -> dict[str, Any]:
    """Return the configuration of one tag or architecture for each different preprocessing."""
    distinct: dict[str, tuple[str, Any]] = {}
    for name in [*timm.list_pretrained(), *timm.list_models()]:
        known = timm.get_pretrained_cfg(name)
        distinct.setdefault(json.dumps(resolve_data_config(pretrained_cfg=known.to_dict())), (name, known))
    return dict(distinct.values())


@pytest.fixture(scope="module")
def transforms(tags: dict[str, Any]) -> Transforms:
    """Return, by the name of a tag, the preprocessing of layerzoo and the transform of timm."""
    return {
        name: (
            declared(known),
            create_transform(**resolve_data_config(pretrained_cfg=known.to_dict())),
        )
        for name, known in tags.items()
    }


@pytest.fixture(scope="module")
def images(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return JPEGs by description: photographs, and their centres in other sizes and modes."""
    photo, folder = samples / "skimage/data/rocket.jpg", tmp_path_factory.mktemp("images")
    middles = {
        "portrait": ((211, 333), "RGB"),
        "tiny": ((31, 17), "RGB"),
        "wide": ((95, 19), "RGB"),
        "grey": ((123, 77), "L"),
        "cmyk": ((97, 131), "CMYK"),
    }
    for name, (size, mode) in middles.items():
        ImageOps.fit(Image.open(photo), size).convert(mode).save(folder / f"{name}.jpg", quality=92)
    return {"photograph": photo, **{name: folder / f"{name}.jpg" for name in middles}}


def declared(known: Any) -> ImagePreprocess:
    made = preprocess_from_dict({"kind": "image", **preprocess_of(known)})
    assert isinstance(made, ImagePreprocess)
    return made


def test_every_tag_and_architecture_is_covered(tags: dict[str, Any]) -> None:
    assert len(tags) == CONFIGURATIONS
    assert {known.crop_mode for known in tags.values()} == {"center", "squash", "border"}


@pytest.mark.parametrize("kind", ["photograph", "portrait", "tiny", "wide", "grey", "cmyk"])
def test_equals_timm_for_every_configuration(kind: str, images: dict[str, Path], transforms: Transforms) -> None:
    path = images[kind]
    ours, theirs = decode(path), Image.open(path).convert("RGB")
    different = [
        name
        for name, (preprocess, transform) in transforms.items()
        if not torch.equal(torch.from_numpy(to_array(ours, preprocess)), transform(theirs))
    ]
    assert different == []


@pytest.mark.parametrize("size", [(500, 3), (3, 300), (1, 1)])
@pytest.mark.parametrize("tag", ["resnet50.a1_in1k", "volo_d4_448.sail_in1k", "vit_base_patch16_sapiens2.fb"])
def test_extreme_proportions(size: tuple[int, int], tag: str, images: dict[str, Path]) -> None:
    known = timm.get_pretrained_cfg(tag)
    transform = create_transform(**resolve_data_config(pretrained_cfg=known.to_dict()))
    image = ImageOps.fit(decode(images["photograph"]), size)
    assert torch.equal(torch.from_numpy(to_array(image, declared(known))), transform(image))


def test_a_rotated_image_is_oriented_first(images: dict[str, Path], transforms: Transforms, tmp_path: Path) -> None:
    """timm's own readers do not rotate it."""
    stored, exif = Image.open(images["portrait"]), Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=92)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "turned.jpg")).convert("RGB")
    preprocess, transform = next(iter(transforms.values()))
    made = to_array(decode(tmp_path / "turned.jpg"), preprocess)
    assert np.array_equal(made, transform(upright).numpy())


@pytest.mark.parametrize(
    "name", ["test_vit.r160_in1k", "test_resnet.r160_in1k", "test_byobnet", "deit_tiny_patch16_224"]
)
def test_a_built_network_has_the_same_preprocessing(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    known = timm.get_pretrained_cfg(name)
    assert resolve_model_data_config(network) == resolve_data_config(pretrained_cfg=known.to_dict())


def test_every_configuration_can_be_written_into_a_registry(tags: dict[str, Any], tmp_path: Path) -> None:
    for name, known in tags.items():
        written = {"modality": "vision", "builder": "timm", "args": {"name": name}, "preprocess": preprocess_of(known)}
        plain, mistakes = check_model(f"timm/{name}", json.loads(json.dumps(written)), tmp_path)
        assert mistakes == []
        assert plain is not None
        assert ModelSpec.from_dict({"id": f"timm/{name}", **plain}).preprocess == declared(known)
