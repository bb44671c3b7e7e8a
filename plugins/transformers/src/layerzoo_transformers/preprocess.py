"""The library's own tokenizers and feature extractors, as layerzoo takes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING

from layerzoo.weights import Files


class LibraryTokenizer:
    """A tokenizer of the library: pieces without special tokens, which stand apart as prefix and suffix."""

    def __init__(self, library: Any) -> None:
        self.library = library
        alone = self.encode("a")
        dressed = list(library("a", truncation=False, padding=False)["input_ids"])
        start = next(at for at in range(len(dressed)) if dressed[at : at + len(alone)] == alone)
        self.prefix: tuple[int, ...] = tuple(dressed[:start])
        self.suffix: tuple[int, ...] = tuple(dressed[start + len(alone) :])
        self.pad: int = library.pad_token_id if library.pad_token_id is not None else 0

    @classmethod
    def of(cls, files: Files) -> LibraryTokenizer:
        """The tokenizer that lies beside a model's config.json."""
        return cls(AutoTokenizer.from_pretrained(files["config.json"].parent, local_files_only=True))

    def encode(self, text: str) -> list[int]:
        made = self.library(text, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        return list(made["input_ids"])


def describe_text(config: Any, files: Files) -> dict[str, Any]:
    """How long a text may be, and whether it starts with a classification token."""
    tokenizer = LibraryTokenizer.of(files)
    library = tokenizer.library
    limits = [library.model_max_length, getattr(config, "max_position_embeddings", None)]
    known = [
        limit for limit in limits if limit is not None and limit < 1_000_000
    ]  # the library's word for "unknown" is 1e30
    cls = library.cls_token_id is not None and tokenizer.prefix[:1] == (library.cls_token_id,)
    return {"preprocess": {"max_tokens": min(known, default=512), "cls_token": cls}}


def sound_features(config: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The feature extractor that belongs to an architecture, with the values it is published with."""
    return partial(_extracted, FEATURE_EXTRACTOR_MAPPING[type(config)]())  # not a closure, which no process can send


def _extracted(extractor: Any, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    made = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="np")
    array: NDArray[np.float32] = np.asarray(made[extractor.model_input_names[0]][0], dtype=np.float32)
    return array
