"""A backbone small enough to check by hand: one-hot words → 3 hidden units → the next word.

It is the network of the lecture this library comes from. The hidden layer of a word is that word's vector: the row of
``WORD_VECTORS`` that belongs to it.

    the cat drinks → hidden: (the), (cat), (drinks) → mean over the words → (3,)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from layerzoo import hookimpl
from layerzoo.errors import SampleError
from layerzoo.media.text import TextArguments
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files

PAD = 0
WORDS = ("the", "cat", "dog", "drinks", "eats", "milk", "meat")
WORD_VECTORS = (
    (0.0, 0.0, 0.0),  # padding
    (1.0, 0.0, 0.0),  # the
    (0.0, 2.0, 1.0),  # cat
    (0.0, 2.0, -1.0),  # dog
    (0.0, -1.0, 2.0),  # drinks
    (0.0, -1.0, -2.0),  # eats
    (-1.0, 0.0, 1.0),  # milk
    (-1.0, 0.0, -1.0),  # meat
)
"""(word, 3): animals share the second unit, what they consume has its opposite; the third tells milk from meat."""


class NextWord(nn.Module):
    """(batch, token) word numbers → (batch, token, word) scores of the word that follows. No biases."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(len(WORD_VECTORS), 3, bias=False)
        self.next_word = nn.Linear(3, len(WORD_VECTORS), bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        one_hot = torch.nn.functional.one_hot(input_ids, len(WORD_VECTORS)).to(self.hidden.weight.dtype)
        scores: Tensor = self.next_word(self.hidden(one_hot))
        return scores


class WordTokenizer:
    """Words are what stands between spaces; there is no other knowledge in it."""

    arguments = TextArguments(ids="input_ids", mask="attention_mask")
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    pad = PAD
    unknown = None  # a word that is not among these is refused

    def encode(self, text: str) -> list[int]:
        """Raises: SampleError for a word that the network has never seen."""
        words = text.lower().split()
        if unknown := [word for word in words if word not in WORDS]:
            raise SampleError(text, f"unknown word '{unknown[0]}'; this network knows {', '.join(WORDS)}")
        return [WORDS.index(word) + 1 for word in words]


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    return NextWord()


@hookimpl
def layerzoo_preprocess(spec: ModelSpec) -> WordTokenizer:
    return WordTokenizer()


@hookimpl
def layerzoo_read_weights(spec: ModelSpec, files: Files) -> Mapping[str, Tensor] | None:
    """Hidden: the word vectors. Next word: each word's score is the scalar product with its own vector."""
    if files.checkpoint is not None:
        return None
    vectors = torch.tensor(WORD_VECTORS)
    return {"hidden.weight": vectors.T.contiguous(), "next_word.weight": vectors}
