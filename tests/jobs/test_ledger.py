"""A ledger stores the result of each job as soon as it is known."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from layerzoo.errors import CacheError
from layerzoo.jobs.ledger import Ledger

VERSIONS = {"timm": "1.0.31"}


def test_a_job_with_a_result_is_not_open(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledgers" / "timm.jsonl", VERSIONS).add("resnet18", {"layers": 15})
    again = Ledger(tmp_path / "ledgers" / "timm.jsonl", VERSIONS)
    assert again.open_jobs(["resnet10t", "resnet18"]) == ["resnet10t"]
    assert again.results() == {"resnet18": {"layers": 15}}


def test_the_latest_result_of_a_job_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "timm.jsonl", VERSIONS)
    ledger.add("resnet18", {"failed": "it took longer than 1 s"})
    ledger.add("resnet18", {"layers": 15})
    assert ledger.results() == {"resnet18": {"layers": 15}}


def test_results_of_other_versions_are_ignored(tmp_path: Path) -> None:
    Ledger(tmp_path / "timm.jsonl", {"timm": "1.0.30"}).add("resnet18", {"layers": 15})
    assert Ledger(tmp_path / "timm.jsonl", VERSIONS).open_jobs(["resnet18"]) == ["resnet18"]


def test_a_truncated_line_loses_only_its_own_result(tmp_path: Path) -> None:
    path = tmp_path / "timm.jsonl"
    ledger = Ledger(path, VERSIONS)
    ledger.add("resnet10t", {"layers": 11})
    ledger.add("resnet18", {"layers": 15})
    path.write_bytes(path.read_bytes()[:-9])
    ledger.add("resnet26", {"layers": 18})
    assert ledger.results() == {"resnet10t": {"layers": 11}, "resnet26": {"layers": 18}}


@pytest.mark.parametrize("garbage", [b"\0" * 40, b"\xff\xfe", b"[1]", b"5", b"{}", b'{"name": "x"}', b""], ids=str)
def test_garbage_is_ignored(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "timm.jsonl"
    path.write_bytes(garbage)
    ledger = Ledger(path, VERSIONS)
    ledger.add("resnet18", {"layers": 15})
    assert ledger.results() == {"resnet18": {"layers": 15}}


def test_a_line_truncated_after_braces_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "timm.jsonl"
    ledger = Ledger(path, VERSIONS)
    ledger.add("resnet18", {"rows": [{"args": {"nested": {}}, "layers": 15}]})
    path.write_bytes(path.read_bytes().partition(b', "layers"')[0])
    assert path.read_bytes().endswith(b"}}")
    assert ledger.results() == {}


def add_many(path: Path, name: str) -> None:
    for number in range(20):
        Ledger(path, VERSIONS).add(f"{name}{number}", {"layers": [name * 100_000]})


def test_two_processes_can_add_results_at_once(tmp_path: Path) -> None:
    path = tmp_path / "timm.jsonl"
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(add_many, [path] * 2, "ab"))
    assert len(Ledger(path, VERSIONS).results()) == 40


def test_a_file_that_cannot_be_read_or_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # not even root can create a folder in a file
    ledger = Ledger(tmp_path / "file" / "timm.jsonl", VERSIONS)
    with pytest.raises(CacheError, match=r"timm\.jsonl cannot be read: Not a directory"):
        ledger.results()
    with pytest.raises(CacheError, match=r"timm\.jsonl cannot be written: "):
        ledger.add("resnet18", {})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "timm.jsonl").symlink_to("/dev/full")
    with pytest.raises(CacheError, match="No space left on device"):
        Ledger(tmp_path / "timm.jsonl", VERSIONS).add("resnet18", {})
