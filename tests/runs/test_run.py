"""A run is a folder: its parts equal an extraction, whatever was interrupted, repeated or asked twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import layerzoo
from layerzoo.errors import InputError, OutputError, RunMismatchError, UnfinishedRunError, UsageError
from layerzoo.features.part import read_facts
from layerzoo.runs import RunResult, status, verify
from layerzoo.runs.export import export
from layerzoo.runs.leases import Leases
from layerzoo.runs.on_ray import on_one_gpu
from layerzoo.runs.request import arguments_of

TEXTS = ["the cat", "milk", "zebra", "dog eats", "the the", "", "meat"]
MODEL = "toy/next-word"
GOOD = (0, 1, 3, 4, 6)


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "run"


def started(folder: Path, texts: list[str] = TEXTS, **options: Any) -> RunResult:
    return layerzoo.run(MODEL, texts, out=folder, **{"shard_size": 2, **options})


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.parquet"))}


def test_a_run_has_the_features_and_the_errors_of_an_extraction(folder: Path) -> None:
    result = started(folder)
    expected = layerzoo.extract(MODEL, TEXTS, errors="skip")
    features = layerzoo.Features.load(folder)
    assert (result.samples, result.failed, result.left) == (7, 2, 0)
    assert features.ids == expected.ids
    np.testing.assert_array_equal(features.values, expected.values)
    assert [(error.id, error.reason) for error in features.errors] == [
        (error.id, error.reason) for error in expected.errors
    ]
    assert features.report == expected.report
    assert features.provenance.keys() == expected.provenance.keys()


def test_every_input_is_one_row_and_all_parts_have_one_schema(folder: Path) -> None:
    started(folder)
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    assert [row for table in tables for row in table["row"].to_pylist()] == list(range(7))
    assert {tuple(table.schema.names) for table in tables} == {("id", "row", "error", "block.0")}
    assert len({table.schema.remove_metadata() for table in tables}) == 1
    failed = [row for table in tables for row in table.to_pylist() if row["error"] is not None]
    assert [(row["row"], row["block.0"]) for row in failed] == [(2, None), (5, None)]


def test_only_the_parts_that_are_missing_are_computed_again(folder: Path) -> None:
    started(folder)
    before = parts(folder)
    (folder / "part-000001.parquet").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    with pytest.raises(UnfinishedRunError, match="1 of 4 parts are missing"):
        layerzoo.Features.load(folder)
    assert layerzoo.run(out=folder).left == 0
    assert parts(folder) == before
    assert times.items() <= {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}.items()


def test_shares_of_several_machines_add_up_to_the_same_run(folder: Path, home: Path) -> None:
    started(folder)
    shares = [started(home / "shares", shard=(index, 3)) for index in range(3)]
    assert [share.left for share in shares] == [4, 2, 0]
    assert parts(home / "shares") == parts(folder)


def test_another_request_in_the_same_folder_is_refused_with_both_values(folder: Path) -> None:
    started(folder)
    with pytest.raises(RunMismatchError) as caught:
        started(folder, pool="max")
    assert caught.value.differences == {"pooling.block.0": ("mean", "max")}
    with pytest.raises(RunMismatchError, match="shard_size: 2 in the run, 3 requested"):
        started(folder, shard_size=3)
    with pytest.raises(RunMismatchError, match="inputs"):
        started(folder, [*TEXTS[:-1], "milk"])


def test_another_column_of_the_same_table_is_another_request(folder: Path, home: Path) -> None:
    (home / "table.csv").write_text("a,b\nmilk,meat\nthe,cat\n")
    layerzoo.run(MODEL, "table.csv", out=folder, column="a", shard=(0, 2), shard_size=1)
    with pytest.raises(RunMismatchError) as caught:
        layerzoo.run(MODEL, "table.csv", out=folder, column="b")
    assert caught.value.differences == {"column": ("a", "b")}
    assert layerzoo.run(MODEL, "table.csv", out=folder, column="a").left == 0


def test_other_versions_are_refused_until_they_are_accepted_and_each_part_records_its_own(folder: Path) -> None:
    started(folder, shard=(0, 2))
    description = json.loads((folder / "run.json").read_text())
    description["versions"]["torch"] = description["provenance"]["versions"]["torch"] = "1.0"
    (folder / "run.json").write_text(json.dumps(description))
    with pytest.raises(RunMismatchError, match=r"torch 1\.0 →"):
        started(folder)
    started(folder, accept_versions=True)
    assert started(folder).left == 0
    provenance = layerzoo.Features.load(folder / "part-000001.parquet").provenance
    assert provenance["versions"]["torch"] != "1.0"


def test_failed_samples_are_computed_again_only_on_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerzoo.testing import toy

    started(folder)
    monkeypatch.setattr(toy, "WORDS", (*toy.WORDS[:-1], "zebra"))  # the last word vector is that of a zebra now
    assert layerzoo.run(out=folder).failed == 2
    result = layerzoo.run(out=folder, retry_failed=True)
    assert result.failed == 1
    assert read_facts(folder / "part-000001.parquet").tries == 2
    features = layerzoo.Features.load(folder)
    assert features.ids == ("0", "1", "2", "3", "4", "6")
    np.testing.assert_array_equal(features.values[2], [-1.0, 0.0, -1.0])
    assert features.report["empty"] == 1
    assert {check.state for check in verify(folder)} == {"ok"}


def test_verify_names_damaged_and_missing_parts(folder: Path) -> None:
    started(folder)
    names = sorted(path.name for path in folder.glob("part-*.parquet"))
    damaged = bytearray((folder / names[0]).read_bytes())
    damaged[40] ^= 1
    (folder / names[0]).write_bytes(damaged)
    (folder / names[1]).unlink()
    (folder / names[2]).write_bytes((folder / names[3]).read_bytes())
    found = {check.name: check.state for check in verify(folder)}
    assert found == dict(zip(("manifest.parquet", *names), ("ok", "damaged", "missing", "damaged", "ok"), strict=True))


@pytest.mark.parametrize("damage", ["copy", "metadata", "bytes", "another run"])
def test_a_part_that_is_not_of_its_shard_is_named_with_the_next_step(folder: Path, home: Path, damage: str) -> None:
    started(folder)
    part, other = folder / "part-000001.parquet", folder / "part-000000.parquet"
    if damage == "copy":
        part.write_bytes(other.read_bytes())
        reason = "it is shard 0 of this run under the name of shard 1"
    elif damage == "metadata":
        pq.write_table(pq.read_table(part).replace_schema_metadata(), part)
        reason = "it has no 'layerzoo.part' metadata, so another program wrote it, or wrote it anew"
    elif damage == "bytes":
        part.write_bytes(part.read_bytes()[:-100])
        reason = "Parquet magic bytes not found in footer"
    else:
        started(home / "other", pool="max")
        part.write_bytes((home / "other/part-000001.parquet").read_bytes())
        reason = "it is shard 1 of another run"
    (check,) = [check for check in verify(folder) if check.state == "damaged"]
    assert check.name == part.name
    assert reason in str(check.detail)
    now = status(folder)
    assert (now.done, now.left, now.damaged) == (5, 2, (part.name,))
    for use in (
        lambda: layerzoo.Features.load(folder),
        lambda: export(folder, "npy", home / "arrays"),
        lambda: layerzoo.run(out=folder),
        lambda: started(folder, retry_failed=True),
    ):
        with pytest.raises(InputError) as caught:
            use()
        assert str(caught.value).startswith(str(part))
        assert reason in str(caught.value)
        assert f"Next: remove it, and zoo run --out {folder} computes it again" in str(caught.value)
    assert started(folder, shard=(0, 2)).left == 2
    part.unlink()
    assert layerzoo.run(out=folder).left == 0


def test_the_error_of_a_part_with_damaged_numbers_has_the_next_step(folder: Path) -> None:
    started(folder)
    part = folder / "part-000001.parquet"
    content = bytearray(part.read_bytes())
    content[40] ^= 1
    part.write_bytes(content)
    for path in (folder, part):
        with pytest.raises(
            InputError, match=r"part-000001\.parquet holds no features.*Next: remove it, and zoo run --out"
        ):
            layerzoo.Features.load(path)


def test_the_status_counts_what_is_done_and_what_is_left(folder: Path) -> None:
    started(folder, shard=(1, 2))
    now = status(folder)
    assert (now.done, now.failed, now.left, now.shards, now.shards_done) == (3, 1, 4, 4, 2)


def test_the_rate_is_that_of_the_workers_of_this_moment(folder: Path) -> None:
    started(folder, shard=(1, 2))
    assert (status(folder).samples_per_s, status(folder).seconds_left) == (None, None)
    now = [100.0]
    workers = [Leases(folder, clock=lambda: now[0]) for _ in range(2)]
    with workers[0].taken(0), workers[1].taken(2):
        assert status(folder).samples_per_s is None
        now[0] += 4
    for worker, samples in zip(workers, (20, 12), strict=True):
        worker.count(samples)
    with workers[0].taken(0), workers[1].taken(2):
        at_work = status(folder)
        assert (at_work.at_work, at_work.samples_per_s, at_work.seconds_left) == (2, 8.0, 0.5)
        shutil.copytree(folder, folder.with_name("copy"))
        assert status(folder.with_name("copy")).samples_per_s is None
    assert status(folder).samples_per_s is None


def test_a_shard_in_the_hands_of_another_process_is_left_to_it(folder: Path) -> None:
    folder.mkdir()
    with Leases(folder).taken(0) as lease, Leases(folder).taken(0) as other:
        assert lease is not None
        assert other is None
    with Leases(folder).taken(0) as lease:
        assert lease is not None


def test_a_lease_of_another_machine_is_abandoned_after_a_minute_of_the_steady_clock(folder: Path) -> None:
    """Whatever time the clocks of the machines show: the lease is from the future here."""
    folder.mkdir()
    path = folder / ".lease-000000"
    path.write_text(json.dumps({"machine": "ffffffff", "process": 1, "crashes": 0, "beat": 7, "time": 9e9}))
    now = [0.0]
    leases = Leases(folder, clock=lambda: now[0])
    for seconds, is_free in ((0.0, False), (59.0, False), (61.0, True)):
        now[0] = seconds
        with leases.taken(0) as lease:
            assert (lease is not None) == is_free


def test_the_size_of_a_shard_is_chosen_once(folder: Path) -> None:
    layerzoo.run(MODEL, TEXTS, out=folder)
    size = json.loads((folder / "run.json").read_text())["shard_size"]
    assert 1 <= size <= 7
    layerzoo.run(MODEL, TEXTS, out=folder)
    assert json.loads((folder / "run.json").read_text())["shard_size"] == size


def test_samples_that_cannot_be_read_again_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="in memory"):
        layerzoo.run("starter/efficientnet-lite0", [np.zeros((8, 8, 3), np.uint8)], out=folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": (2, 2)}, "I/N"),
        ({"workers": 0}, "at least one process"),
        ({"shard_size": 0}, "at least one sample"),
        ({"sample_timeout_s": 0}, "above 0"),
        ({"engine": "spark"}, "neither"),
    ],
)
def test_impossible_choices_are_refused(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        started(folder, **options)


def test_a_folder_without_a_run_cannot_be_continued(folder: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        layerzoo.run(out=folder)


@pytest.mark.parametrize(
    ("device", "own", "gpus"),
    [("cpu", "cpu", 0), ("cuda", "cuda", 1), ("cuda:1", "cuda", 1), (["cuda:0", "cuda:1"], "cuda", 1)],
)
def test_an_actor_of_ray_takes_the_one_gpu_that_it_sees(device: Any, own: str, gpus: int) -> None:
    arguments, found = on_one_gpu(arguments_of(MODEL, {"device": device}))
    assert (arguments["load"]["device"], found) == (own, gpus)


def test_a_run_that_is_continued_without_its_request_takes_no_other_settings(folder: Path) -> None:
    started(folder, shard=(0, 2))
    with pytest.raises(UsageError, match="pool=, normalize=: give a model and inputs, too"):
        layerzoo.run(out=folder, pool="max", normalize=True)


def test_a_folder_that_cannot_be_written_is_reported_before_the_work(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(OutputError, match="it is a file"):
        started(home / "file")
