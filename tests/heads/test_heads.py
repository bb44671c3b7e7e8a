"""Heads are trained on labelled samples, measured without leaks, and predict the same after they are saved."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import layerzoo
from layerzoo.errors import InputError, SampleError, UsageError
from layerzoo.heads import LinearHead, TrainedHead, labels_of_folders, read_labels, train_head
from layerzoo.heads.head import head_input

MODEL = "toy/next-word"
TEXTS = ["the cat", "the cat eats", "cat drinks the", "milk", "milk meat", "meat milk meat"]
LABELS = ["animal"] * 3 + ["food"] * 3


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_head_is_logistic_regression_on_standardized_features(classes: int) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(60) % classes
    features = random.normal(labels[:, None], 2, (60, 5))
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features, labels)
    head = LinearHead.fit(features, labels, "classify")
    np.testing.assert_allclose(head.predict_proba(features), reference.predict_proba(features), rtol=1e-6)
    assert np.array_equal(head.predict(features), reference.predict(features))
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(features, labels)
    np.testing.assert_allclose(LinearHead.fit(features, labels, "regress").predict(features), ridge.predict(features))


@pytest.mark.parametrize("sequence", [None, "gru"])
def test_a_saved_head_predicts_new_inputs_from_its_file_alone(tmp_path: Path, sequence: Any) -> None:
    settings = None if sequence is None else {"epochs": 40, "hidden": 8}
    head, features = train_head(MODEL, TEXTS, LABELS, sequence=sequence, settings=settings, weights="random:1")
    assert features.values[0].ndim == (1 if sequence is None else 2)
    assert head.score["folds"] == 3
    assert head.score["chance"] == 0.5
    head.save(tmp_path / "head")
    loaded = TrainedHead.load(tmp_path / "head")
    predictions, found = loaded.predict(["the cat drinks", "meat"])
    assert [each.label for each in predictions] == ["animal", "food"]
    assert predictions == head.predict(["the cat drinks", "meat"])[0]
    assert not found.errors
    assert set(predictions[0].probabilities) == {"animal", "food"}
    with pytest.raises(UsageError, match="weights"):
        loaded.predict_features(layerzoo.extract(MODEL, ["the"], weights="random:3", **_how(loaded)))


def _how(head: TrainedHead) -> dict[str, Any]:
    return {name: value for name, value in head.extraction.items() if name != "weights"}


def test_a_regression_head_predicts_numbers(tmp_path: Path) -> None:
    head, features = train_head(MODEL, TEXTS * 3, [len(text) / 4 for text in TEXTS] * 3, folds=3)
    assert head.score["metric"] == "R²"
    reference = make_pipeline(StandardScaler(), Ridge())
    targets, folds = np.array([len(text) / 4 for text in TEXTS] * 3), GroupKFold(3)
    scores = cross_val_score(reference, features.values, targets, groups=list(range(6)) * 3, cv=folds)
    assert (head.score["mean"], head.score["std"]) == pytest.approx((scores.mean(), scores.std(ddof=1)))
    head.save(tmp_path / "head")
    predictions, _ = TrainedHead.load(tmp_path / "head").predict(TEXTS[:2])
    assert all(isinstance(each.label, float) and not each.probabilities for each in predictions)


def test_the_samples_of_one_source_are_in_one_fold() -> None:
    labels = ["a", "b"] * 6
    sources = [f"s{number // 2 % 3}{label}" for number, label in enumerate(labels)]
    texts = [" ".join(["the"] * (1 + number // 2) + [("cat", "milk")[number % 2]]) for number in range(12)]
    head, _ = train_head(MODEL, texts, labels, groups=sources)
    assert head.score["groups"] == 6
    assert head.score["folds"] == 3
    alone, _ = train_head(MODEL, texts, labels, groups=labels)
    assert alone.score == {}  # a source for each class: no fold could be tested


def test_equal_samples_are_in_one_fold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, label in enumerate(["animal", "food"] * 4):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number}.txt").write_text("milk the cat"[: 4 + 4 * (number // 4)])
    head, _ = train_head(MODEL, tmp_path, labels_of_folders)
    assert head.score["groups"] == 2  # two different texts, each with both labels
    assert "8 samples occur several times" in caplog.text
    assert "contradict" in caplog.text
    texts = ["the cat", "cat drinks", "the dog", "milk", "meat", "milk meat"]
    repeated, _ = train_head(MODEL, iter(texts * 2), (["animal"] * 3 + ["food"] * 3) * 2)
    assert (repeated.score["groups"], repeated.score["folds"]) == (6, 3)
    table = pandas.DataFrame({"text": texts}, index=[0, 0, 1, 1, 2, 2])  # ids that occur several times
    named, features = train_head(MODEL, table, ["animal"] * 3 + ["food"] * 3)
    assert (named.score["groups"], features.ids) == (None, ("0", "0", "1", "1", "2", "2"))
    with pytest.raises(SampleError, match="6: "):
        train_head(MODEL, [*texts, "unknown words"], ["animal"] * 3 + ["food"] * 4)


def test_labels_come_from_folders_or_from_a_table(tmp_path: Path) -> None:
    ids = ["clips/cat/1.mp4", "clips/dog/2.mp4", "clips/dog/3.mp4"]
    assert labels_of_folders(ids).values == ("cat", "dog", "dog")
    assert labels_of_folders(["c/cat/notes.txt:3"]).values == ("cat",)
    assert labels_of_folders(ids, r"(\d)\.mp4").groups == ("1", "2", "3")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,scene\n1.mp4,up,x\ndog/2.mp4,down,y\nother.mp4,up,z\n")
    found = read_labels(table, ids, group_column="scene")
    assert (found.rows, found.values, found.groups, found.unlabelled) == ((0, 1), ("up", "down"), ("x", "y"), (ids[2],))
    rows = tmp_path / "tweets.csv"
    rows.write_text("text,mood\ngood,1\nbad,0\n")
    assert read_labels(rows, [f"{rows}:1", f"{rows}:2"], label_column="mood").values == ("1", "0")


def test_rows_of_one_sample_must_agree_however_they_spell_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table, ids = tmp_path / "labels.csv", ["clips/cat/1.mp4", "clips/cat/cat/1.mp4", "clips/dog/2.mp4"]
    (tmp_path / "linked").symlink_to("clips")
    first = "file,label,note\ncat/1.mp4,up,x\ncat/cat/1.mp4,down,x\n2.mp4,up,x\n"
    spellings = ("2.mp4", "dog/2.mp4", "clips/dog/2.mp4", "./dog/2.mp4", "2", f"{tmp_path}/clips/dog/2.mp4")
    for spelling in (*spellings, f"{tmp_path}/linked/dog/2.mp4", "../" + tmp_path.name + "/clips/dog/2.mp4"):
        table.write_text(f"{first}{spelling},up,y\n")
        found = read_labels(table, ids)
        assert (found.values, found.unused) == (("up", "down", "up"), ())
        table.write_text(f"{first}{spelling},down,x\n")
        with pytest.raises(InputError, match=r"two rows name the sample 'clips/dog/2.mp4', as .* column label"):
            read_labels(table, ids)


def test_a_table_may_have_absolute_paths_of_files_with_relative_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\n{tmp_path}/c/1.png,a\n{tmp_path}/c/notes.txt:2,b\n{tmp_path}/c/3.txt,d\n")
    found = read_labels(table, ["c/1.png", "c/notes.txt:2", "c/3.txt:1", "c/other.png"])
    assert (found.values, found.unused) == (("a", "b", "d"), ())


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t")])
def test_the_cells_of_a_csv_are_the_texts_that_csv_reads(tmp_path: Path, suffix: str, mark: str) -> None:
    table = tmp_path / f"labels.{suffix}"
    lines = ["id,label,scene", "001,01,1e3", "1,1,1000", "002,true,007", '003,"a\r\n b",x', ""]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).replace(",", mark).encode())
    expected = list(csv.DictReader(io.StringIO("\r\n".join(lines), newline="")))
    found = read_labels(table, ["001", "1", "002", "003"], group_column="scene")
    assert found.values == tuple(row["label"] for row in expected) == ("01", "1", "true", "a\r\n b")
    assert found.groups == tuple(row["scene"] for row in expected)


@pytest.mark.parametrize(
    "content", [b'id,label\na,"up\n', b"id,label\na,up,x\n", b"id,label\na\n", b"id,label\na,\xff\n"]
)
def test_a_malformed_csv_of_labels_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes(content)
    with pytest.raises(InputError, match="the table of labels cannot be read"):
        read_labels(table, ["a"])


def test_labels_that_do_not_fit_are_refused_with_the_next_step(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,kind,scene\na.mp4,up,x\n")
    for arguments, message in (
        ({}, "no column 'label'.*It has: file, kind, scene. Choose one: --label-column"),
        ({"label_column": "kinde"}, "Nearest: kind"),
        ({"label_column": "kind"}, "no label for any of the 1 samples"),
    ):
        with pytest.raises(InputError, match=message):
            read_labels(table, ["b.mp4"], **arguments)
    with pytest.raises(InputError, match=r"\.csv, \.tsv, \.jsonl, \.parquet"):
        read_labels(tmp_path / "labels.xlsx", ["a"])
    with pytest.raises(InputError, match="no named folder"):
        labels_of_folders(["a.mp4"])
    with pytest.raises(InputError, match="not a regular expression"):
        labels_of_folders(["a/b.mp4"], "(")
    with pytest.raises(InputError, match="needs two classes"):
        train_head(MODEL, TEXTS, ["a"] * 6)
    for text in ("NA", "nan"):  # as a table may write that there is none
        with pytest.raises(InputError, match="needs finite numbers, and the label of sample 5 is"):
            train_head(MODEL, TEXTS, ["1", "2", "3", "4", "5", text], task="regress")
    with pytest.raises(InputError, match="2 labels for 6 samples"):
        train_head(MODEL, TEXTS, ["a", "b"])
    with pytest.raises(UsageError, match="one vector of each sample"):
        train_head(MODEL, TEXTS, LABELS, pool="none")


def test_a_linear_head_needs_no_skorch_and_a_sequence_head_names_its_extra(tmp_path: Path) -> None:
    for label, text in (("animal", "the cat"), ("food", "milk meat")):
        (tmp_path / label).mkdir()
        for number in range(4):
            (tmp_path / label / f"{number}.txt").write_text(text)
    program = (
        "import sys; sys.modules['skorch'] = None\n"
        "from layerzoo.errors import MissingLibraryError\n"
        "from layerzoo.heads import TrainedHead, labels_of_folders, train_head\n"
        "head, _ = train_head('toy/next-word', '.', labels_of_folders)\n"
        "head.save('a.head')\n"
        "print([each.label for each in TrainedHead.load('a.head').predict('.')[0]])\n"
        "try: train_head('toy/next-word', '.', labels_of_folders, sequence='gru')\n"
        "except MissingLibraryError as error: print(error.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(["animal"] * 4 + ["food"] * 4), "sequence"], done.stderr


def _sweeps_of_tones(folder: Path) -> tuple[list[Path], list[str]]:
    """Write recordings of 2 s whose pitch rises or falls: the same windows in another order."""
    rate_hz, files, labels = 16_000, [], []
    for number in range(12):
        steps = np.repeat(np.array([300, 600, 1200, 2400]) + 20 * number, rate_hz // 2)
        steps = steps if number % 2 else steps[::-1]
        tone = 0.5 * np.sin(2 * np.pi * np.cumsum(steps) / rate_hz)
        files.append(folder / f"{number}.wav")
        labels.append("rising" if number % 2 else "falling")
        with wave.open(str(files[-1]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes((tone * 32767).astype("<i2").tobytes())
    return files, labels


def test_the_windows_of_a_recording_are_one_sequence(tmp_path: Path) -> None:
    pytest.importorskip("torchaudio")
    files, labels = _sweeps_of_tones(tmp_path)
    model, how = "torchaudio/logmel", {"window": "0.5s", "normalize": True}
    head, features = train_head(
        model, files, labels, sequence="gru", settings={"epochs": 40, "hidden": 8}, pool="mean", **how
    )
    assert len(features) == 4 * len(files)
    assert head.score["samples"] == len(files)
    head.save(tmp_path / "head")
    predictions, _ = TrainedHead.load(tmp_path / "head").predict(files)
    assert [each.id for each in predictions] == [str(file) for file in files]
    assert [each.label for each in predictions] == labels
    linear, pooled = train_head(model, files, labels, pool="mean", temporal_pool="dct:2", **how)
    assert len(pooled) == len(files)
    assert [each.label for each in linear.predict(files)[0]] == labels
    with pytest.raises(UsageError, match="window= gives a vector of each window"):
        train_head(model, files, labels, pool="mean", **how)


def test_a_recording_of_which_a_window_fails_is_left_out() -> None:
    array = np.arange(12, dtype=np.float32).reshape(6, 2)
    features = layerzoo.Features(
        ids=("a", "a", "b", "b", "c", "c"),
        by_layer={"x": array},
        start_s=(0.0, 1.0) * 3,
        end_s=(1.0, 2.0) * 3,
        errors=(layerzoo.errors.SampleError("b", "too short"),),
        provenance={"windows": {"temporal_pool": "none"}},
    )
    ids, sequences = head_input(features)
    assert ids == ("a", "c")
    np.testing.assert_array_equal(sequences[1], array[4:])


def test_a_head_keeps_how_frames_are_sampled(tmp_path: Path) -> None:
    head, _ = train_head(MODEL, TEXTS, LABELS, prompt="the ")
    head.save(tmp_path / "head")
    assert TrainedHead.load(tmp_path / "head").extraction["prompt"] == "the "
    with pytest.raises(UsageError, match="sampling"):
        train_head(MODEL, TEXTS, LABELS, sampling="fps:2")
