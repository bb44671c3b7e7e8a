"""zoo run, zoo run --status, zoo extract --resume and zoo features on the folder of a run."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.terminal import Zoo, without_local_files_notice

import layerzoo
from layerzoo.errors import InputError, UnfinishedRunError
from layerzoo.runs.export import export

TEXTS = ["the cat", "milk", "zebra", "dog eats", "meat"]
RUN = ("run", "texts.txt", "--model", "toy/next-word", "--out", "words", "--shard-size", "2")


@pytest.fixture(autouse=True)
def texts(home: Path) -> None:
    (home / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))


def test_a_run_reports_what_is_done_and_lists_failures(zoo: Zoo) -> None:
    result = zoo(*RUN)
    assert result.code == 1
    assert result.out == ""
    assert without_local_files_notice(result.err).splitlines() == [
        "5 samples done, 1 failed → words",
        "failed: texts.txt:3: unknown word 'zebra'; this network knows the, cat, dog, drinks, eats, milk, meat",
        "Next: zoo run --out words --retry-failed",
    ]
    facts = json.loads(zoo("run", "--status", "words").out)
    assert {name: facts[name] for name in ("done", "failed", "left", "shards", "shards_done", "at_work")} == {
        "done": 5, "failed": 1, "left": 0, "shards": 3, "shards_done": 3, "at_work": 0,
    }  # fmt: skip


def test_the_tasks_of_a_slurm_array_divide_the_shards(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ID", "7"), ("COUNT", "2"), ("MIN", "5"), ("MAX", "7"), ("STEP", "2")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert "2 samples done, 1 failed; 3 samples left for other workers → words" in zoo(*RUN).err
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    assert "5 samples done, 1 failed → words" in zoo(*RUN).err
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    assert "give --shard I/N" in zoo(*RUN).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "texts.txt"), "--out"),
        ((*RUN, "--shard", "2/2"), "I from 0 to N - 1"),
        (("run", "--out", "nothing"), "there is no run"),
        (("run", "--out", "nothing", "--pool", "max"), "--pool: give INPUT"),
        (("run", "--status", "nothing"), "there is no run"),
        (("run", "--status", "nothing", "--out", "x"), "takes neither"),
        (("run", "s3://bucket/photos", "--out", "x"), "--model"),
        ((*RUN, "--model", "toy/next-wort"), "Nearest: toy/next-word"),
    ],
)
def test_a_wrong_command_says_what_to_do(zoo: Zoo, arguments: tuple[str, ...], message: str) -> None:
    result = zoo(*arguments)
    assert result.code in (2, 3)
    assert message in result.err
    assert "Traceback" not in result.err


def test_another_request_is_shown_next_to_that_of_the_run(zoo: Zoo) -> None:
    zoo(*RUN)
    result = zoo(*RUN, "--pool", "max")
    assert result.code == 2
    lines = without_local_files_notice(result.err).splitlines()
    assert lines[1:] == [
        '  pooling.block.0: "mean" in the run, "max" requested',
        "Next: repeat the request of the run, or name another folder with --out",
    ]


def test_a_resumed_extraction_writes_the_file_of_an_extraction(zoo: Zoo, home: Path) -> None:
    arguments = ("extract", "texts.txt", "--model", "toy/next-word", "--layer", "block.0", "--layer", "head")
    plain, resumed = zoo(*arguments, "--out", "plain.npz"), zoo(*arguments, "--out", "resumed.npz", "--resume")
    assert plain.code == resumed.code == 1
    assert "failed: texts.txt:3: unknown word" in resumed.err
    assert "4 samples through toy/next-word at block.0 (mean), head (mean) → resumed.npz" in resumed.err
    assert resumed.err.replace("resumed", "plain") == plain.err
    one, other = layerzoo.Features.load("plain.npz"), layerzoo.Features.load("resumed.npz")
    assert one.ids == other.ids
    assert one.layers == other.layers
    for layer in one.layers:
        np.testing.assert_array_equal(one[layer], other[layer])
    assert list(map(str, one.errors)) == list(map(str, other.errors))
    assert one.report == other.report
    assert not (home / "resumed.npz.run").exists()


def test_a_resumed_extraction_without_any_features_leaves_the_file_and_lists_failures(zoo: Zoo, home: Path) -> None:
    (home / "lions.txt").write_text("lion\n")
    zoo("extract", "texts.txt", "--model", "toy/next-word", "--out", "words.npz")
    before = (home / "words.npz").read_bytes()
    result = zoo("extract", "lions.txt", "--model", "toy/next-word", "--out", "words.npz", "--resume")
    assert result.code == 1
    told = without_local_files_notice(result.err).splitlines()
    assert told[0] == "words.npz is unchanged: no sample has features."
    assert told[1].startswith("failed: lions.txt:1: unknown word 'lion'")
    assert (home / "words.npz").read_bytes() == before
    assert not (home / "words.npz.run").exists()


def test_verify_takes_the_folder_of_a_run(zoo: Zoo, home: Path) -> None:
    zoo(*RUN)
    assert zoo("features", "verify", "words").code == 0
    (home / "words/part-000001.parquet").unlink()
    result = zoo("features", "verify", "words", "texts.parquet")
    assert result.code == 1
    assert {row["file"]: row["state"] for row in json.loads(result.out)} == {
        "words/manifest.parquet": "ok",
        "words/part-000000.parquet": "ok",
        "words/part-000001.parquet": "missing",
        "words/part-000002.parquet": "ok",
        "texts.parquet": "missing",
    }
    assert "zoo run --out" in zoo("features", "export", "words", "--to", "npy", "--out", "arrays").err


def test_exports_hold_the_features_of_the_run(zoo: Zoo, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(home.parent / "datasets"))
    zoo(*RUN, "--layer", "block.0", "--layer", "head")
    features = layerzoo.Features.load("words")
    assert export("words", "npy", "arrays") == 4
    for layer in features.layers:
        mapped = np.load(home / "arrays" / f"{layer}.npy", mmap_mode="r")
        np.testing.assert_array_equal(mapped, features[layer])
    assert pq.read_table(home / "arrays/ids.parquet")["id"].to_pylist() == list(features.ids)
    assert export("words", "hf", "dataset") == 5
    dataset = datasets.load_dataset("dataset", split="train", cache_dir=str(home.parent / "datasets"))
    assert dataset["row"][:] == list(range(5))
    assert dataset["head"][0] == features["head"][0].tolist()
    card = (home / "dataset/README.md").read_text()
    assert '"model": "toy/next-word"' in card
    assert export("words", "csv", "words.csv") == 4
    assert (home / "words.csv").read_text().startswith('"id","block.0_0"')
    assert zoo("features", "export", "words", "--to", "hf", "--out", "dataset").code == 2


def test_a_run_with_the_part_of_another_run_is_not_exported(zoo: Zoo, home: Path) -> None:
    zoo(*RUN)
    zoo(*RUN[:-3], "others", "--shard-size", "2", "--pool", "max")
    (home / "others/part-000001.parquet").replace(home / "words/part-000001.parquet")
    with pytest.raises(InputError, match=r"part-000001\.parquet is another part: it is shard 1 of another run"):
        export("words", "npy", "arrays")
    (home / "words/part-000001.parquet").rename(home / "words/part-000007.parquet")
    with pytest.raises(UnfinishedRunError, match="1 of 3 parts are missing"):
        export("words", "npy", "arrays")
    assert not (home / "arrays").exists()
