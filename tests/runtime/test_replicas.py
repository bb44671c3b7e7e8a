"""Two replicas of a network run in parallel: equal features, in order, each with separate hooks and part of the
cores."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tools.certify.shrink import Shrink, small
from torch import nn
from transformers import AutoConfig

import layerzoo
from layerzoo.errors import SampleError
from layerzoo.runtime.replicas import run_in_replicas
from layerzoo.spec import FrozenMap, ModelSpec

RATE = 16_000
TWO = (torch.device("cpu"),) * 2
Threads = list[tuple[int, int]]
"""Record the thread and the number of cores of each pass."""


def clip(length: int) -> tuple[NDArray[np.float32], int]:
    return np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32), RATE


LENGTHS = (16_000, 4_000, 4_001, 9_000, 400, 12_345, 8_000)


@pytest.fixture(scope="module")
def cores() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(before)


def speech(precision: Any) -> layerzoo.Backbone:
    config = small(AutoConfig.for_model("wav2vec2").to_dict(), Shrink(layers=2))
    args = FrozenMap({"model_type": "wav2vec2", "config": config})
    spec = ModelSpec(id="small/wav2vec2", modality="audio", builder="transformers", args=args)
    return layerzoo.load(spec, layer=["block.0", "block.-1"], weights="random:0", precision=precision)


def watched(backbone: layerzoo.Backbone) -> Threads:
    passes: Threads = []

    def note(network: nn.Module, args: Any) -> None:
        passes.append((threading.get_ident(), torch.get_num_threads()))

    backbone.module.network.register_forward_pre_hook(note)
    return passes


def test_audio_in_lower_precision_runs_in_two_replicas(cores: int) -> None:
    backbone = speech("bfloat16")
    passes = watched(backbone)
    clips = [clip(length) for length in LENGTHS]
    found = layerzoo.extract(backbone, clips)
    assert found.ids == tuple(str(at) for at in range(len(LENGTHS)))
    assert {share for _, share in passes} == {cores // 2}
    assert threading.get_ident() not in {thread for thread, _ in passes}
    for at, each in enumerate(clips):
        alone = layerzoo.extract(backbone, [each])
        for name in found.layers:
            np.testing.assert_allclose(found[name][at], alone[name][0], rtol=0, atol=2e-2)
    assert passes[-1] == (threading.get_ident(), cores)  # a single clip has all cores
    assert torch.get_num_threads() == cores


def test_float32_or_a_single_core_runs_one_sample_at_a_time(cores: int) -> None:
    backbone = speech("float32")
    passes = watched(backbone)
    layerzoo.extract(backbone, [clip(length) for length in LENGTHS])
    assert set(passes) == {(threading.get_ident(), cores)}


def test_later_threads_can_use_all_cores(cores: int) -> None:
    layerzoo.extract(speech("bfloat16"), [clip(length) for length in LENGTHS])
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [cores]


def test_failing_audio_fails_alone(cores: int) -> None:
    backbone = speech("bfloat16")
    clips = [clip(length) for length in (9_000, 399, 8_000, 100)]
    found = layerzoo.extract(backbone, clips, errors="skip")
    assert found.ids == ("0", "2")
    assert {error.id for error in found.errors} == {"1", "3"}
    with pytest.raises(SampleError, match="too short: 399 samples"):
        layerzoo.extract(backbone, clips)


def test_an_abandoned_stream_leaves_no_thread(cores: int) -> None:
    before = set(threading.enumerate())
    pieces = layerzoo.stream(speech("bfloat16"), [clip(length) for length in LENGTHS])
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


class Alone(nn.Module):
    """A network that cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("no")


def test_a_network_that_cannot_be_copied_runs_one_at_a_time(cores: int) -> None:
    backbone = speech("bfloat16")
    backbone.module.network.extra = Alone()
    with pytest.raises(RuntimeError):
        copy.deepcopy(backbone.module)
    runs = list(run_in_replicas(backbone, range(5), lambda replica, work: (replica is backbone, work), devices=TWO))
    assert runs == [(True, work) for work in range(5)]


def test_replicas_share_only_their_tensors(cores: int) -> None:
    backbone = speech("bfloat16")
    barrier = threading.Barrier(2, timeout=20)

    def run(replica: layerzoo.Backbone, work: int) -> tuple[int, layerzoo.Backbone]:
        barrier.wait()  # both run in parallel
        return work, replica

    done = list(run_in_replicas(backbone, range(6), run, devices=TWO))
    assert [work for work, _ in done] == list(range(6))
    one, other = {id(replica): replica for _, replica in done}.values()
    assert one.module is not other.module
    pairs = zip(one.module.named_parameters(), other.module.named_parameters(), strict=True)
    assert all(name == name_there and tensor is there for (name, tensor), (name_there, there) in pairs)
    assert {id(module) for module in one.module.modules()}.isdisjoint(map(id, other.module.modules()))
