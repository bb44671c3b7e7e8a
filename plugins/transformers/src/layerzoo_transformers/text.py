"""The library's own tokenizers."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerFast

from layerzoo.errors import WeightsError
from layerzoo.weights import Files
from layerzoo_transformers.configuration import sub_config
from layerzoo_transformers.families import batching
from layerzoo_transformers.prompts import Prompts, library_tokenizer

_LIMIT = 1_000_000
"""More tokens than any network takes; the library's word for an unknown limit is 1e30."""


class LibraryTokenizer:
    """A tokenizer of the library: pieces without special tokens, which stand apart as prefix and suffix."""

    unknown: int | None
    """What stands for all that the vocabulary lacks."""
    prompts: Prompts | None = None
    """What may be put before every text, where the model's files say that."""
    _backend: Any = None
    """What the library itself would ask, with half as much done around it for each text."""

    def __init__(self, library: Any) -> None:
        self.library = library
        alone = self.encode("a")
        dressed = list(library("a", truncation=False, padding=False)["input_ids"])
        start = next(at for at in range(len(dressed)) if dressed[at : at + len(alone)] == alone)
        self.prefix: tuple[int, ...] = tuple(dressed[:start])
        self.suffix: tuple[int, ...] = tuple(dressed[start + len(alone) :])
        self.pad: int = library.pad_token_id if library.pad_token_id is not None else 0
        self.unknown = library.unk_token_id
        # The calls above have left it as it is to be from here on: without truncation and padding.
        self._backend = library.backend_tokenizer if _adds_nothing(library) else None

    @classmethod
    def of(cls, files: Files) -> LibraryTokenizer:
        """The tokenizer that lies beside a model's config.json."""
        return cls(library_tokenizer(files))

    def encode(self, text: str) -> list[int]:
        if self._backend is not None:
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        made = self.library(text, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        return list(made["input_ids"])


def _adds_nothing(library: Any) -> bool:
    """Whether a tokenizer is the fast one of the library, which hands texts on as they are."""
    kind = type(library)
    return isinstance(library, PreTrainedTokenizerFast) and all(
        getattr(kind, name) is getattr(PreTrainedTokenizerFast, name) for name in ("__call__", "_encode_plus")
    )


class NoTokenizer:
    """Of an architecture without a checkpoint: it takes tokens, and no text."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    pad = 0
    unknown = None

    def __init__(self, model: str) -> None:
        self._model = model

    def encode(self, text: str) -> list[int]:
        raise WeightsError(
            f"{self._model} is an architecture without a checkpoint, and has no tokenizer: give it tokens "
            "(a torch.LongTensor a sample), or `weights:` with a tokenizer beside them"
        )


def describe_text(config: Any, files: Files) -> dict[str, Any]:
    """How long a text may be, whether it starts with a classification token, and what padding does to the network."""
    part = sub_config(config, "text")
    limits = [_largest(part, "max_position_embeddings"), _largest(part, "n_positions")]
    cls = False
    if "config.json" in files and _has_tokenizer(files):
        tokenizer = LibraryTokenizer.of(files)
        limits.append(tokenizer.library.model_max_length)
        token = tokenizer.library.cls_token_id
        cls = token is not None and tokenizer.prefix[:1] == (token,)
    known = [limit for limit in limits if limit is not None and 0 < limit < _LIMIT]
    return {"max_tokens": int(min(known, default=512)), "cls_token": cls, "batching": batching(config)}


def tokenizer(model: str, files: Files) -> LibraryTokenizer | NoTokenizer:
    """The tokenizer beside a checkpoint; without one, that of a bare architecture."""
    return LibraryTokenizer.of(files) if "config.json" in files and _has_tokenizer(files) else NoTokenizer(model)


def _has_tokenizer(files: Files) -> bool:
    return any(name.startswith(("tokenizer", "vocab", "spiece", "sentencepiece")) for name in files)


def _largest(config: Any, name: str) -> int | None:
    limit = getattr(config, name, None)
    return limit if isinstance(limit, int) else None
