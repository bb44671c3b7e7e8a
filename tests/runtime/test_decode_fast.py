"""``decode="fast"`` in extraction: near the exact features, recorded, and refused or ignored where it cannot apply."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import layerzoo
from layerzoo.cli import main
from layerzoo.errors import UsageError
from layerzoo.features import Features
from layerzoo.media.decoder import Workers
from layerzoo.media.limits import limits, usable_cores


@pytest.fixture(scope="module")
def photos(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    names = sorted((samples / "foolbox/data").glob("imagenet_*.jpg"))[:4]
    paths = [folder / f"{number}.jpg" for number in range(len(names))]
    for name, path in zip(names, paths, strict=True):
        with Image.open(name) as original:
            original.convert("RGB").resize((1600, 1200), Image.Resampling.LANCZOS).save(path, quality=92)
    return paths


@pytest.fixture(scope="module")
def images() -> layerzoo.Backbone:
    return layerzoo.load("starter/efficientnet-lite0", layer="stage.1")


def test_features_are_near_the_exact_ones_and_the_decoding_is_recorded(
    images: layerzoo.Backbone, photos: list[Path]
) -> None:
    exact, fast = layerzoo.extract(images, photos), layerzoo.extract(images, photos, decode="fast")
    assert exact.provenance["decode"] == "exact"
    assert fast.provenance["decode"] == "fast"
    assert not np.array_equal(exact.values, fast.values)
    lengths = np.linalg.norm(exact.values, axis=1) * np.linalg.norm(fast.values, axis=1)
    assert ((exact.values * fast.values).sum(1) / lengths).min() >= 0.9995
    assert layerzoo.extract(images, photos).provenance["decode"] == "exact"  # the backbone is unchanged


def test_the_number_of_decode_processes_does_not_change_features(
    images: layerzoo.Backbone, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for processes in ("0", "2"):
        monkeypatch.setenv("LAYERZOO_DECODE_PROCESSES", processes)
        found.append(layerzoo.extract(images, photos, decode="fast").values)
    np.testing.assert_array_equal(*found)


def test_fast_decoding_uses_all_cores_unless_the_environment_sets_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAYERZOO_DECODE_PROCESSES", raising=False)
    assert Workers(all_cores=True).processes == usable_cores()
    assert Workers().processes == limits().processes
    monkeypatch.setenv("LAYERZOO_DECODE_PROCESSES", "3")
    assert Workers(all_cores=True).processes == 3


def test_unknown_values_and_models_without_images_are_refused(images: layerzoo.Backbone, photos: list[Path]) -> None:
    with pytest.raises(UsageError, match="decode='quick' is not one of exact, fast"):
        layerzoo.extract(images, photos, decode="quick")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="decode='fast' is for image files, and toy/next-word takes text"):
        layerzoo.extract("toy/next-word", ["the cat"], decode="fast")
    assert layerzoo.extract("toy/next-word", ["the cat"]).provenance["decode"] is None


def wrapped(*steps: Any) -> layerzoo.Backbone:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return layerzoo.wrap(network.eval(), preprocess=transforms.Compose([*steps, transforms.ToTensor()]))


def compared(backbone: layerzoo.Backbone, photos: list[Path]) -> tuple[Features, Features]:
    layer = backbone.layers[-1].name
    return layerzoo.extract(backbone, photos, layer=layer), layerzoo.extract(
        backbone, photos, layer=layer, decode="fast"
    )


def test_a_transform_that_resizes_every_image_to_one_size_receives_reduced_images(photos: list[Path]) -> None:
    exact, fast = compared(wrapped(transforms.Resize((64, 64))), photos)
    assert fast.provenance["decode"] == "fast"
    assert not np.array_equal(exact.values, fast.values)
    np.testing.assert_allclose(exact.values, fast.values, atol=5e-3)


@pytest.mark.parametrize("step", [transforms.CenterCrop(64), transforms.Resize(64)], ids=["crop", "other sizes"])
def test_a_transform_that_depends_on_the_size_of_an_image_receives_full_images(
    photos: list[Path], step: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="layerzoo"):
        exact, fast = compared(wrapped(step), photos)
    assert "decode='fast' has no effect" in caplog.text
    assert fast.provenance["decode"] == "exact"
    np.testing.assert_array_equal(exact.values, fast.values)


def test_the_command_line_takes_the_decoding_a_batch_size_and_devices(
    photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features.npz"
    command = ["extract", *map(str, photos), "--out", str(out)]
    command += ["--model", "starter/efficientnet-lite0", "--layer", "stem"]
    how = ["--decode", "fast", "--batch-size", "auto", "--device", "cpu,cpu"]
    assert exit_code(command + how) == 0, capsys.readouterr().err
    provenance = layerzoo.Features.load(out).provenance
    assert (provenance["decode"], provenance["device"]) == ("fast", "cpu, cpu")
    for wrong in (["--decode", "quick"], ["--batch-size", "0"], ["--batch-size", "all"], ["--device", "cpu,"]):
        assert exit_code(command + wrong) == 2, wrong


def exit_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    code = stop.value.code
    return code if isinstance(code, int) else 0
