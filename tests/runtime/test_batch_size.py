"""``batch_size="auto"``: a batch takes the memory that is free, whatever network and device; a device that runs out of
memory splits batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerzoo
from layerzoo.errors import SampleError, UsageError
from layerzoo.runtime.batch_size import automatic_limit, free_bytes, peak_bytes
from layerzoo.runtime.batching import BATCHES

MIB = 1 << 20


@pytest.fixture(scope="module")
def images() -> layerzoo.Backbone:
    return layerzoo.load("starter/efficientnet-lite0", layer="stage.1")


@pytest.mark.parametrize("free", [64 * MIB, 200 * MIB])
def test_the_largest_batch_of_images_that_fits_is_chosen(images: layerzoo.Backbone, free: int) -> None:
    rows = automatic_limit(images, images.pools, free).rows
    assert 1 < rows < BATCHES["vision"].rows
    used = peak_bytes(images, images.preprocess.example(rows) or pytest.fail("no example"), images.pools)
    assert 0.5 * free < used <= 0.75 * free


def test_a_batch_has_one_row_at_least_and_on_a_cpu_the_default_at_most(images: layerzoo.Backbone) -> None:
    assert automatic_limit(images, images.pools, 0).rows == 1
    assert automatic_limit(images, images.pools, 1 << 50).rows == BATCHES["vision"].rows


def test_texts_are_limited_by_their_tokens() -> None:
    texts = layerzoo.load("toy/next-word")
    few, more, most = (automatic_limit(texts, texts.pools, free).positions for free in (2048, 8192, 1 << 50))
    assert few is not None
    assert more is not None
    assert 0 < few < more < 512
    assert most == BATCHES["text"].positions


@pytest.mark.slow
def test_audio_in_windows_is_limited_by_its_samples() -> None:
    audio = layerzoo.load("starter/whisper-tiny-en", layer="block.0")
    few, most = (automatic_limit(audio, audio.pools, free).positions for free in (64 * MIB, 1 << 50))
    assert few is not None
    assert 480_000 <= few < 4_000_000
    assert most == BATCHES["audio"].positions


def test_features_are_those_of_the_default(images: layerzoo.Backbone, samples: Path) -> None:
    photos = sorted((samples / "foolbox/data").glob("imagenet_*.jpg"))[:3]
    default, auto = (layerzoo.extract(images, photos, batch_size=size) for size in (None, "auto"))
    np.testing.assert_array_equal(default.values, auto.values)
    assert free_bytes(torch.device("cpu")) > 0


@pytest.mark.parametrize("wrong", ["all", "", 0, 1.5, [4]])
def test_other_batch_sizes_are_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="neither a number of rows, 1 or more, nor 'auto'"):
        layerzoo.extract("toy/next-word", ["the cat"], batch_size=wrong)


class Limited(nn.Module):
    """Runs out of memory like a GPU, with more than two rows, or with a large value."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.rows: list[int] = []

    def forward(self, values: Tensor) -> Tensor:
        if len(values) > 2 or (values.max() > 100 and not values.is_meta):
            raise torch.OutOfMemoryError("out of memory")
        result: Tensor = self.linear(values)
        self.rows.append(len(values))
        return result


def test_batches_are_split_where_the_device_runs_out_of_memory() -> None:
    network = Limited().eval()
    backbone = layerzoo.wrap(network, example=torch.zeros(2, 4))
    values = torch.arange(28, dtype=torch.float32).reshape(7, 4)
    found = layerzoo.extract(backbone, values, batch_size=7)
    with torch.no_grad():
        np.testing.assert_allclose(found.values, network.linear(values).numpy(), rtol=1e-6)
    assert max(network.rows) == 2
    values[3] = 1000
    found = layerzoo.extract(backbone, values, batch_size=7, errors="skip")
    assert len(found) == 6
    assert [str(error) for error in found.errors] == ["3: the device is out of memory: OutOfMemoryError: out of memory"]
    with pytest.raises(SampleError):
        layerzoo.extract(backbone, values, batch_size=7)
