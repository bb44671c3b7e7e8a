"""Tokenizers as sentence-transformers sets them up, and the prompts that it puts before texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers.normalizers import Lowercase, Sequence
from transformers import AutoTokenizer

from layerzoo.weights import Files
from layerzoo_hf.references import check_tokenizer_settings
from layerzoo_hf.sentence_transformers import SentenceEncoder


@dataclass(frozen=True, slots=True)
class ModelPrompts:
    """The prompts of a model, as :class:`layerzoo.authoring.Prompts` defines them."""

    texts: Mapping[str, str]
    default: str
    is_pooled: bool
    library: Any
    """The library's tokenizer."""
    adds_special_tokens: bool = True
    """Whether it puts special tokens around a text."""

    def length(self, prompt: str, max_tokens: int) -> int:
        """Return the number of tokens of the prompt in a text that is truncated to ``max_tokens``, including the
        special tokens before it.

        As in sentence_transformers.base.modules.Transformer: those of the prompt alone, but for a special token at
        their end.
        """
        # truncation=True would apply to all later texts, too
        added = self.adds_special_tokens
        encoding = self.library(prompt, truncation=False, padding=False, add_special_tokens=added)
        ids: list[int] = list(encoding["input_ids"])
        is_closed = bool(ids) and ids[-1] in self.library.all_special_ids
        return min(len(ids), max_tokens) - is_closed


def library_tokenizer(files: Files, encoder: SentenceEncoder | None) -> Any:
    """Load the tokenizer next to a config.json, as sentence-transformers does for its models."""
    settings = encoder.tokenizer_settings if encoder else {}
    check_tokenizer_settings(encoder.model if encoder else "", settings)
    folder = files["config.json"].parent
    tokenizer = AutoTokenizer.from_pretrained(folder, **settings, local_files_only=True, trust_remote_code=False)
    if encoder is not None and encoder.lower_case:
        _lower_case(tokenizer)
    return tokenizer


def prompts(encoder: SentenceEncoder, library: Any) -> ModelPrompts:
    """Return the prompts of a model. library: its tokenizer."""
    default = "" if encoder.default_prompt is None else encoder.prompts[encoder.default_prompt]
    return ModelPrompts(encoder.prompts, default, encoder.pools_prompt, library, encoder.adds_special_tokens)


def _lower_case(tokenizer: Any) -> None:
    """Make a tokenizer convert texts to lower case first, in place."""
    if not tokenizer.is_fast:
        tokenizer.do_lower_case = True
        return
    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = Sequence([Lowercase(), *own])
