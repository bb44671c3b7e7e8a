"""Repositories of the hub that timm saved, by their id."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from tests.hub import Hub
from timm.models import save_for_hf

import layerzoo
from layerzoo.errors import RepositoryError


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, bytes]:
    """Save a network with a new head, as timm publishes it."""
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=7)
    save_for_hf(network, tmp_path, safe_serialization=True)
    return {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_a_fine_tuned_network_is_a_model(connected: Hub, saved: dict[str, bytes]) -> None:
    connected.repository("acme/shelf").commit(saved)
    backbone = layerzoo.load("timm/acme/shelf", layer="head")
    assert (backbone.spec.args["name"], backbone.spec.args["num_classes"]) == ("resnet10t", 7)
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=7).eval()
    pixels = torch.from_numpy(np.random.default_rng(0).random((1, 3, 64, 64), np.float32))
    with torch.inference_mode():
        assert torch.allclose(backbone.module(backbone.preprocess([pixels[0]]))["head"], network(pixels), atol=1e-5)


def test_preprocessing_follows_the_configuration_of_the_repository(connected: Hub, saved: dict[str, bytes]) -> None:
    config = json.loads(saved["config.json"])
    config["pretrained_cfg"] |= {"input_size": [3, 96, 96], "interpolation": "bilinear", "crop_pct": 1.0}
    connected.repository("acme/shelf").commit({**saved, "config.json": json.dumps(config)})
    layerzoo.load("timm/acme/shelf", layer="stem")
    preprocess = layerzoo.model("timm/acme/shelf").preprocess
    assert (preprocess.size_px, preprocess.resize, preprocess.crop) == ((96, 96), "bilinear", 1.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '{"architecture": "resnet10tt"}',
            "'resnet10tt', which timm .* does not have. Nearest: resnet10t",
        ),
        ('{"model_type": "bert"}', "holds no model that the plugin 'timm' knows"),
        ("{", "its config.json is not valid JSON"),
    ],
)
def test_a_repository_that_timm_cannot_read_has_a_specific_error(connected: Hub, config: str, message: str) -> None:
    connected.repository("acme/other").commit({"config.json": config})
    with pytest.raises(RepositoryError, match=message):
        layerzoo.load("timm/acme/other")
