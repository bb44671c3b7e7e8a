"""Runs that are killed lose nothing and repeat nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tools.torture.scale import differences, workers_of

import layerzoo
from layerzoo.disk import is_scratch
from layerzoo.runs import verify

TEXTS = ["the cat", "milk", "zebra", "dog eats"] * 50


def zoo_run(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a run of many small shards."""
    (folder.parent / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    command = ["run", "texts.txt", "--model", "toy/next-word", "--out", str(folder), "--shard-size", "2", *options]
    return subprocess.Popen([sys.executable, "-m", "layerzoo", *command], cwd=folder.parent, stderr=subprocess.DEVNULL)


def wait_for_part(folder: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not list(folder.glob("part-*.parquet")):
        time.sleep(0.01)


def test_a_killed_run_is_continued_to_the_bytes_of_an_undisturbed_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = zoo_run(home / "run")
    wait_for_part(home / "run", process)
    process.kill()
    process.wait()
    assert 0 < len(list((home / "run").glob("part-*.parquet"))) < 100
    layerzoo.run(out=home / "run")
    layerzoo.run("toy/next-word", "texts.txt", out=home / "reference", shard_size=2)
    assert list(differences(home / "reference", home / "run")) == []


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_killed_workers_are_replaced_and_those_of_a_killed_driver_end(home: Path, victim: str) -> None:
    process = zoo_run(home / "run", "--workers", "2")
    wait_for_part(home / "run", process)
    workers = workers_of(process.pid)
    os.kill(workers[0] if victim == "worker" else process.pid, signal.SIGKILL)
    code = process.wait()
    if victim == "driver":
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    else:
        assert code == 1  # some samples fail
    layerzoo.run(out=home / "run")
    layerzoo.run("toy/next-word", "texts.txt", out=home / "reference", shard_size=2)
    assert list(differences(home / "reference", home / "run")) == []
    assert not [path for path in (home / "run").iterdir() if is_scratch(path.name)]


@pytest.mark.slow
def test_a_sample_that_ends_the_process_costs_itself(home: Path, install: Callable[..., None]) -> None:
    install("deadly")
    texts = ["the cat", "milk", "crash", "dog"]
    result = layerzoo.run("deadly/text", texts, out=home / "run", shard_size=4, workers=1)
    assert (result.samples, result.failed) == (4, 1)
    assert {check.state for check in verify(home / "run")} == {"ok"}
    (failed,) = (row for row in pq.read_table(home / "run/part-000000.parquet").to_pylist() if row["error"])
    assert (failed["row"], failed["error"]) == (2, "the process that computes it ends with SIGSEGV")
