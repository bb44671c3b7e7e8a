"""Networks are built, and checkpoints are mapped, as torchvision does for its own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.torchvision_plugin.checkpoints import network_of, saved
from tools.certify.exact import disturb
from torchvision import models
from torchvision.models import WeightsEnum

import layerzoo
from layerzoo.errors import OutsideRepositoryError, RepositoryError
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo_torchvision.arguments import Arguments
from layerzoo_torchvision.library import loaded_tensors, whole_network


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_the_example_of_the_lecture_is_stage_3_and_its_average(
    name: str, samples: Path, tmp_path: Path, home: Path
) -> None:
    """A ResNet in eval mode, its transform, ``layer4``, average pool."""
    photo = samples / "skimage/data/rocket.jpg"
    network = network_of(name).eval()
    disturb(network)
    spec = saved(layerzoo.model(f"torchvision/{name}"), network, tmp_path)
    network.fc = torch.nn.Identity()
    network = network.to(memory_format=torch.channels_last)
    pixels = models.get_model_weights(name).DEFAULT.transforms()(Image.open(photo).convert("RGB"))
    with torch.no_grad():
        expected = network(pixels[None].to(memory_format=torch.channels_last))
    got = layerzoo.extract(spec, [photo], layer="stage.3").values
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "googlenet",
        "inception_v3",
        "vit_b_16.IMAGENET1K_SWAG_E2E_V1",
        "fasterrcnn_resnet50_fpn",
        "retinanet_resnet50_fpn",
    ],
)
def test_a_network_is_the_one_that_the_library_builds_for_the_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare with the library while its download returns random weights, on the meta device."""
    architecture, _, tag = name.partition(".")
    weights = models.get_model_weights(architecture)[tag or "DEFAULT"]
    with torch.device("meta"):
        ours = whole_network(Arguments(architecture, weights))
    tensors = ours.state_dict()
    if architecture in ("googlenet", "inception_v3"):
        with torch.device("meta"):
            with_auxiliary = models.get_model(architecture, weights=None, aux_logits=True, init_weights=False)
        tensors = with_auxiliary.state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **kwargs: tensors)
    with torch.device("meta"):
        library = models.get_model(architecture, weights=weights)
    assert repr(ours) == repr(library)
    assert ours.state_dict().keys() == library.state_dict().keys()
    assert getattr(ours, "transform_input", None) == getattr(library, "transform_input", None)


def test_keys_of_old_densenets_are_renamed_by_the_library() -> None:
    weights = models.DenseNet121_Weights.DEFAULT
    with torch.device("meta"):
        whole = models.densenet121(weights=None).state_dict()
    state = {name: tensor for name, tensor in whole.items() if not name.endswith("num_batches_tracked")}
    old = {name.replace("norm1", "norm.1").replace("conv2", "conv.2"): tensor for name, tensor in state.items()}
    assert loaded_tensors(Arguments("densenet121", weights), old).keys() == state.keys()


def test_other_threads_load_as_usual_afterwards() -> None:
    load = torch.nn.Module.load_state_dict
    loaded_tensors(Arguments("resnet18", models.ResNet18_Weights.DEFAULT), {})
    assert torch.nn.Module.load_state_dict is load


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        ({"name": "resnet51"}, RepositoryError, r"no architecture 'resnet51'. .*resnet50"),
        ({"name": "resnet50.V3"}, RepositoryError, "no weights 'V3' of resnet50. It has: IMAGENET1K_V2, IMAGENET1K_V1"),
        ({}, RepositoryError, "have no `name`"),
        ({"name": "resnet50", "weights": "DEFAULT"}, OutsideRepositoryError, "its argument `weights` is DEFAULT"),
    ],
)
def test_a_wrong_argument_is_refused(args: dict[str, Any], error: type[Exception], said: str) -> None:
    spec = ModelSpec(id="mine/m", modality="vision", builder="torchvision", args=FrozenMap(args))
    with pytest.raises(error, match=said):
        layerzoo.load(spec, layer="stage.0", weights="random:0")


def test_clips_are_taken_frame_by_frame_with_the_channels_second(home: Path) -> None:
    backbone = layerzoo.load("torchvision/r3d_18", layer="stage.0", weights="random:0")
    clip = [Image.fromarray(np.full((120, 160, 3), shade, np.uint8)) for shade in (0, 80, 160, 240)]
    features = layerzoo.extract(backbone, [np.stack([np.asarray(each) for each in clip])])
    assert features.values.shape == (1, 64)
    assert backbone.layers[0].axes == ("batch", "channel", "frame", "height", "width")
