"""The same positions of a text are pooled alone, in any batch and in chunks, with and without special tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import layerzoo
from layerzoo.errors import PluginError, PoolingError, SampleError, UsageError
from layerzoo.media.text import TextArguments
from layerzoo.runtime.preprocess import preprocessor
from layerzoo.spec import Batching, FrozenMap, ModelSpec, TextPreprocess

TEXTS = ["a", "the cat", "a fine film", "no", "milk and meat drinks", "zebra"]
POOLINGS = ("mean", "max", "std", "statistics", "gem", "gram", "last", "cls", "none")
Values = NDArray[np.float64]


def gem(x: Values) -> Values:
    return np.asarray((np.maximum(x, 1e-6) ** 3).mean(0) ** (1 / 3))


DEFINITIONS: dict[str, Callable[[Values], Values]] = {
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.max(0),
    "std": lambda x: x.std(0),
    "statistics": lambda x: np.concatenate([x.mean(0), x.std(0)]),
    "gem": gem,
    "gram": lambda x: (x.T @ x / len(x))[np.triu_indices(x.shape[1])],
    "last": lambda x: x[-1],
}


@pytest.fixture
def words(install: Callable[..., None]) -> Callable[..., ModelSpec]:
    install("varying")

    def declared(
        prefix: int | None = None,
        suffix: int | None = None,
        added: tuple[int, int] = (0, 0),
        batching: Batching = "tolerance",
        max_tokens: int = 30,
    ) -> ModelSpec:
        spec = layerzoo.model("varying/text")
        (layer,) = spec.layers
        return replace(
            spec,
            args=FrozenMap({"added": added}),
            layers=(replace(layer, prefix_tokens=prefix, suffix_tokens=suffix),),
            preprocess=TextPreprocess(max_tokens=max_tokens, batching=batching, cls_token=True),
        )

    return declared


def raw(backbone: layerzoo.Backbone, text: str, added: tuple[int, int] = (0, 0)) -> Values:
    """Return (token, channel): the activations of a text alone, without those of padding."""
    batch = backbone.preprocess([text])
    ids, valid = batch.inputs["tokens"], int(batch.valid[0])  # type: ignore[index]
    with torch.no_grad():
        values = backbone.module({"tokens": ids})["block.0"][0].double().numpy()
    end = added[0] + ids.shape[1]
    return np.concatenate([values[: added[0] + valid], values[end:]])


def extracted(backbone: layerzoo.Backbone, pool: str, **options: Any) -> list[Values]:
    return [np.asarray(one, dtype=np.float64) for one in layerzoo.extract(backbone, TEXTS, pool=pool, **options).values]


def assert_equal(found: list[Values], expected: list[Values]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("batching", ["tolerance", "exact"])
@pytest.mark.parametrize(
    ("prefix", "suffix", "added"),
    [(None, None, (0, 0)), (1, None, (0, 0)), (2, 1, (0, 0)), (0, 1, (0, 0)), (3, None, (3, 0)), (2, 2, (2, 2))],
)
def test_pooled_positions_of_a_text_do_not_depend_on_its_batch(
    words: Callable[..., ModelSpec],
    prefix: int | None,
    suffix: int | None,
    added: tuple[int, int],
    batching: Batching,
) -> None:
    backbone = layerzoo.load(words(prefix, suffix, added, batching), weights="random:0")
    for pool in POOLINGS:
        expected = []
        for text in TEXTS:
            values = raw(backbone, text, added)
            pooled = values[prefix or 0 : len(values) - (suffix or 0)]
            expected.append({"none": values, "cls": values[0]}.get(pool, pooled))
        if pool in DEFINITIONS:
            expected = [DEFINITIONS[pool](values) for values in expected]
        assert_equal(extracted(backbone, pool), expected)
        assert_equal(extracted(backbone, pool, batch_size=1), expected)
        assert_equal(extracted(backbone, pool, batch_size=2), expected)


@pytest.mark.parametrize("pool", POOLINGS)
def test_special_tokens_can_be_excluded(words: Callable[..., ModelSpec], pool: str) -> None:
    backbone = layerzoo.load(words(), weights="random:0")
    whole = [raw(backbone, text) for text in TEXTS]
    texts = [values[2:-1] for values in whole]  # two special tokens before, one after
    expected = [DEFINITIONS[pool](values) for values in texts] if pool in DEFINITIONS else texts
    if pool == "cls":
        expected = [values[0] for values in whole]
    assert_equal(extracted(backbone, pool, special_tokens=False), expected)
    assert_equal(extracted(backbone, pool, special_tokens=False, batch_size=1), expected)
    features = layerzoo.extract(backbone, TEXTS, pool=pool, special_tokens=False)
    assert features.provenance["special_tokens"] is False
    assert layerzoo.extract(backbone, TEXTS, pool=pool).provenance["special_tokens"] is True


@pytest.mark.parametrize("pool", [pool for pool in POOLINGS if pool != "cls"])
@pytest.mark.parametrize("special_tokens", [True, False])
def test_special_tokens_of_chunks_and_of_truncated_texts(
    words: Callable[..., ModelSpec], pool: str, special_tokens: bool
) -> None:
    """Each chunk is processed alone, and each position of the text is pooled from one of them."""
    backbone = layerzoo.load(words(max_tokens=9), weights="random:0")
    text, overlap = "abcdefghijklmnopqrstuvw", 2
    ids = [1, 2, *backbone.preprocess._tokenizer.encode(text), 3]  # type: ignore[attr-defined]
    content, pieces = ids[2:-1], []
    starts = range(0, len(content) - overlap, 6 - overlap)
    for start in starts:
        row = [1, 2, *content[start : start + 6], 3]
        with torch.no_grad():
            values = backbone.module({"tokens": torch.tensor([row])})["block.0"][0].double().numpy()
        first = 2 if start or not special_tokens else 0
        last = len(row) - (0 if start == starts[-1] and special_tokens else 1)
        skip, keep = (1 if start else 0), (None if start == starts[-1] else -1)
        inner = values[2 + skip : len(row) - 1][slice(None, keep)]
        ends = values[:2] if first == 0 else values[:0], values[len(row) - 1 : last]
        pieces.append(np.concatenate([ends[0], inner, ends[1]]))
    expected = np.concatenate(pieces)
    expected = DEFINITIONS[pool](expected) if pool in DEFINITIONS else expected
    found = layerzoo.extract(
        backbone, [text, "ab", text], pool=pool, chunks=True, overlap=overlap, special_tokens=special_tokens
    ).values[0]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
    truncated = layerzoo.extract(backbone, [text, "ab"], pool=pool, special_tokens=special_tokens).values[0]
    row = [*ids[:8], 3]
    with torch.no_grad():
        values = backbone.module({"tokens": torch.tensor([row])})["block.0"][0].double().numpy()
    values = values if special_tokens else values[2:-1]
    expected = DEFINITIONS[pool](values) if pool in DEFINITIONS else values
    np.testing.assert_allclose(truncated, expected, rtol=2e-4, atol=1e-5)


def test_a_text_without_remaining_positions_is_an_error(words: Callable[..., ModelSpec]) -> None:
    backbone = layerzoo.load(words(prefix=3, suffix=2), weights="random:0")
    found = layerzoo.extract(backbone, ["a", "a fine film"], errors="skip")
    assert found.ids == ("1",)
    with pytest.raises(SampleError, match=r"^0: no positions are left to pool at layer block.0 without 3 prefix"):
        layerzoo.extract(backbone, ["a"])


def test_special_tokens_of_given_token_ids_are_those_of_the_tokenizer(words: Callable[..., ModelSpec]) -> None:
    backbone = layerzoo.load(words(), weights="random:0")
    ids = torch.tensor([1, 2, 10, 11, 3])
    with_special, bare = (
        layerzoo.extract(backbone, [tokens], special_tokens=False, pool="none").values.shape[1]
        for tokens in (ids, ids[2:4])
    )
    assert (with_special, bare) == (2, 2)


def test_only_a_text_has_special_tokens(words: Callable[..., ModelSpec]) -> None:
    words()
    with pytest.raises(UsageError, match="special_tokens=False is for text, and varying/image takes vision"):
        layerzoo.extract("varying/image", [np.zeros((16, 16, 3), np.uint8)], special_tokens=False, weights="random:0")


def test_the_last_tokens_of_rows_that_may_be_padded_are_refused(words: Callable[..., ModelSpec]) -> None:
    spec = words()
    spec = replace(spec, layers=(replace(spec.layers[0], last_tokens=2),))
    with pytest.raises(PoolingError, match="cannot tell which of the last 2 tokens are padding"):
        layerzoo.load(spec, weights="random:0")


def test_a_tokenizer_that_does_not_name_the_arguments_of_its_network_is_refused(
    words: Callable[..., ModelSpec],
) -> None:
    class Unnamed:
        prefix = suffix = ()
        pad = 0

        def encode(self, text: str) -> list[int]:
            return [1]

    with pytest.raises(
        PluginError, match=r"answers Unnamed for varying/text: .* a tokenizer for text, which has no arg"
    ):
        preprocessor(words(), Unnamed())


def test_a_network_without_an_attention_mask_receives_token_ids_only(words: Callable[..., ModelSpec]) -> None:
    tokenizer = SimpleNamespace(
        arguments=TextArguments("ids"), prefix=(1,), suffix=(), pad=0, encode=lambda text: [2] * len(text)
    )
    text = preprocessor(words(), tokenizer)
    batch = text(["abc"])
    assert {name: values.tolist() for name, values in batch.inputs.items()} == {"ids": [[1, 2, 2, 2]]}
    assert text.example(2).inputs.keys() == {"ids"}  # type: ignore[union-attr]
