"""Several devices run replicas of a network, and a device with several batches at once gives the same features."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import layerzoo
from layerzoo.errors import UsageError
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.replicas import run_in_replicas
from layerzoo.runtime.transfer import to_device

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos(samples: Path) -> list[Path]:
    return sorted((samples / "foolbox/data").glob("imagenet_*.jpg"))[:9]


@pytest.fixture(scope="module")
def images() -> layerzoo.Backbone:
    return layerzoo.load("starter/efficientnet-lite0", layer=["stem", "stage.0"])


def test_replicas_on_two_devices_give_the_same_features_in_order(images: layerzoo.Backbone, photos: list[Path]) -> None:
    both = layerzoo.load("starter/efficientnet-lite0", layer=["stem", "stage.0"], device=["cpu", "cpu"])
    assert both.devices == (CPU, CPU)
    threads = {threading.get_ident()}
    both_at_work = threading.Barrier(2)

    def wait_for_the_other(network: torch.nn.Module, inputs: object) -> None:
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            both_at_work.wait(timeout=60)  # else a fast replica can take all batches on a busy machine

    both.module.network.register_forward_pre_hook(wait_for_the_other)
    one, two = layerzoo.extract(images, photos, batch_size=2), layerzoo.extract(both, photos, batch_size=2)
    assert one.ids == two.ids
    for layer in one.layers:
        np.testing.assert_allclose(two[layer], one[layer], rtol=1e-4, atol=1e-5)
    assert (one.provenance["device"], two.provenance["device"]) == ("cpu", "cpu, cpu")
    assert len(threads - {threading.get_ident()}) == 2


def test_several_batches_at_once_on_one_device_give_the_same_features(
    images: layerzoo.Backbone, photos: list[Path]
) -> None:
    batches = [images.preprocess(photos[at : at + 2]) for at in range(0, len(photos), 2)]
    threads: set[int] = set()

    def run(backbone: layerzoo.Backbone, batch: Batch) -> list[np.ndarray]:
        assert backbone is images
        threads.add(threading.get_ident())
        return backbone.pool_rows(batch, images.pools)["stage.0"]

    expected = [run(images, batch) for batch in batches]
    threads.clear()
    found = list(run_in_replicas(images, batches, run, devices=[CPU], at_once=3))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))
    assert threading.get_ident() not in threads


def test_a_batch_keeps_all_of_its_tensors_on_the_way_to_a_device() -> None:
    images = torch.rand(2, 3, 4, 4)
    batch = Batch(
        {"pixels": images}, valid=torch.tensor([3, 4]), total=4, image_mask=torch.ones(2, 4, 4, dtype=torch.bool)
    )
    placed = to_device(batch, CPU, torch.channels_last)
    assert placed.inputs["pixels"].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(tensors_of(placed), tensors_of(batch), strict=True):
        assert torch.equal(one, other)
    assert {tensor.device.type for tensor in tensors_of(batch.to("meta"))} == {"meta"}


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    assert batch.valid is not None
    assert batch.image_mask is not None
    return [*batch.inputs.values(), batch.valid, batch.image_mask]


def test_wrong_devices_are_named(images: layerzoo.Backbone, photos: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"device=\[\] names no device"):
        layerzoo.load("toy/next-word", device=[])
    with pytest.raises(UsageError, match="'nowhere' is not a torch device"):
        layerzoo.load("toy/next-word", device=["cpu", "nowhere"])
    with pytest.raises(UsageError, match="this backbone is loaded already"):
        layerzoo.extract(images, photos, device=["cpu", "cpu"])
    both = layerzoo.load("toy/next-word", device=["cpu", "cpu"])
    assert len(layerzoo.extract(both, ["the cat"], device=["cpu", "cpu"])) == 1
