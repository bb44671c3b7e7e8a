"""Text: from a string to the tokens that a network takes, whole, truncated or in chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np

from layerzoo.errors import SampleError
from layerzoo.media import text
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.prompts import KnowsPrompts, Prompt, choose_prompt
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor, is_tensor
from layerzoo.spec import EXAMPLE_TOKENS, Modality, TextPreprocess

_LONG_CHARACTERS = 1_000_000
_LONG = Lock()
"""Held while a long text is tokenised: its tokens take about a hundred bytes each."""
_NOTHING: Mapping[str, Sequence[int]] = MappingProxyType({})


class TextPreprocessor(Preprocessor):
    modality: Modality = "text"
    variable_length = True
    knows_special_tokens = True

    def __init__(self, declared: TextPreprocess, tokenizer: text.Tokenizer, *, overlap: int | None = None) -> None:
        self.declared = declared
        self.cls_token = declared.cls_token
        self.uneven_rows = declared.batching != "exact"
        self._tokenizer = tokenizer
        self._arguments = tokenizer.arguments
        self.overlap = overlap
        self.splits_samples = overlap is not None
        self.temporal_pool = declared.temporal_pool
        self.prompt = choose_prompt(None, tokenizer, model="", max_tokens=declared.max_tokens)

    @property
    def tokenizer(self) -> text.Tokenizer:
        """The tokenizer of the model."""
        return self._tokenizer

    def chunked(self, overlap: int | None = None) -> TextPreprocessor:
        """Return the same preprocessing, with long texts split into chunks instead of truncated.

        overlap: number of tokens that neighbouring chunks share; None: an eighth of a chunk. Raises: UsageError for
        an overlap as large as a chunk.
        """
        room = text.room_for(self._tokenizer, self.declared.max_tokens, overlap or 0)
        shared = int(room * text.OVERLAP_SHARE) if overlap is None else overlap
        preprocessor = TextPreprocessor(self.declared, self._tokenizer, overlap=shared)
        preprocessor.prompt = self.prompt
        return preprocessor

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """The names of the model's prompts; empty if it has none."""
        prompts = self._tokenizer.prompts if isinstance(self._tokenizer, KnowsPrompts) else None
        return () if prompts is None else tuple(name for name, prompt in prompts.texts.items() if prompt)

    def prompted(self, prompt: str, *, model: str) -> TextPreprocessor:
        """Return the same preprocessing with another prompt before every text.

        prompt: the name of one of the model's prompts, or a text. model: its id, for the message.
        Raises: UsageError for a name that the model does not have.
        """
        preprocessor = TextPreprocessor(self.declared, self._tokenizer, overlap=self.overlap)
        preprocessor.prompt = choose_prompt(prompt, self._tokenizer, model=model, max_tokens=self.declared.max_tokens)
        return preprocessor

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        if is_tensor(source):
            ids = self._ready(source)
            return Prepared([self._row(ids, special=self._special(ids))])
        checked = self.prompt.text + text.decode(source)
        if len(checked) > _LONG_CHARACTERS:
            with _LONG:
                return self._prepared(checked)
        return self._prepared(checked)

    def _prepared(self, checked: str) -> Prepared:
        tokens = text.tokenise(checked, self._tokenizer, self.declared.max_tokens, overlap=self.overlap)
        is_whole = len(tokens.chunks) == 1
        rows = [
            self._row(
                chunk.ids, None if is_whole else chunk.span, special=chunk.special, extra_inputs=chunk.extra_inputs
            )
            for chunk in tokens.chunks
        ]
        return Prepared(_without_prompt(rows, self.prompt, self._arguments), text.counts(checked, tokens))

    def unknown_words(self, source: str | bytes) -> list[str]:
        """Return the words of a text that are not in the vocabulary, in order. Raises: SampleError."""
        return text.unknown_words(text.decode(source), self._tokenizer)

    def _ready(self, tensor: Any) -> Sequence[int]:
        if tensor.ndim != 1 or len(tensor) == 0 or tensor.is_floating_point() or tensor.is_complex():
            raise SampleError(
                "tensor",
                f"a tokenised text is (token,) of integers, and this is {tuple(tensor.shape)} of {tensor.dtype}",
            )
        ids: list[int] = tensor.tolist()
        return ids

    def _row(
        self,
        ids: Sequence[int],
        span: tuple[int, int] | None = None,
        *,
        special: tuple[int, int] = (0, 0),
        extra_inputs: Mapping[str, Sequence[int]] = _NOTHING,
    ) -> InputRow:
        row = token_row(ids, span, special=special, extra_inputs=extra_inputs, arguments=self._arguments)
        return self._padded(row) if self.declared.batching == "exact" else row

    def _padded(self, row: InputRow) -> InputRow:
        """Pad a row to the longest input on the tokenizer's side, for a network that was trained so.

        It has an attention mask only if the tokenizer returns one.
        """
        missing = self.declared.max_tokens - row.total
        if missing < 0:
            raise SampleError("tensor", f"{row.total} tokens, and this network takes {self.declared.max_tokens}")
        pads_left = text.gives_tensors(self._tokenizer) and self._tokenizer.padding_side == "left"
        is_masked = text.returns_mask(self._tokenizer)
        inputs = {
            name: np.pad(array, (missing, 0) if pads_left else (0, missing), constant_values=self._pads.get(name, 0))
            for name, array in row.inputs.items()
            if is_masked or name != self._arguments.mask
        }
        total = self.declared.max_tokens
        return replace(row, inputs=inputs, total=total, offset=missing if pads_left else 0)

    @cached_property
    def _pads(self) -> Mapping[str, int]:
        """Padding value of each tensor, by the name of its argument."""
        if text.gives_tensors(self._tokenizer):
            return self._tokenizer.pads
        padding = {self._arguments.ids: self._tokenizer.pad}
        return padding if self._arguments.mask is None else padding | {self._arguments.mask: 0}

    def _special(self, ids: Sequence[int]) -> tuple[int, int]:
        """Count the special tokens at the beginning and at the end of a row."""
        prefix, suffix = list(self._tokenizer.prefix), list(self._tokenizer.suffix)
        begins = list(ids[: len(prefix)]) == prefix
        ends = list(ids[len(ids) - len(suffix) :]) == suffix and len(ids) >= begins * len(prefix) + len(suffix)
        return begins * len(prefix), ends * len(suffix)

    def collate(self, rows: Sequence[InputRow]) -> Batch:
        return collate(rows, pad=self._pads, masked=True)

    def bucket(self, row: InputRow) -> Any:
        """Return the length of a row, unless padding is known to change nothing, and the names of its inputs.

        An already tokenised text has token ids only, and shares no batch with others if the network takes more
        inputs.
        """
        length = None if self.declared.batching in ("exact", "tolerance") else row.total
        return length, tuple(row.inputs)

    def example(self, count: int, enlargement: Enlargement | None = None) -> Batch | None:
        if enlargement not in (None, "all", "length"):
            return None
        length = min(EXAMPLE_TOKENS, self.declared.max_tokens // 2) * (2 if enlargement else 1)
        ids = [*self._tokenizer.prefix, *self._tokenizer.suffix] or [self._tokenizer.pad]
        own_names = (self._arguments.ids, self._arguments.mask)
        extra_inputs = {name: [0] * length for name in self._pads if name not in own_names}
        row = token_row((ids * length)[:length], extra_inputs=extra_inputs, arguments=self._arguments)
        return self.collate([row] * count)


def _without_prompt(rows: list[InputRow], prompt: Prompt, arguments: text.TextArguments) -> list[InputRow]:
    """Mark the tokens of a prompt that the model does not pool, in the first row of a text."""
    if prompt.excluded_tokens is None or arguments.prompt_length is None:
        return rows
    lengths = [prompt.excluded_tokens, *[0] * (len(rows) - 1)]
    return [
        replace(row, inputs={**row.inputs, arguments.prompt_length: np.array([length], dtype=np.int64)})
        for row, length in zip(rows, lengths, strict=True)
    ]


def token_row(
    ids: Sequence[int],
    span: tuple[int, int] | None = None,
    *,
    special: tuple[int, int] = (0, 0),
    extra_inputs: Mapping[str, Sequence[int]] = _NOTHING,
    arguments: text.TextArguments,
) -> InputRow:
    """Make a row of tokens.

    Args:
        ids: the token ids, including special tokens.
        span: the positions that are pooled; None for all.
        special: the number of special tokens before and after the tokens of the text.
        extra_inputs: other integers of each token, by the name of the network's argument.
        arguments: the names of the network's arguments.
    """
    array = np.array(ids, dtype=np.int64)
    inputs = {arguments.ids: array, **{name: np.array(values, dtype=np.int64) for name, values in extra_inputs.items()}}
    if arguments.mask is not None:
        inputs[arguments.mask] = np.ones_like(array)
    return InputRow(inputs, valid=len(array), total=len(array), span=span, special=special)
