"""Results of jobs that are kept the moment they are there."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from layerzoo.errors import CacheError
from layerzoo.jobs.ledger import Ledger

VERSIONS = {"timm": "1.0.31"}


def test_a_job_with_a_result_is_not_done_again(tmp_path: Path) -> None:
    Ledger(tmp_path / "kept" / "timm.jsonl", VERSIONS).add("resnet18", {"layers": 15})
    again = Ledger(tmp_path / "kept" / "timm.jsonl", VERSIONS)
    assert again.open_jobs(["resnet10t", "resnet18"]) == ["resnet10t"]
    assert again.results() == {"resnet18": {"layers": 15}}


def test_the_latest_result_of_a_job_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "timm.jsonl", VERSIONS)
    ledger.add("resnet18", {"failed": "it took longer than 1 s"})
    ledger.add("resnet18", {"layers": 15})
    assert ledger.results() == {"resnet18": {"layers": 15}}


def test_results_of_other_versions_count_for_nothing(tmp_path: Path) -> None:
    Ledger(tmp_path / "timm.jsonl", {"timm": "1.0.30"}).add("resnet18", {"layers": 15})
    assert Ledger(tmp_path / "timm.jsonl", VERSIONS).open_jobs(["resnet18"]) == ["resnet18"]


def test_a_line_that_was_cut_off_costs_its_own_result_only(tmp_path: Path) -> None:
    path = tmp_path / "timm.jsonl"
    ledger = Ledger(path, VERSIONS)
    ledger.add("resnet10t", {"layers": 11})
    ledger.add("resnet18", {"layers": 15})
    path.write_bytes(path.read_bytes()[:-9])
    ledger.add("resnet26", {"layers": 18})
    assert ledger.results() == {"resnet10t": {"layers": 11}, "resnet26": {"layers": 18}}


@pytest.mark.parametrize("garbage", [b"\0" * 40, b"\xff\xfe", b"[1]", b"5", b"{}", b'{"name": "x"}', b""], ids=str)
def test_what_is_no_result_counts_for_nothing(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "timm.jsonl"
    path.write_bytes(garbage)
    ledger = Ledger(path, VERSIONS)
    ledger.add("resnet18", {"layers": 15})
    assert ledger.results() == {"resnet18": {"layers": 15}}


def test_a_line_that_was_cut_off_behind_braces_is_none(tmp_path: Path) -> None:
    path = tmp_path / "timm.jsonl"
    ledger = Ledger(path, VERSIONS)
    ledger.add("resnet18", {"rows": [{"args": {"nested": {}}, "layers": 15}]})
    path.write_bytes(path.read_bytes().partition(b', "layers"')[0])
    assert path.read_bytes().endswith(b"}}")
    assert ledger.results() == {}


def add_many(path: Path, name: str) -> None:
    for number in range(20):
        Ledger(path, VERSIONS).add(f"{name}{number}", {"layers": [name * 100_000]})


def test_two_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "timm.jsonl"
    fork = multiprocessing.get_context("fork")
    running = [fork.Process(target=add_many, args=(path, name)) for name in "ab"]
    for each in running:
        each.start()
    for each in running:
        each.join()
    assert len(Ledger(path, VERSIONS).results()) == 40


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # no folder can be made below a file, not even by root
    ledger = Ledger(tmp_path / "file" / "timm.jsonl", VERSIONS)
    with pytest.raises(CacheError, match=r"timm\.jsonl cannot be read: Not a directory"):
        ledger.results()
    with pytest.raises(CacheError, match=r"timm\.jsonl cannot be written: "):
        ledger.add("resnet18", {})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "timm.jsonl").symlink_to("/dev/full")
    with pytest.raises(CacheError, match="No space left on device"):
        Ledger(tmp_path / "timm.jsonl", VERSIONS).add("resnet18", {})
