"""The text encoder of Tacotron2, which speaks a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.models import Tacotron2
from torchaudio.pipelines import Tacotron2TTSBundle
from torchaudio.pipelines._tts.impl import _EnglishCharProcessor

from layerzoo.authoring import Chain, TextArguments
from layerzoo.errors import RepositoryError
from layerzoo_torchaudio.model import Tensors, TorchaudioModel

PHONEMES = (
    "it takes phonemes, which DeepPhonemizer computes from a text with another network, which layerzoo does not run. "
    "The models that take characters: TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH, TACOTRON2_WAVERNN_CHAR_LJSPEECH"
)
"""Why the pipelines with phonemes are listed as unusable."""
_MAX_CHARACTERS = 10_000
_CHAIN = Chain(
    modules=r"encoder\.convolutions\.\d+",
    stem="embedding",
    after={"head": "encoder"},
    axes={"embedding|encoder": ["batch token channel"], r"encoder\.convolutions\.\d+": ["batch channel token"]},
    prefix_tokens=0,
)


class TextEncoder(nn.Module):
    """The part of Tacotron2 that reads the text."""

    def __init__(self, network: Tacotron2) -> None:
        super().__init__()
        self.embedding = network.embedding
        self.encoder = network.encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return (batch, token, channel). input_ids: (batch, token), texts of one length."""
        embedded = self.embedding(input_ids).transpose(1, 2)
        lengths = torch.full(input_ids.shape[:1], input_ids.shape[1], device="cpu")
        encoded: Tensor = self.encoder(embedded, lengths)
        return encoded


class Characters:
    """The library's own text processor as a tokenizer. It drops characters that it does not know."""

    arguments = TextArguments("input_ids", "attention_mask")
    prefix: Sequence[int] = ()
    suffix: Sequence[int] = ()
    pad = 0

    def __init__(self) -> None:
        self._processor = _EnglishCharProcessor()

    def encode(self, text: str) -> list[int]:
        """Return a token for each known character of a text."""
        tokens: list[int] = self._processor(text)[0][0].tolist()
        return tokens


def pipeline(model: str, bundle: Tacotron2TTSBundle, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model of a pipeline.

    Args:
        model: the id, for messages.
        bundle: of ``torchaudio.pipelines``.
        arguments: of ``Tacotron2``, which take the place of the pipeline's own.
    Raises: RepositoryError for a pipeline that takes phonemes.
    """
    if takes_phonemes(bundle):
        raise RepositoryError(f"{model}: {PHONEMES}")
    own: Any = bundle
    return TorchaudioModel(
        build=partial(_network, {**own._tacotron2_params, **arguments}),
        preprocess={"max_tokens": _MAX_CHARACTERS, "batching": "equal_lengths"},
        chain=_CHAIN,
        transform=Characters(),
        select_tensors=_of_the_encoder,
    )


def takes_phonemes(bundle: Tacotron2TTSBundle) -> bool:
    """Return whether the input of a pipeline's network is phonemes."""
    return "Phone" in type(bundle).__name__


def _network(arguments: Mapping[str, Any]) -> nn.Module:
    return TextEncoder(Tacotron2(**arguments))


def _of_the_encoder(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(("embedding.", "encoder."))}
