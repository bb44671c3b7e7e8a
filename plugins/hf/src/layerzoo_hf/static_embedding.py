"""StaticEmbedding of sentence-transformers, and model2vec: the mean of one vector for each token, without a network.

No configuration describes it. The number of tokens and of channels follow from the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import tokenizers
import torch
from torch import Tensor, nn

from layerzoo.authoring import TextArguments, meta_tensors
from layerzoo.errors import RepositoryError, WeightsError
from layerzoo.weights import Files
from layerzoo_hf.embedding import PROMPT_LENGTH
from layerzoo_hf.prompts import ModelPrompts, prompts
from layerzoo_hf.sentence_transformers import SentenceEncoder

_IDS, _MASK = "input_ids", "attention_mask"
_NO_LIMIT = 1_000_000
"""Tokens that a text may have, where the tokenizer truncates nothing."""
_WORDS = "words.weight"
"""The key of the vectors in the network. The module `embedding` is what runs after it."""


class StaticNetwork(nn.Module):
    """The mean of the vectors of a text's tokens: sentence_transformers.sentence_transformer.modules.StaticEmbedding.

    Args:
        tokens: the size of the vocabulary. channels: the length of a vector.
    """

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(tokens, channels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """Return an output with ``last_hidden_state``, (batch, channel).

        input_ids: (batch, token). attention_mask: (batch, token), 1 for each token of the text.
        """
        lengths = attention_mask.sum(1)
        ids = input_ids[attention_mask.bool()]  # concatenated, as in the library
        mean: Tensor = self.words(ids, lengths.cumsum(0) - lengths)
        return SimpleNamespace(last_hidden_state=mean)


class StaticTokenizer:
    """The tokenizer of a StaticEmbedding, which puts no special tokens around a text (a ``TensorTokenizer``)."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    pad = 0
    arguments = TextArguments(ids=_IDS, mask=_MASK, prompt_length=PROMPT_LENGTH)
    pads: Mapping[str, int] = {_IDS: 0, _MASK: 0}
    padding_side: Literal["left", "right"] = "right"
    cuts_plainly = True

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.max_tokens, self.truncation_side = _truncation(backend)
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self.unknown = _unknown(backend)
        self.prompts: ModelPrompts | None = None

    @classmethod
    def of(cls, encoder: SentenceEncoder, files: Files) -> StaticTokenizer:
        """Load the tokenizer of a model. Raises: RepositoryError if it is missing or invalid."""
        tokenizer = cls(_backend(encoder, files))
        tokenizer.prompts = prompts(encoder, tokenizer)
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def tensors(self, text: str, max_tokens: int | None = None) -> Mapping[str, Sequence[int]]:
        """Return the token ids of a text, truncated to ``max_tokens``."""
        ids = self.encode(text)
        excess = 0 if max_tokens is None else max(0, len(ids) - max_tokens)
        return {_IDS: ids[excess:] if self.truncation_side == "left" else ids[: len(ids) - excess]}


def described_static(encoder: SentenceEncoder, files: Files) -> dict[str, Any]:
    """Describe a model, as keys of registry.yaml."""
    limit, _ = _truncation(_backend(encoder, files))
    return {
        "preprocess": {"max_tokens": limit, "cls_token": False, "batching": "tolerance"},
        "default": {"layer": "embedding", "pool": "mean"},
    }


def static_network(encoder: SentenceEncoder, files: Files) -> StaticNetwork:
    """Build the network of a model.

    Raises: WeightsError if its checkpoint is not on this machine: only the checkpoint determines the size of the
        network.
    """
    words = _words(encoder, files)
    if words is None:
        raise WeightsError(
            f"{encoder.model}: only the checkpoint of a StaticEmbedding says how large it is, and it is not at hand as "
            "safetensors. Next: load the model, which fetches it; a pickle has to be saved as safetensors first"
        )
    return StaticNetwork(*words.shape)


def static_dtype(encoder: SentenceEncoder, files: Files) -> str | None:
    """Return the dtype that the library computes in; None if the checkpoint is not on this machine."""
    words = _words(encoder, files)
    return None if words is None else str(words.dtype).removeprefix("torch.")


def _words(encoder: SentenceEncoder, files: Files) -> Tensor | None:
    """Return the vectors of a model on the meta device; None if its checkpoint is not on this machine as
    safetensors."""
    name: str | None = "/".join(filter(None, (encoder.folder, "model.safetensors")))
    if name not in files:
        name = None if encoder.folder else files.checkpoint_name
    if name is None or not name.endswith(".safetensors"):
        return None
    return static_tensors(meta_tensors(files, name))[_WORDS]


def static_tensors(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the vectors of a checkpoint under the network's key, one for each token.

    model2vec may store fewer vectors: then ``mapping`` has the row of each token, and ``weights`` its factor.
    Raises: WeightsError for a checkpoint that holds no vectors.
    """
    if "embedding.weight" in tensors:
        return {_WORDS: tensors["embedding.weight"]}
    if "embeddings" not in tensors:
        raise WeightsError(
            f"a StaticEmbedding's checkpoint holds 'embedding.weight' or 'embeddings', and not {', '.join(tensors)}"
        )
    words = tensors["embeddings"]
    if "mapping" in tensors:
        words = words[tensors["mapping"].long()]
    if "weights" in tensors:
        dtype = torch.promote_types(words.dtype, torch.float32)
        words = words.to(dtype) * tensors["weights"][:, None]
        words = words.to(dtype)
    elif not words.is_floating_point():
        raise WeightsError(f"its 'embeddings' are {words.dtype}, without the scales that turn them into vectors")
    return {_WORDS: words}


def _backend(encoder: SentenceEncoder, files: Files) -> tokenizers.Tokenizer:
    path = files.get("tokenizer.json")
    if path is None:
        raise RepositoryError(f"{encoder.model}: there is no tokenizer.json next to its StaticEmbedding")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises plain exceptions
        raise RepositoryError(f"{encoder.model}: its tokenizer.json makes no tokenizer: {error}") from error


def _truncation(backend: tokenizers.Tokenizer) -> tuple[int, Literal["left", "right"]]:
    """Return the length to which a tokenizer truncates, and the side."""
    truncation = backend.truncation or {}
    return int(truncation.get("max_length", _NO_LIMIT)), "left" if truncation.get("direction") == "left" else "right"


def _unknown(backend: tokenizers.Tokenizer) -> int | None:
    """Return the id of the token for words that the vocabulary does not have."""
    name = getattr(backend.model, "unk_token", None)
    return backend.token_to_id(name) if isinstance(name, str) else None
