"""Arguments for ``timm.create_model`` in a declaration or a repository name neither a file nor another repository."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models._builder import build_model_with_cfg

import layerzoo
from layerzoo.errors import OutsideRepositoryError, TooLargeError
from layerzoo.spec import FrozenMap, ImagePreprocess, ModelSpec
from layerzoo_timm.factory import LOADING_ARGUMENTS, WRAPPING_ARGUMENTS


def spec(**args: Any) -> ModelSpec:
    given = FrozenMap({"name": "test_resnet", **args})
    return ModelSpec(id="mine/x", modality="vision", builder="timm", args=given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint_path", "some.pth"),
        ("pretrained", True),
        ("pretrained_cfg", {"file": "some.pth"}),
        ("pretrained_cfg_overlay", {"hf_hub_id": "evil/x"}),
        ("cache_dir", "/evil"),
        ("name", "hf-hub:evil/x"),
        ("name", "LOCAL-DIR:some"),
        ("name", "evil/x"),
    ],
)
def test_arguments_that_locate_weights_are_refused(name: str, value: object) -> None:
    with pytest.raises(OutsideRepositoryError, match=f"its argument `{name}` is"):
        layerzoo.load(spec(**{name: value}), weights="random:0")


def test_random_weights_are_never_read_from_a_file(tmp_path: Path) -> None:
    torch.save(
        {name: value + 1 for name, value in timm.create_model("test_resnet").state_dict().items()}, tmp_path / "x"
    )
    with pytest.raises(OutsideRepositoryError, match="weights: file:PATH"):
        layerzoo.build(spec(checkpoint_path=str(tmp_path / "x")))


def test_every_argument_of_the_factory_has_a_rule() -> None:
    """A new release may add an argument: then this test names it."""
    of_factory = {
        *inspect.signature(timm.create_model).parameters,
        *inspect.signature(build_model_with_cfg).parameters,
    }
    assert of_factory - LOADING_ARGUMENTS - WRAPPING_ARGUMENTS == {"exportable", "kwargs", "no_jit", "scriptable"}


@pytest.mark.parametrize("depth", [10**30, 10**6])
def test_a_network_with_excessive_depth_is_refused(depth: int) -> None:
    with pytest.raises(TooLargeError, match="depth"):
        layerzoo.build(
            ModelSpec(
                id="mine/x", modality="vision", builder="timm", args=FrozenMap({"name": "test_vit", "depth": depth})
            )
        )


def test_an_image_of_gigabytes_is_refused() -> None:
    declared = ImagePreprocess(size_px=(200_000, 200_000), resize="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(TooLargeError, match="200000 × 200000 pixels"):
        layerzoo.load(replace(spec(name="test_vit"), preprocess=declared), weights="random:0")
