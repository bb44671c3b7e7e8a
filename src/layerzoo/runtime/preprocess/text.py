"""Text: from a string to the tokens that a network takes, whole, truncated or in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from layerzoo.errors import SampleError
from layerzoo.media import text
from layerzoo.media.prompts import Prompt, choose_prompt
from layerzoo.runtime.axes import Stretch
from layerzoo.runtime.batch import Batch, Row, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor, is_tensor
from layerzoo.spec import EXAMPLE_TOKENS, Modality, TextPreprocess


class TextPreprocessor(Preprocessor):
    modality: Modality = "text"
    variable_length = True

    def __init__(self, declared: TextPreprocess, tokenizer: text.Tokenizer, *, overlap: int | None = None) -> None:
        self.declared = declared
        self.cls_token = declared.cls_token
        self.uneven_rows = declared.batching != "exact"
        self._tokenizer = tokenizer
        self.overlap = overlap
        self.prompt = choose_prompt(None, tokenizer, model="")

    def chunked(self, overlap: int | None = None) -> TextPreprocessor:
        """The same, with long texts split into chunks rather than truncated.

        overlap: how many tokens neighbours share; else an eighth of a chunk. Raises: UsageError where none are left.
        """
        room = text.room_for(self._tokenizer, self.declared.max_tokens, overlap or 0)
        shared = int(room * text.OVERLAP_SHARE) if overlap is None else overlap
        made = TextPreprocessor(self.declared, self._tokenizer, overlap=shared)
        made.prompt = self.prompt
        return made

    def prompted(self, prompt: str, *, model: str) -> TextPreprocessor:
        """Return the same preprocessing with another prompt before every text.

        prompt: the name of one of the model's prompts, or a text. model: its id, for the message.
        Raises: UsageError for a name that the model does not have.
        """
        made = TextPreprocessor(self.declared, self._tokenizer, overlap=self.overlap)
        made.prompt = choose_prompt(prompt, self._tokenizer, model=model)
        return made

    def rows(self, source: Any) -> Prepared:
        if is_tensor(source):
            return Prepared([self._row(self._ready(source))])
        checked = self.prompt.text + text.decode(source)
        tokens = text.tokenise(checked, self._tokenizer, self.declared.max_tokens, overlap=self.overlap)
        whole = len(tokens.chunks) == 1
        rows = [self._row(chunk.ids, None if whole else chunk.span) for chunk in tokens.chunks]
        return Prepared(_without_prompt(rows, self.prompt), text.counts(checked, tokens))

    def unknown_words(self, source: str | bytes) -> list[str]:
        """The words of a text that the vocabulary lacks as they stand, in their order. Raises: SampleError."""
        return text.unknown_words(text.decode(source), self._tokenizer)

    def _ready(self, tensor: Any) -> Sequence[int]:
        if tensor.ndim != 1 or len(tensor) == 0 or tensor.is_floating_point() or tensor.is_complex():
            raise SampleError(
                "tensor",
                f"a tokenised text is (token,) of integers, and this is {tuple(tensor.shape)} of {tensor.dtype}",
            )
        ids: list[int] = tensor.tolist()
        return ids

    def _row(self, ids: Sequence[int], span: tuple[int, int] | None = None) -> Row:
        if self.declared.batching != "exact":
            return token_row(ids, span)
        if len(ids) > self.declared.max_tokens:
            raise SampleError("tensor", f"{len(ids)} tokens, and this network takes {self.declared.max_tokens}")
        filled = [*ids, *[self._tokenizer.pad] * (self.declared.max_tokens - len(ids))]
        return Row({"input_ids": np.array(filled, dtype=np.int64)}, valid=len(ids), total=len(filled), span=span)

    def collate(self, rows: Sequence[Row]) -> Batch:
        return collate(rows, pad={"input_ids": self._tokenizer.pad, "attention_mask": 0}, masked=True)

    def bucket(self, row: Row) -> Any:
        """Where padding is not known to change nothing, rows of one length."""
        return None if self.declared.batching in ("exact", "tolerance") else row.total

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        if stretch not in (None, "all", "length"):
            return None
        length = min(EXAMPLE_TOKENS, self.declared.max_tokens // 2) * (2 if stretch else 1)
        ids = [*self._tokenizer.prefix, *self._tokenizer.suffix] or [self._tokenizer.pad]
        return self.collate([token_row((ids * length)[:length])] * count)


def _without_prompt(rows: list[Row], prompt: Prompt) -> list[Row]:
    """The rows of a text, the first of which says how many of its tokens the model does not pool."""
    if prompt.excluded_tokens is None:
        return rows
    lengths = [prompt.excluded_tokens, *[0] * (len(rows) - 1)]
    return [
        replace(row, inputs={**row.inputs, "prompt_length": np.array([length], dtype=np.int64)})
        for row, length in zip(rows, lengths, strict=True)
    ]


def token_row(ids: Sequence[int], span: tuple[int, int] | None = None) -> Row:
    array = np.array(ids, dtype=np.int64)
    inputs = {"input_ids": array, "attention_mask": np.ones_like(array)}
    return Row(inputs, valid=len(array), total=len(array), span=span)
