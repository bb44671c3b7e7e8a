"""`zoo sweep` prints a row for each layer, the conclusions, and the command that extracts the best layer."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import layerzoo
from layerzoo.cli import main

ANIMALS = ["the cat", "cat drinks", "the dog", "dog eats", "cat", "dog"]
FOOD = ["milk", "meat", "milk meat", "meat meat", "the milk", "the meat"]
OPTIONS = ("--model", "toy/next-word", "--folds", "3", "--repeats", "1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for label, texts in (("animal", ANIMALS), ("food", FOOD)):
        (tmp_path / "texts" / label).mkdir(parents=True)
        for number, text in enumerate(texts):
            (tmp_path / "texts" / label / f"{number}.txt").write_text(f"{text}\n")
    rows = [
        (text, label, f"s{number % 3}{label}")
        for label, texts in (("animal", ANIMALS), ("food", FOOD))
        for number, text in enumerate(texts)
    ]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "kind", "scene"), *rows])
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_folders_are_swept_and_the_printed_command_extracts_the_best_layer(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "sweep", "texts", "--labels", "folders", *OPTIONS, "--out", "swept", "--cache")
    assert code == 0
    rows: list[dict[str, Any]] = json.loads(out)
    assert [row["layer"] for row in rows] == ["block.0"]
    assert "baseline words" in err
    assert "accuracy" in err
    command = next(line.strip() for line in err.splitlines() if line.startswith("  zoo extract"))
    assert run(capsys, *shlex.split(command)[1:])[0] == 0
    assert layerzoo.Features.load("features.parquet").layers == ("block.0",)
    assert json.loads(Path("swept/sweep.json").read_text())["samples"] == 12
    assert Path("swept/sweep.html").is_file()
    kinds = [entry["kind"] for entry in json.loads(run(capsys, "cache", "list", "--format", "json")[1])]
    assert "features" in kinds
    pruned = json.loads(run(capsys, "cache", "prune", "--features", "--format", "json")[1])
    assert [(entry["kind"], entry["state"]) for entry in pruned] == [("features", "removed")]


def test_a_column_of_the_input_labels_it_and_another_one_groups_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("sweep", "table.csv", "--labels", "kind", "--groups", "scene", "--column", "text", "--no-baselines")
    code, out, err = run(capsys, *arguments, *OPTIONS, "--format", "table")
    assert code == 0
    assert "block.0 (default)" in out
    assert "baseline" not in err


def test_rows_and_samples_that_do_not_match_are_stated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"animal/{number}.txt,1" for number in range(6)] + [f"food/{number}.txt,2" for number in range(5)]
    Path("labels.csv").write_text("\n".join(["file,label", *rows, "food/missing.txt,2"]))
    code, _, err = run(capsys, "sweep", "texts", "--labels", "labels.csv", "--no-baselines", *OPTIONS)
    assert code == 0
    assert "1 sample without a label left out, such as texts/food/5.txt:1" in err
    assert "1 row of the labels for no sample, such as food/missing.txt" in err


def test_clusters_need_no_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "sweep", "texts", "--no-baselines", "--clusters", "2", *OPTIONS)
    assert code == 0
    assert "the task is cluster, because there are no labels\n" in err
    assert "best: toy/next-word block.0 mean, silhouette " in err
    assert json.loads(out)[0]["estimates"]["clusters"] == 2


def test_samples_that_fail_are_listed_and_the_exit_code_is_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("texts/food/unknown.txt").write_text("words without a token\n")
    code, out, err = run(capsys, "sweep", "texts", "--labels", "folders", "--no-baselines", *OPTIONS)
    assert code == 1
    assert json.loads(out)
    assert "failed: texts/food/unknown.txt:1" in err
    assert "1 of 13 samples failed." in err


def test_only_the_default_layer_is_compared_with_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--labels", "folders", "--groups", r"(\d)\.txt", "--model", "toy/next-word", "--no-baselines")
    _, _, err = run(capsys, "sweep", "texts", *arguments, "--folds", "6", "--repeats", "9")
    assert "1 repetition of the folds instead of 9: so few groups have no other splits\n" in err
    assert "(12 samples, 6 folds)" in err
    assert "p = " not in err
    assert "rank correlation" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["texts", "--labels", "missing.csv"], "no such file, and no such column"),
        (["texts", "--task", "regress"], "needs --labels"),
        (["texts", "--labels", "folders", "--out", "no/out"], "there is no folder no"),
        (["texts", "--groups", "x"], "need --labels"),
        (["texts", "--labels", "folders", "--groups", "("], "not a regular expression"),
        (["texts/animal", "--labels", "folders"], "needs two classes"),
        (["table.csv", "--labels", "kind", "--groups", "scne"], "no column of the table either, which has: text, kind"),
    ],
)
def test_mistakes_name_the_next_step(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, "sweep", *arguments, *OPTIONS)
    assert code == 2
    assert message in err
    assert not out
