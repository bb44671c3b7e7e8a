"""Poolings equal their definitions in numpy, and do not depend on windows, batches and padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from layerzoo.errors import PoolingError
from layerzoo.media.text import TextArguments, tokenise
from layerzoo.pooling import POOLINGS, check_pooling, width
from layerzoo.runtime.batch import Batch, collate
from layerzoo.runtime.pool import merge, pool_batch, pooled_counts, rows_of
from layerzoo.runtime.preprocess.text import token_row
from layerzoo.spec import Layer

SEQUENCE = Layer(name="block.0", module="b", axes=("batch", "token", "channel"), shape=(6, 4), prefix_tokens=0)
IMAGE = Layer(name="stage.0", module="s", axes=("batch", "channel", "height", "width"), shape=(4, 3, 5))
VECTOR = Layer(name="pooled", module="p", axes=("batch", "channel"), shape=(4,))
ARGUMENTS = TextArguments("tokens", "is_text")
OVER_POSITIONS = ("mean", "max", "std", "statistics", "gem", "gram")


class Positions:
    """A tokenizer whose tokens are the positions of the characters."""

    arguments = ARGUMENTS
    prefix = suffix = ()
    pad = 0

    def encode(self, text: str) -> list[int]:
        return list(range(len(text)))


class Between:
    """A tokenizer with a special token at either end: 0 and 1. Its other tokens are the positions of the characters."""

    arguments = ARGUMENTS
    prefix = (0,)
    suffix = (1,)
    pad = 0

    def encode(self, text: str) -> list[int]:
        return list(range(2, 2 + len(text)))


DEFINITIONS = {
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.max(0),
    "std": lambda x: x.std(0),
    "statistics": lambda x: np.concatenate([x.mean(0), x.std(0)]),
    "gem": lambda x: (np.maximum(x, 1e-6) ** 3).mean(0) ** (1 / 3),
    "gram": lambda x: (x.T @ x / len(x))[np.triu_indices(x.shape[1])],
    "last": lambda x: x[-1],
    "cls": lambda x: x[0],
}


def pooled(
    values: NDArray[np.float32], layer: Layer, pool: str, valid: list[int] | None = None, total: int = 1
) -> NDArray[np.float32]:
    """Pool a batch completely: pool_batch, separate the rows, finish each."""
    batch = Batch({"x": torch.from_numpy(values)}, None if valid is None else torch.tensor(valid), total)
    summary = pool_batch(torch.from_numpy(values), batch, layer, pool)
    return np.stack([merge([row], [1], pool) for row in rows_of(summary, batch, layer, pool)])


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("pool", OVER_POSITIONS)
def test_pooling_over_an_image_equals_its_definition(pool: str) -> None:
    values = random(2, 4, 3, 5)
    expected = [DEFINITIONS[pool](one.reshape(4, -1).T.astype(np.float64)) for one in values]
    np.testing.assert_allclose(pooled(values, IMAGE, pool), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", OVER_POSITIONS)
def test_the_order_of_the_axes_does_not_matter(pool: str) -> None:
    values = random(2, 4, 3, 5)
    channel_last = Layer(name="stage.0", module="s", axes=("batch", "height", "width", "channel"), shape=(3, 5, 4))
    moved = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(pooled(moved, channel_last, pool), pooled(values, IMAGE, pool), rtol=1e-5, atol=1e-6)


@given(
    st.sampled_from([*OVER_POSITIONS, "last"]),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.floats(-1e6, 1e6, width=32),
)
def test_pooling_ignores_padding(pool: str, valid: list[int], rubbish: float) -> None:
    values = random(len(valid), 6, 4)
    for row, count in enumerate(valid):
        values[row, count:] = rubbish
    expected = [DEFINITIONS[pool](one[:count].astype(np.float64)) for one, count in zip(values, valid, strict=True)]
    np.testing.assert_allclose(pooled(values, SEQUENCE, pool, valid, 6), expected, rtol=1e-4, atol=1e-5)


def test_a_mask_follows_a_network_that_shortens_the_sequence() -> None:
    time = Layer(name="norm", module="n", axes=("batch", "time", "channel"), shape=(1500, 2))
    values = random(1, 1500, 2)
    np.testing.assert_allclose(
        pooled(values, time, "mean", valid=[16000 + 1], total=480000), [values[0, :51].mean(0)], rtol=1e-5, atol=1e-6
    )


def test_pooling_ignores_padding_added_by_the_network() -> None:
    values = random(2, 8, 4)
    expected = [values[0, :5].mean(0), values[1, :3].mean(0)]
    np.testing.assert_allclose(pooled(values, SEQUENCE, "mean", valid=[5, 3], total=5), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", OVER_POSITIONS)
def test_pooling_ignores_prefix_tokens(pool: str) -> None:
    values = random(2, 7, 4)
    layer = Layer(name="norm", module="n", axes=("batch", "token", "channel"), shape=(7, 4), prefix_tokens=2)
    expected = [DEFINITIONS[pool](one[2:].astype(np.float64)) for one in values]
    np.testing.assert_allclose(pooled(values, layer, pool), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", OVER_POSITIONS)
def test_pooling_ignores_tokens_after_those_of_the_input(pool: str) -> None:
    values = random(2, 9, 4)
    axes = ("batch", "token", "channel")
    layer = Layer(name="norm", module="n", axes=axes, shape=(9, 4), prefix_tokens=2, suffix_tokens=3)
    expected = [DEFINITIONS[pool](one[2:6].astype(np.float64)) for one in values]
    np.testing.assert_allclose(pooled(values, layer, pool), expected, rtol=1e-5, atol=1e-6)


def test_cls_is_the_first_prefix_token() -> None:
    values = random(2, 7, 4)
    layer = Layer(name="norm", module="n", axes=("batch", "token", "channel"), shape=(7, 4), prefix_tokens=2)
    np.testing.assert_array_equal(pooled(values, layer, "cls"), values[:, 0])


@given(st.sampled_from([*OVER_POSITIONS, "last"]), st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_merged_windows_equal_pooling_over_all_windows(pool: str, lengths: list[int]) -> None:
    whole = random(sum(lengths), 4, seed=len(lengths))
    pieces = np.split(whole, np.cumsum(lengths)[:-1])
    rows = []
    for piece in pieces:
        batch = Batch({"x": torch.from_numpy(piece[None])}, torch.tensor([len(piece)]), len(piece))
        rows += rows_of(pool_batch(torch.from_numpy(piece[None]), batch, SEQUENCE, pool), batch, SEQUENCE, pool)
    expected = DEFINITIONS[pool](whole.astype(np.float64))
    np.testing.assert_allclose(merge(rows, lengths, pool), expected, rtol=1e-4, atol=1e-5)


@given(
    st.sampled_from([*OVER_POSITIONS, "last", "none"]),
    st.integers(1, 40),
    st.integers(1, 9),
    st.data(),
)
def test_merged_overlapping_chunks_pool_each_position_once(
    pool: str, length: int, room: int, data: st.DataObject
) -> None:
    whole = random(length, 4, seed=length)
    overlap = data.draw(st.integers(0, room - 1))
    chunks = tokenise("x" * length, Positions(), room, overlap=overlap).chunks
    values = np.full((len(chunks), room, 4), 1e6, np.float32)
    for row, chunk in enumerate(chunks):
        values[row, : len(chunk.ids)] = whole[chunk.ids]
    rows = [token_row(chunk.ids, chunk.span, arguments=ARGUMENTS) for chunk in chunks]
    batch = Batch(
        {"x": torch.from_numpy(values)},
        valid=torch.tensor([row.valid for row in rows]),
        total=room,
        spans=torch.tensor([row.span for row in rows]),
    )
    summaries = rows_of(pool_batch(torch.from_numpy(values), batch, SEQUENCE, pool), batch, SEQUENCE, pool)
    expected = whole if pool == "none" else DEFINITIONS[pool](whole.astype(np.float64))
    found = merge(summaries, [row.weight for row in rows], pool)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_prefix_added_by_the_network_is_not_pooled_and_is_raw_in_the_first_chunk() -> None:
    values = random(2, 5, 4)
    layer = Layer(name="norm", module="n", axes=("batch", "token", "channel"), shape=(5, 4), prefix_tokens=1)
    spans = torch.tensor([[0, 3], [1, 4]])  # one position of each belongs to the other
    batch = Batch({"x": torch.from_numpy(values)}, torch.tensor([4, 4]), 4, spans=spans)
    means = rows_of(pool_batch(torch.from_numpy(values), batch, layer, "mean"), batch, layer, "mean")
    np.testing.assert_allclose(means, [values[0, 1:4].mean(0), values[1, 2:5].mean(0)], rtol=1e-5)
    raw = rows_of(pool_batch(torch.from_numpy(values), batch, layer, "none"), batch, layer, "none")
    assert [row.shape for row in raw] == [(4, 4), (3, 4)]


def test_raw_activations_contain_no_padding() -> None:
    values = random(2, 6, 4)
    batch = Batch({"x": torch.from_numpy(values)}, torch.tensor([6, 2]), 6)
    rows = rows_of(pool_batch(torch.from_numpy(values), batch, SEQUENCE, "none"), batch, SEQUENCE, "none")
    assert [row.shape for row in rows] == [(6, 4), (2, 4)]


def test_a_pooled_result_owns_its_memory() -> None:
    values = torch.ones(2, 4)
    for pool in ("flatten", "none", "mean", "max"):
        summary = pool_batch(values, Batch({"x": values}), VECTOR, pool)
        values.add_(1)
        assert not torch.equal(summary, values), pool


@pytest.mark.parametrize("pool", [pool for pool in POOLINGS if pool not in ("none", "last", "cls")])
def test_the_width_is_known_before_anything_runs(pool: str) -> None:
    assert pooled(random(1, 4, 3, 5), IMAGE, pool).shape[1] == width(pool, IMAGE)


def check(pool: str, layer: Layer, *, masked: bool = False, cls_token: bool = False) -> None:
    check_pooling(pool, layer, model="m", masked=masked, cls_token=cls_token)


@pytest.mark.parametrize(
    ("pool", "layer", "masked", "reason"),
    [
        ("cls", IMAGE, False, "needs a classification token"),
        ("cls", SEQUENCE, False, "needs a classification token"),
        ("last", IMAGE, False, "needs a sequence with a known end"),
        ("last", SEQUENCE, False, "needs a sequence with a known end"),
        ("flatten", SEQUENCE, True, "needs samples of one size"),
        ("std", VECTOR, False, "needs positions to run over"),
        ("gram", VECTOR, False, "needs positions to run over"),
        ("mean", Layer(name="x", module="x", axes=("batch", "token")), False, "needs a channel axis"),
        ("mean", Layer(name="x", module="x"), False, "declare them, as in x: {module: x, axes: batch token channel}"),
        ("mean", Layer(name="x", module="x", axes=("batch", "token", "channel")), False, "the number of prefix tokens"),
        ("mean", IMAGE, True, "cannot place the padding"),
        ("men", IMAGE, False, "Nearest: mean"),
    ],
)
def test_a_pooling_that_does_not_fit_is_refused(pool: str, layer: Layer, masked: bool, reason: str) -> None:
    with pytest.raises(PoolingError, match=reason):
        check(pool, layer, masked=masked)


def test_the_error_for_an_invalid_pooling_lists_valid_ones() -> None:
    with pytest.raises(PoolingError, match="Possible here: mean, max, gem, flatten, none"):
        check("gram", VECTOR)


SEQUENCE_POOLINGS = (*OVER_POSITIONS, "last")


@st.composite
def padded_texts(draw: st.DrawFn) -> tuple[list[int], int, int, bool, bool, list[int]]:
    """Lengths, prefix and suffix tokens, whether the network adds either, and the left padding of each row."""
    prefix, suffix = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    adds_prefix = draw(st.booleans()) and prefix > 0
    adds_suffix = adds_prefix and draw(st.booleans()) and suffix > 0
    least = 1 + (0 if adds_prefix else prefix) + (0 if adds_suffix else suffix)
    lengths = draw(st.lists(st.integers(least, least + 6), min_size=1, max_size=5))
    left = draw(st.booleans())
    total = max(lengths) + draw(st.integers(0, 3))
    offsets = [total - length if left else 0 for length in lengths]
    return lengths, prefix, suffix, adds_prefix, adds_suffix, [*offsets, total]


@given(st.sampled_from([*SEQUENCE_POOLINGS, "cls", "none"]), padded_texts())
def test_prefix_and_suffix_of_a_text_do_not_depend_on_padding(
    pool: str, texts: tuple[list[int], int, int, bool, bool, list[int]]
) -> None:
    lengths, prefix, suffix, adds_prefix, adds_suffix, (*offsets, total) = texts
    front, back = prefix * adds_prefix, suffix * adds_suffix
    values = np.full((len(lengths), front + total + back, 4), 1e6, np.float32)
    whole = [random(front + length + back, 4, seed=row) for row, length in enumerate(lengths)]
    for row, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        values[row, :front] = whole[row][:front]
        values[row, front + offset : front + offset + length] = whole[row][front : front + length]
        values[row, front + total :] = whole[row][front + length :]
    layer = replace(SEQUENCE, shape=(front + 16 + back, 4), prefix_tokens=prefix, suffix_tokens=suffix)
    batch = Batch(
        {"x": torch.from_numpy(values)},
        torch.tensor(lengths),
        total,
        offsets=torch.tensor(offsets) if any(offsets) else None,
        example_total=16,
    )
    rows = rows_of(pool_batch(torch.from_numpy(values), batch, layer, pool), batch, layer, pool)
    for found, sample in zip(rows, whole, strict=True):
        pooled_values = sample[prefix : len(sample) - suffix].astype(np.float64)
        expected = {"none": sample, "cls": sample[0]}.get(pool)
        expected = DEFINITIONS[pool](pooled_values) if expected is None else expected
        np.testing.assert_allclose(merge([found], [1], pool), expected, rtol=1e-4, atol=1e-5)
    counts = pooled_counts(torch.from_numpy(values), batch, layer)
    assert counts == [len(sample) - prefix - suffix for sample in whole]


@given(st.sampled_from(SEQUENCE_POOLINGS), st.integers(1, 30), st.integers(4, 9), st.data())
def test_prefix_and_suffix_are_left_out_of_every_chunk_of_a_text(
    pool: str, length: int, room: int, data: st.DataObject
) -> None:
    """Each chunk has the tokenizer's special tokens, and is weighted by the positions that are pooled from it."""
    whole = random(length + 2, 4, seed=length)  # after two vectors for the special tokens
    tokenizer = Between()
    overlap = data.draw(st.integers(0, room - 3))
    special_tokens = data.draw(st.booleans())
    prefix, suffix = (1, 1) if special_tokens else (0, 0)
    chunks = tokenise("x" * length, tokenizer, room, overlap=overlap).chunks
    rows = [
        token_row(chunk.ids, None if len(chunks) == 1 else chunk.span, special=(1, 1), arguments=ARGUMENTS)
        for chunk in chunks
    ]
    rows = rows if special_tokens else [row.without_special() for row in rows]
    values = np.full((len(rows), room, 4), 1e6, np.float32)
    for row, chunk in enumerate(chunks):
        values[row, : len(chunk.ids)] = whole[chunk.ids]
    layer = replace(SEQUENCE, shape=(16, 4), prefix_tokens=prefix, suffix_tokens=suffix)
    batch = replace(collate(rows, pad={"tokens": 0, "is_text": 0}, masked=True), total=room, example_total=16)
    summaries = rows_of(pool_batch(torch.from_numpy(values), batch, layer, pool), batch, layer, pool)
    counts = pooled_counts(torch.from_numpy(values), batch, layer)
    assert sum(count or 0 for count in counts) == length
    kept = [(summary, count) for summary, count in zip(summaries, counts, strict=True) if count]
    found = merge([summary for summary, _ in kept], [count or 0 for _, count in kept], pool)
    np.testing.assert_allclose(found, DEFINITIONS[pool](whole[2:].astype(np.float64)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [[4, 5], [3, 4, 8, 1], [7, 2]])
def test_positions_of_a_row_that_a_network_shortens_follow_from_its_stride(lengths: list[int]) -> None:
    total = max(lengths)
    values = random(len(lengths), -(-total // 2), 4)
    layer = replace(SEQUENCE, shape=(8, 4))
    batch = Batch({"x": torch.from_numpy(values)}, torch.tensor(lengths), total, example_total=16)
    counts = pooled_counts(torch.from_numpy(values), batch, layer)
    assert counts == [-(-length // 2) for length in lengths]


def test_raw_activations_of_padded_rows_whose_axes_are_not_known_are_refused() -> None:
    values = random(2, 6, 4)
    layer = Layer(name="block.0", module="b")
    batch = Batch({"x": torch.from_numpy(values)}, torch.tensor([6, 2]), 6)
    with pytest.raises(PoolingError, match="the padding of shorter samples cannot be removed"):
        rows_of(pool_batch(torch.from_numpy(values), batch, layer, "none"), batch, layer, "none")


# ---------------------------------------------------------------- padded images


def masked(values: NDArray[np.float32], layer: Layer, pool: str, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the pooled rows of images with a pixel mask."""
    pixels = torch.zeros(len(values), 3, *mask.shape[1:])
    batch = Batch({"pixels": pixels}, image_mask=torch.from_numpy(mask))
    rows = rows_of(pool_batch(torch.from_numpy(values), batch, layer, pool), batch, layer, pool)
    return np.stack([merge([row], [1], pool) for row in rows])


def half_hidden() -> NDArray[np.bool_]:
    """(2, 12, 20) pixels: the last 8 columns and the last 4 rows of the second image are padding."""
    mask = np.ones((2, 12, 20), np.bool_)
    mask[1, 8:], mask[1, :, 12:] = False, False
    return mask


@pytest.mark.parametrize("pool", OVER_POSITIONS)
@pytest.mark.parametrize(
    "axes", ["batch channel height width", "batch height width channel", "batch width height channel"]
)
def test_pooling_a_map_ignores_padding_of_the_image(pool: str, axes: str) -> None:
    values = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    words = tuple(axes.split())
    layer = Layer(name="stage.0", module="s", axes=words, shape=(4, 3, 5))
    order = [("batch", "channel", "height", "width").index(word) for word in words]
    found = masked(values.transpose(order).copy(), layer, pool, half_hidden())
    wanted = [DEFINITIONS[pool](image.reshape(4, -1).T) for image in (values[0], values[1, :, :2, :3])]
    if pool == "gram":  # a sum over positions, in any order
        assert np.allclose(found, wanted, atol=1e-5)
    else:
        assert np.allclose(found, wanted, atol=1e-6)


def test_pooling_tokens_ignores_padding_of_the_image() -> None:
    values = np.random.default_rng(0).normal(size=(2, 1 + 15 + 2, 4)).astype(np.float32)
    layer = Layer(
        name="block.0", module="b", axes=("batch", "token", "channel"), shape=(18, 4), prefix_tokens=1, suffix_tokens=2
    )
    shown = values[1, 1:16].reshape(3, 5, 4)[:2, :3].reshape(-1, 4)
    found = masked(values, layer, "mean", half_hidden())
    assert np.allclose(found, [values[0, 1:16].mean(0), shown.mean(0)], atol=1e-6)


def test_tokens_without_a_map_of_the_image_are_all_pooled() -> None:
    values = np.random.default_rng(0).normal(size=(2, 15, 4)).astype(np.float32)
    objects = Layer(
        name="query.block.0", module="q", axes=("batch", "token", "channel"), shape=(15, 4), prefix_tokens=0
    )
    assert np.allclose(masked(values, objects, "mean", half_hidden()), values.mean(1), atol=1e-6)
    other = Layer(name="block.0", module="b", axes=("batch", "token", "channel"), shape=(14, 4), prefix_tokens=0)
    assert np.allclose(masked(values[:, :14], other, "mean", half_hidden()), values[:, :14].mean(1), atol=1e-6)
