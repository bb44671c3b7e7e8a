"""Cached features equal computed ones, and are only used where everything that matters is the same."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import layerzoo
from layerzoo.errors import UsageError
from layerzoo.features.cache import CachedVector, FeatureCache
from layerzoo.paths import feature_cache_path
from layerzoo.runtime.backbone import network_of

MODEL = "toy/next-word"
TEXTS = ["the cat", "milk", "the dog drinks milk"]


@pytest.fixture
def passes(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of rows of each forward pass, with an empty cache."""
    rows: list[int] = []
    run = layerzoo.Backbone.pool_with_counts

    def counted(self: layerzoo.Backbone, batch: Any, pools: Any) -> Any:
        rows.append(batch.size)
        return run(self, batch, pools)

    monkeypatch.setattr(layerzoo.Backbone, "pool_with_counts", counted)
    return rows


def extract(texts: Any = TEXTS, model: Any = MODEL, **options: Any) -> layerzoo.Features:
    return layerzoo.extract(model, texts, **{"layer": ["block.0", "head"], "cache": True, **options})


def test_a_second_extraction_gives_the_same_without_the_network(passes: list[int]) -> None:
    first = extract()
    assert sum(passes) == 3
    again = extract([*TEXTS[::-1], "meat"])
    assert sum(passes) == 4
    np.testing.assert_array_equal(again.concat()[:3], first.concat()[::-1])
    np.testing.assert_array_equal(first.concat(), layerzoo.extract(MODEL, TEXTS, layer=["block.0", "head"]).concat())
    assert again[:3].provenance == first.provenance
    assert extract().report == first.report
    assert extract(layer="head").layers == ("head",)
    assert sum(passes) == 7  # 3 of them without the cache


CHANGES: dict[str, dict[str, Any]] = {
    "a text": {"texts": ["the cat eats"]},
    "the pooling": {"pool": "max"},
    "one of the layers": {"layer": ["block.0", "module:."]},
    "the weights": {"weights": "random:1"},
    "the precision": {"precision": "bfloat16"},
    "the length of vectors": {"normalize": True},
    "special tokens": {"special_tokens": False},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_anything_that_matters_misses(passes: list[int], change: str) -> None:
    extract(TEXTS[:1])
    extract(**{"texts": TEXTS[:1], **CHANGES[change]})
    assert sum(passes) == 2


def test_changed_tensors_miss_and_a_renamed_file_hits(passes: list[int], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat")
    extract(tmp_path / "a.txt")
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert extract(tmp_path / "b.txt").ids[0].endswith("b.txt:1")
    assert sum(passes) == 1
    backbone = layerzoo.load(MODEL, layer=["block.0", "head"])
    assert len(extract(["the cat"], backbone)) == 1
    before = sum(passes)
    for parameter in network_of(backbone).parameters():
        parameter.data += 1
    _ = backbone.module
    extract(["the cat"], backbone)
    assert sum(passes) == before + 1


def test_damaged_entries_are_computed_again(passes: list[int]) -> None:
    first = extract()
    with sqlite3.connect(feature_cache_path()) as database:
        database.execute("UPDATE features SET value = zeroblob(40) WHERE layer = 'head'")
    np.testing.assert_array_equal(extract().concat(), first.concat())
    assert sum(passes) == 6
    feature_cache_path().write_bytes(b"not a database" * 1000)
    np.testing.assert_array_equal(extract().concat(), first.concat())
    assert sum(passes) == 9
    extract()
    assert sum(passes) == 9


def test_a_replaced_checkpoint_misses(passes: list[int], tmp_path: Path) -> None:
    model, layer = "starter/minilm-l6", "block.0"
    tensors = load_file(layerzoo.load(model, layer=layer).save(tmp_path))
    save_file({name: 1.5 * tensor for name, tensor in tensors.items()}, tmp_path / "scaled.safetensors")
    for name in ("model.safetensors", "scaled.safetensors"):
        backbone = layerzoo.load(model, layer=layer, weights=tmp_path / name)
        cached = extract(TEXTS[:1], backbone, layer=None).values
        np.testing.assert_array_equal(cached, extract(TEXTS[:1], backbone, layer=None, cache=False).values)


def test_another_number_of_threads_misses(passes: list[int]) -> None:
    extract(TEXTS[:1])
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        extract(TEXTS[:1])
    finally:
        torch.set_num_threads(threads)
    assert sum(passes) == 2


def test_a_module_in_memory_is_refused(home: Path) -> None:
    wrapped = layerzoo.wrap(torch.nn.Linear(4, 2), example=torch.ones(2, 4))
    with pytest.raises(UsageError, match="is a module in memory"):
        layerzoo.extract(wrapped, [torch.ones(4)], cache=True)


def test_a_cache_of_the_caller_stays_open_and_keeps_its_entries(passes: list[int], tmp_path: Path) -> None:
    with FeatureCache(tmp_path / "own.sqlite3") as cache:
        extract(cache=cache)
        extract(cache=cache)
    with FeatureCache(tmp_path / "own.sqlite3") as cache:
        extract(cache=cache)
    assert sum(passes) == 3


def test_features_that_are_no_vectors_are_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="cache=True keeps one vector"):
        extract(pool="none")


def test_old_entries_are_removed_above_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite3"
    vector = CachedVector(np.arange(1000, dtype=np.float32), {"words": 2})
    for number in range(40):
        with FeatureCache(path, limit_bytes=100_000) as cache:
            cache.put(bytes([number]) * 32, vector, model="a", layer="b")
    with FeatureCache(path, limit_bytes=100_000) as cache:
        kept = [number for number in range(40) if cache.get([bytes([number]) * 32])]
    assert kept == list(range(min(kept), 40))
    assert 0 < len(kept) < 25
    assert path.stat().st_size < 120_000


_WRITER = """
import sys, numpy as np
from pathlib import Path
from layerzoo.features.cache import CachedVector, FeatureCache
for number in range(60):
    with FeatureCache(Path(sys.argv[1])) as cache:
        key = number.to_bytes(32, "big")
        cache.get([key])
        cache.put(key, CachedVector(np.full(100, number, np.float32), {}), model="a", layer="b")
"""


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite3"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, path]) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with FeatureCache(path) as cache:
        keys = [number.to_bytes(32, "big") for number in range(60)]
        found = cache.get(keys)
        assert [found[key].values[0] for key in keys] == list(range(60))
