"""A run on a full disk, on one without locks, and next to another run: each has a named result, and loses nothing."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

import layerzoo
from layerzoo import disk
from layerzoo.errors import OutputError
from layerzoo.runs import status, verify
from layerzoo.runs.creation import creation_lock

MODEL = "toy/next-word"
TEXTS = ["the cat drinks milk", "milk", "zebra", "dog eats"] * 500


@contextlib.contextmanager
def limited_file_size(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*.parquet")}


def test_a_full_disk_ends_the_run_with_its_parts_and_without_half_a_file(home: Path) -> None:
    layerzoo.run(MODEL, TEXTS, out=home / "reference", shard_size=100)
    layerzoo.run(MODEL, TEXTS, out=home / "run", shard_size=100, shard=(0, 2))
    smallest = min(path.stat().st_size for path in (home / "run").glob("part-*.parquet"))
    with limited_file_size(smallest - 100), pytest.raises(OutputError, match="the disk is full"):
        layerzoo.run(out=home / "run")
    assert status(home / "run").shards_done == 10
    assert not [path for path in (home / "run").iterdir() if disk.is_scratch(path.name)]
    layerzoo.run(out=home / "run")
    assert parts(home / "run") == parts(home / "reference")


def test_a_disk_that_fills_while_the_inputs_are_listed_leaves_no_run(home: Path) -> None:
    with limited_file_size(2_000), pytest.raises(OutputError, match="the disk is full"):
        layerzoo.run(MODEL, [f"the cat {number}" for number in range(5000)], out=home / "run")
    assert status(home / "run").model is None
    assert list((home / "run").iterdir()) == []
    assert layerzoo.run(MODEL, TEXTS[:2], out=home / "run").left == 0


def test_runs_are_created_one_after_the_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some wait for a lock file that the one before removes, and others come later."""
    sleep = time.sleep
    inside: list[int] = []
    together: list[int] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(0.001))

    def create(number: int) -> None:
        for _ in range(8):
            with creation_lock(home):
                inside.append(number)
                sleep(0.002)
                together.append(len(inside))
                inside.remove(number)

    threads = [Thread(target=create, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1] * 24
    assert list(home.glob(".creating")) == []


def test_two_runs_of_one_request_share_the_work_also_without_locks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layerzoo.run(MODEL, TEXTS, out=home / "reference", shard_size=100)
    for name, locks in (("with", True), ("without", False)):
        if not locks:
            monkeypatch.setattr(disk, "_flock", None)  # as on a network file system that has none
        threads = [
            Thread(
                target=layerzoo.run, args=(MODEL, TEXTS), kwargs={"out": home / name, "shard_size": 100, "shard": share}
            )
            for share in ((0, 1), (1, 2))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert parts(home / name) == parts(home / "reference")
        assert {check.state for check in verify(home / name)} == {"ok"}


def test_a_folder_of_a_damaged_description_is_named(home: Path) -> None:
    layerzoo.run(MODEL, TEXTS[:3], out=home / "run", shard_size=3)
    path = home / "run/run.json"
    path.write_text(path.read_text().replace('"shard_size": 3', '"shard_size": 2'))
    with pytest.raises(layerzoo.LayerzooError, match="damaged"):
        layerzoo.run(out=home / "run")
