"""A run on a real local Ray has the parts of a run without it, whatever is killed; batches have the features."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from tools.torture.scale import actors_of

import layerzoo
from layerzoo.errors import RunMismatchError
from layerzoo.ray import ExtractBatch
from layerzoo.runs import verify

MODEL = "toy/next-word"
TEXTS = ["the cat", "milk", "zebra", "dog eats", "meat"] * 40


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Start a Ray with four CPUs, of which two stay free."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*.parquet")}


@pytest.fixture
def reference(home: Path) -> dict[str, bytes]:
    layerzoo.run(MODEL, TEXTS, out=home / "reference", shard_size=7)
    return parts(home / "reference")


def test_a_run_on_ray_has_the_same_parts_and_computes_only_those_that_are_missing(
    home: Path, reference: dict[str, bytes]
) -> None:
    folder = home / "run"
    result = layerzoo.run(MODEL, TEXTS, out=folder, shard_size=7, engine="ray", workers=2)
    assert (result.samples, result.failed, result.left) == (200, 40, 0)
    assert parts(folder) == reference
    (folder / "part-000003.parquet").unlink()
    times = {path: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    layerzoo.run(MODEL, TEXTS, out=folder, engine="ray")
    assert parts(folder) == reference
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_another_request_is_refused_on_ray_too(home: Path) -> None:
    layerzoo.run(MODEL, TEXTS[:3], out=home / "run", shard_size=7)
    with pytest.raises(RunMismatchError, match="mean"):
        layerzoo.run(MODEL, TEXTS[:3], out=home / "run", pool="max", engine="ray", workers=1)


def test_an_actor_that_is_killed_loses_nothing(home: Path, reference: dict[str, bytes]) -> None:
    folder = home / "run"

    def kill() -> None:
        while not list(folder.glob("part-*.parquet")):
            time.sleep(0.01)
        for actor in actors_of(0)[:1]:
            os.kill(actor, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    layerzoo.run(MODEL, TEXTS, out=folder, shard_size=7, engine="ray", workers=2)
    thread.join()
    assert parts(folder) == reference
    assert {check.state for check in verify(folder)} == {"ok"}


def test_batches_of_ray_data_get_columns_of_features(home: Path) -> None:
    (home / "texts.txt").write_text("the cat\nzebra\nmilk\n")
    rows = ray.data.read_text(str(home / "texts.txt")).map_batches(
        ExtractBatch,
        fn_constructor_kwargs={"model": MODEL, "column": "text"},
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    found = {row["text"]: row for row in rows.take_all()}
    expected = layerzoo.extract(MODEL, ["the cat", "milk"]).values
    np.testing.assert_array_equal(found["the cat"]["block.0"], expected[0])
    np.testing.assert_array_equal(found["milk"]["block.0"], expected[1])
    assert "unknown word" in found["zebra"]["error"]
    assert np.isnan(found["zebra"]["block.0"]).all()
