"""Inputs and the folder of a run in S3: a server of moto on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

import layerzoo
from layerzoo.errors import MissingOnServerError, RunMismatchError
from layerzoo.features.part import PartFacts
from layerzoo.runs import status, verify
from layerzoo.runs.loading import load
from layerzoo.runs.storage import facts_of, storage

MODEL = "toy/next-word"
URL = "s3://bucket/run"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").clear_instance_cache()
    files = fsspec.filesystem("s3")
    files.mkdir("bucket")
    yield files
    files.rm("bucket", recursive=True)  # the server keeps its files in this process
    server.stop()


def test_a_run_in_s3_equals_one_on_a_disk_and_is_continued(store: fsspec.AbstractFileSystem, home: Path) -> None:
    store.pipe({"bucket/texts/a.txt": b"the cat\nmilk\nzebra\n", "bucket/texts/b.txt": b"dog eats\nmeat\n"})
    result = layerzoo.run(MODEL, "s3://bucket/texts/", out=URL, shard_size=2)
    assert (result.samples, result.failed, result.left) == (5, 1, 0)
    features = load(URL)
    expected = layerzoo.extract(MODEL, ["the cat", "milk", "dog eats", "meat"])
    np.testing.assert_array_equal(features.values, expected.values)
    assert features.ids[0] == "s3://bucket/texts/a.txt:1"
    store.rm("bucket/run/part-000001.parquet")
    assert status(URL).left == 2
    assert layerzoo.run(out=URL, workers=1).left == 0
    assert {check.state for check in verify(URL)} == {"ok"}
    with pytest.raises(RunMismatchError, match="max"):
        layerzoo.run(MODEL, "s3://bucket/texts/", out=URL, pool="max")


def test_a_file_that_changes_in_s3_after_the_start_is_a_failed_row(
    store: fsspec.AbstractFileSystem, home: Path, samples: Path
) -> None:
    model = "starter/efficientnet-lite0"
    for name, source in (("a.png", "chelsea.png"), ("b.png", "coffee.png")):
        store.put(str(samples / "skimage/data" / source), f"bucket/photos/{name}")
    layerzoo.run(model, "s3://bucket/photos/*.png", out=URL, shard_size=1, shard=(0, 2))
    store.put(str(samples / "skimage/data/chelsea.png"), "bucket/photos/b.png")
    assert layerzoo.run(out=URL).failed == 1
    assert facts_of(storage(URL), 1) == PartFacts(facts_of(storage(URL), 0).run, 1, 1, 1)
    assert layerzoo.run(out=URL, retry_failed=True).failed == 0


def test_a_missing_file_is_named(store: fsspec.AbstractFileSystem, home: Path) -> None:
    with pytest.raises(MissingOnServerError, match=r"s3://bucket/nothing\.txt: no such file"):
        layerzoo.run(MODEL, "s3://bucket/nothing.txt", out=home / "run")
