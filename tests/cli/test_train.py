"""`zoo train` goes from a folder of files to a score and a head, and `zoo predict` applies it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerzoo.cli import main

TEXTS = {
    "animal": ["the cat", "the cat eats", "cat drinks the", "cat"],
    "food": ["milk", "milk meat", "meat milk", "meat"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with a folder of texts for each label."""
    monkeypatch.chdir(tmp_path)
    for label, texts in TEXTS.items():
        (tmp_path / "texts" / label).mkdir(parents=True)
        for number, text in enumerate(texts):
            (tmp_path / "texts" / label / f"{number}.txt").write_text(f"{text}\n")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.mark.parametrize("options", [(), ("--sequence", "gru", "--epochs", "40")])
def test_a_head_is_trained_and_applied(
    folder: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    code, out, _ = run(
        capsys, "train", "texts", "--labels", "folders", "--model", "toy/next-word", "--out", "my.head", *options
    )
    report = json.loads(out)
    assert code == 0
    assert report["kind"] == ("gru" if options else "linear")
    assert (report["samples"], report["folds"], report["chance"]) == (8, 4, 0.5)
    code, out, _ = run(capsys, "predict", "my.head", "texts")
    predictions = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [each["label"] for each in predictions] == ["animal"] * 4 + ["food"] * 4
    assert predictions[0]["id"] == "texts/animal/0.txt:1"
    assert run(capsys, "predict", "my.head", "texts", "--format", "ids")[1].startswith("texts/animal/0.txt:1 animal\n")


def test_a_table_labels_files_and_those_without_a_label_are_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"animal/{number}.txt,1,{number}" for number in range(4)] + [f"food/{n}.txt,2,{n}" for n in range(3)]
    rows += [f"gone/{number}.txt,1,9" for number in range(4)]
    Path("labels.csv").write_text("\n".join(["file,label,scene", *rows]) + "\n")
    Path("texts/photo.png").write_bytes(b"")
    arguments = ["train", "texts", "--labels", "labels.csv", "--groups", "scene", "--model", "toy/next-word"]
    code, out, err = run(capsys, *arguments, "--out", "my.head")
    assert code == 0
    assert (json.loads(out)["samples"], json.loads(out)["groups"]) == (7, 4)
    assert "1 sample without a label: texts/food/3.txt:1\n" in err
    assert "4 rows of labels.csv without a sample: gone/0.txt, gone/1.txt, gone/2.txt, …\n" in err
    assert "1 file of another kind was skipped: texts/photo.png\n" in err


def test_numbers_train_a_regressor_without_warnings_of_libraries(
    folder: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    rows = [f"{label}/{number}.txt,{number}.{len(label)}" for label in TEXTS for number in range(4)]
    Path("labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    arguments = ["train", "texts", "--labels", "labels.csv", "--model", "toy/next-word", "--out", "my.head"]
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert (json.loads(out)["task"], json.loads(out)["metric"]) == ("regress", "R²")
    assert "the task is regress, according to the labels\n" in err
    code, out, _ = run(capsys, *arguments, "--task", "classify")
    assert (code, json.loads(out)["task"], json.loads(out)["metric"]) == (0, "classify", None)
    assert not recwarn.list
    Path("labels.csv").write_text("\n".join(["file,label", *rows[:-1], "food/3.txt,nan"]) + "\n")
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "the label of sample texts/food/3.txt:1 is 'nan'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "texts", "--labels", "labels.csv", "--out", "h"], "there is no such file"),
        (["train", "texts", "--labels", "folders", "--out", "h", "--epochs", "3"], "choose one with --sequence"),
        (["train", "texts", "--labels", "folders", "--out", "h", "--label-column", "g"], "a column of a table"),
        (["predict", "texts/food/0.txt", "texts"], "cannot be read as a saved"),
        (["train", "texts", "--labels", "folders", "--out", "no/h"], "there is no folder no"),
        (["predict", "missing.head", "texts"], "cannot be read as a saved"),
    ],
)
def test_mistakes_name_the_next_step(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert not out
