"""The library's own tokenizers."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from layerzoo.authoring import TextArguments
from layerzoo.errors import RepositoryError, SampleError, WeightsError
from layerzoo.weights import Files
from layerzoo_hf.configuration import sub_config
from layerzoo_hf.embedding import PROMPT_LENGTH
from layerzoo_hf.families import batching
from layerzoo_hf.parts import accepts_any_argument, arguments, backbone_without_values
from layerzoo_hf.prompts import ModelPrompts, library_tokenizer
from layerzoo_hf.sentence_transformers import SentenceEncoder

_LIMIT = 1_000_000
"""More tokens than any network takes; the library's value for an unknown limit is 1e30."""
_UNKNOWN = 512
"""How many tokens an architecture is stated to take that has neither a limit nor a tokenizer."""
_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
_CONTENT = (1 << 31) - 1
"""A token id that no vocabulary has: the placeholder for a text when special tokens are added around it."""


_ONE_AT_A_TIME = threading.Lock()
"""For the library's own call, which sets where its tokenizer truncates before it runs it."""
_SEVERAL = -(1 << 31)
"""Marks a tensor of several numbers for each token."""


class LibraryTokenizer:
    """A tokenizer of the library, which returns every tensor that a network takes (a ``TensorTokenizer``).

    Args:
        library: the tokenizer.
        takes: the names of the arguments of the network's ``forward``; None for all that the tokenizer returns.
        adds_special_tokens: whether special tokens are put around a text.
    """

    unknown: int | None
    """The token for words that are missing in the vocabulary."""
    returns_mask: bool
    """Whether the tokenizer returns an attention mask itself. Where texts are padded to one length, the network gets
    one only then, as with the library's own call."""
    prompts: ModelPrompts | None = None
    """What may be put before every text, where the model's files say that."""
    _backend: Any = None
    """The Rust tokenizer, where the library's own call adds nothing to it: the same result in half the time."""

    def __init__(self, library: Any, takes: frozenset[str] | None = None, *, adds_special_tokens: bool = True) -> None:
        self.library = library
        self.adds_special_tokens = adds_special_tokens
        self.returns_mask = _MASK in library.model_input_names
        # A tokenizer that does not accept a text alone raises the error again when it is used. The first call may
        # change the special tokens, such as that of a language.
        with contextlib.suppress(Exception):
            encoding = library("", truncation=False, padding=False)
            self.returns_mask = _MASK in encoding
        prefix, suffix = _special_tokens(library) if adds_special_tokens else ([], [])
        self.prefix: tuple[int, ...] = tuple(prefix)
        self.suffix: tuple[int, ...] = tuple(suffix)
        self.pad: int = library.pad_token_id if library.pad_token_id is not None else 0
        self.unknown = library.unk_token_id
        pads = _pads(library)
        self.pads: Mapping[str, int] = {name: pads[name] for name in pads if takes is None or name in takes}
        self.arguments = TextArguments(_IDS, _MASK if _MASK in self.pads else None, PROMPT_LENGTH)
        self.padding_side: Literal["left", "right"] = library.padding_side
        self.truncation_side: Literal["left", "right"] = library.truncation_side
        self.cuts_plainly = _adds_nothing(library)
        if self.cuts_plainly:
            self._backend = library.backend_tokenizer  # the call above has disabled truncation and padding

    @classmethod
    def of(
        cls, files: Files, takes: frozenset[str] | None = None, *, encoder: SentenceEncoder | None = None
    ) -> LibraryTokenizer:
        """Load the tokenizer next to a model's config.json.

        takes: as in the constructor. encoder: the description in the files of sentence-transformers.
        """
        adds_special_tokens = encoder is None or encoder.adds_special_tokens
        return cls(library_tokenizer(files, encoder), takes, adds_special_tokens=adds_special_tokens)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text without special tokens."""
        if self._backend is not None:
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        ids = self.tensors(text)[_IDS]
        return list(ids[len(self.prefix) : len(ids) - len(self.suffix)])

    def tensors(self, text: str, max_tokens: int | None = None) -> Mapping[str, Sequence[int]]:
        """Return every tensor of a text, including special tokens, without padding.

        max_tokens: the largest number of tokens; None does not truncate.
        Raises: SampleError for a text that the library's tokenizer refuses, or that gets other special tokens than all
            other texts.
        """
        if self._backend is not None:
            encoding = self._backend.encode(text, add_special_tokens=self.adds_special_tokens)
            tensors = {_IDS: encoding.ids, _TYPES: encoding.type_ids} if _TYPES in self.pads else {_IDS: encoding.ids}
            return (
                tensors
                if max_tokens is None
                else {key: self._cut(values, max_tokens) for key, values in tensors.items()}
            )
        name = type(self.library).__name__
        try:
            with _ONE_AT_A_TIME:
                tensors = self.library(
                    text,
                    truncation=max_tokens is not None,
                    max_length=max_tokens,
                    padding=False,
                    add_special_tokens=self.adds_special_tokens,
                    verbose=False,
                )
        except Exception as error:
            raise SampleError("text", f"{name} does not take it: {' '.join(str(error).split())}") from error
        ids = list(tensors[_IDS])
        if tuple(ids[: len(self.prefix)]) != self.prefix or tuple(ids[len(ids) - len(self.suffix) :]) != self.suffix:
            raise SampleError(
                "text",
                f"{name} puts other special tokens around it than {list(self.prefix)} and {list(self.suffix)}, "
                "which it puts around other texts",
            )
        names = [name for name in self.pads if name in tensors and name not in (_IDS, _MASK)]
        return {_IDS: ids} | {name: list(tensors[name]) for name in names}

    def _cut(self, values: Sequence[int], max_tokens: int) -> Sequence[int]:
        """Truncate between the special tokens, on the tokenizer's side."""
        start, end = len(self.prefix), len(values) - len(self.suffix)
        excess = max(0, len(values) - max_tokens)
        middle = values[start + excess : end] if self.truncation_side == "left" else values[start : end - excess]
        return [*values[:start], *middle, *values[end:]]


def _special_tokens(library: Any) -> tuple[Sequence[int], Sequence[int]]:
    """Return the special tokens before and after any text, as the tokenizer defines them. No text is tokenised."""
    if isinstance(library, PreTrainedTokenizerFast):
        any_text = tokenizers.Tokenizer(tokenizers.models.WordLevel({"text": _CONTENT}, unk_token="text"))
        if library.backend_tokenizer.post_processor is not None:
            any_text.post_processor = library.backend_tokenizer.post_processor
        ids = any_text.encode("text").ids
    else:
        ids = list(library.build_inputs_with_special_tokens([_CONTENT]))
    at = ids.index(_CONTENT)
    return ids[:at], ids[at + 1 :]


def _pads(library: Any) -> dict[str, int]:
    """Return the padding value of each tensor that a tokenizer returns, as it pads itself."""
    usual = {_IDS: library.pad_token_id or 0, _MASK: 0}
    if _adds_nothing(library):
        return usual | ({_TYPES: library.pad_token_type_id} if _TYPES in library.model_input_names else {})
    try:
        encoding = library("a", truncation=False, padding=False, verbose=False)
        length = len(encoding[_IDS])
        if library.pad_token_id is None:
            return usual | {name: 0 for name in encoding if name not in usual and len(encoding[name]) == length}
        with_mask = {**encoding, _MASK: [1] * length}
        padded = library.pad(with_mask, padding="max_length", max_length=length + 1, padding_side="right")
    except Exception:  # noqa: BLE001 - a tokenizer that takes no text alone says so when it gets one
        return usual
    return usual | {
        name: values[-1] if isinstance(values[-1], int) else _SEVERAL
        for name, values in padded.items()
        if len(values) == length + 1
    }


def _adds_nothing(library: Any) -> bool:
    """Return whether a tokenizer is the fast one of the library, which passes texts to its backend unchanged."""
    kind = type(library)
    return isinstance(library, PreTrainedTokenizerFast) and all(
        getattr(kind, name) is getattr(PreTrainedTokenizerFast, name)
        for name in ("__call__", "_encode_plus", "_convert_encoding", "set_truncation_and_padding")
    )


class NoTokenizer:
    """Replaces the tokenizer of an architecture without a checkpoint, which accepts tokens but no text."""

    arguments = TextArguments(_IDS, _MASK)
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    pad = 0
    unknown = None

    def __init__(self, model: str) -> None:
        self._model = model

    def encode(self, text: str) -> list[int]:
        raise WeightsError(
            f"{self._model} is an architecture without a checkpoint, and has no tokenizer: give it tokens "
            "(a torch.LongTensor a sample), or `weights:` with a tokenizer next to them"
        )


def describe_text(config: Any, files: Files, encoder: SentenceEncoder | None = None) -> dict[str, Any]:
    """Describe the preprocessing of texts: the maximal length, the classification token, and the batching.

    encoder: what the files of sentence-transformers say.
    """
    part = sub_config(config, "text")
    limits = [_largest(part, "max_position_embeddings")]  # `n_positions` of GPT-2 too, by its attribute_map; not of T5
    cls, unlimited = False, _UNKNOWN
    if "config.json" in files and _has_tokenizer(files):
        tokenizer = LibraryTokenizer.of(files, encoder=encoder)
        limits.append(tokenizer.library.model_max_length)
        unlimited = _LIMIT  # where neither the tokenizer nor the network has a limit, no text is truncated
        token = tokenizer.library.cls_token_id
        cls = token is not None and tokenizer.prefix[:1] == (token,)
    stated_limits = [limit for limit in limits if limit is not None and 0 < limit < _LIMIT]
    most = _usable(config, part, int(min(stated_limits, default=unlimited)))
    return {"max_tokens": most, "cls_token": cls, "batching": batching(config)}


def tokenizer(
    model: str, config: Any, files: Files, part: str | None = None, *, encoder: SentenceEncoder | None = None
) -> LibraryTokenizer | NoTokenizer:
    """Load the tokenizer next to a checkpoint; for an architecture without a checkpoint, one that refuses texts.

    Args:
        model: the id of the model, for messages.
        config: the configuration of the whole network.
        files: the model's files.
        part: the path of the module that is the backbone; None for the one that reads texts.
        encoder: what the files of sentence-transformers say.
    """
    if "config.json" not in files or not _has_tokenizer(files):
        return NoTokenizer(model)
    loaded = LibraryTokenizer.of(files, encoder=encoder)
    if loaded.pads.keys() <= {_IDS, _MASK}:
        return loaded
    network = backbone_without_values(config, "text", part)
    mask = {_MASK} if accepts_any_argument(network) else set()
    takes = frozenset(arguments(network)) | mask
    tokenizer = LibraryTokenizer(loaded.library, takes, adds_special_tokens=loaded.adds_special_tokens)
    if several := [name for name, pad in tokenizer.pads.items() if pad == _SEVERAL]:
        raise RepositoryError(
            f"{model}: {type(loaded.library).__name__} returns several numbers for each token as {', '.join(several)}: "
            "its network takes more than a text"
        )
    return tokenizer


def _has_tokenizer(files: Files) -> bool:
    return any(name.startswith(("tokenizer", "vocab", "spiece", "sentencepiece")) for name in files)


def _usable(config: Any, part: Any, limit: int) -> int:
    """Return the number of tokens for which a network has positions. limit: as its configuration and tokenizer state.

    A network that counts positions from its padding token, as RoBERTa does, does not use the entries of its position
    table up to that index.
    """
    pad, positions = getattr(part, "pad_token_id", None), _largest(part, "max_position_embeddings")
    if positions is None or limit <= positions - (pad if isinstance(pad, int) and pad > 0 else 1) - 1:
        return limit
    if not _may_count_after_padding(part):
        return limit
    modules = backbone_without_values(config, "text").modules()
    return min([limit, *(_positions_after_padding(module) or limit for module in modules)])


_MAKER = "create_position_ids_from_input_ids"
"""The library's name for what counts positions from the padding token: a function, or a method of the embeddings."""


def _may_count_after_padding(part: Any) -> bool:
    """Return whether the library's module of a network defines the function. Most do not, so that they are not
    built."""
    try:
        module = importlib.import_module(type(part).__module__.replace(".configuration_", ".modeling_"))
    except ImportError:
        return True
    return hasattr(module, _MAKER) or any(hasattr(member, _MAKER) for member in vars(module).values())


def _positions_after_padding(module: nn.Module) -> int | None:
    """Return how many positions a module has, if it counts them from its padding token; else None."""
    table = getattr(module, "position_embeddings", None)
    first, weight = getattr(table, "padding_idx", None), getattr(table, "weight", None)
    if first is None or weight is None:
        return None
    if not hasattr(module, _MAKER) and not hasattr(sys.modules[type(module).__module__], _MAKER):
        return None
    return int(weight.shape[0]) - int(first) - 1


def _largest(config: Any, name: str) -> int | None:
    limit = getattr(config, name, None)
    return limit if isinstance(limit, int) else None
