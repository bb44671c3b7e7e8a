"""Prompts: texts that precede every input text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from layerzoo.errors import UsageError, nearest, nearest_hint
from layerzoo.media.text import Tokenizer

__all__ = ["KnowsPrompts", "Prompt", "Prompts", "choose_prompt"]

_NAME = re.compile(r"[\w-]+")


class Prompts(Protocol):
    """The prompts of a model."""

    @property
    def texts(self) -> Mapping[str, str]:
        """The text of each prompt, by the name of the prompt."""

    @property
    def default(self) -> str:
        """The text of the prompt that applies by default; empty if there is none."""

    @property
    def is_pooled(self) -> bool:
        """True if the model pools the tokens of a prompt together with those of the text."""

    def length(self, prompt: str, max_tokens: int) -> int:
        """Return the number of tokens at the start of a sequence that belong to a prompt or precede it.

        Args:
            prompt: the text of the prompt.
            max_tokens: the length to which a sequence is truncated.
        """


@runtime_checkable
class KnowsPrompts(Tokenizer, Protocol):
    """A tokenizer of a model with prompts."""

    @property
    def prompts(self) -> Prompts | None:
        """The prompts of the model; None if it has none."""


class Prompt(NamedTuple):
    """The text that precedes every input text.

    text: as it is, with the space that separates it from a text.
    excluded_tokens: the number of its tokens that the model does not pool; None where it pools them all.
    """

    text: str = ""
    excluded_tokens: int | None = None


def choose_prompt(prompt: str | None, tokenizer: Tokenizer, *, model: str, max_tokens: int) -> Prompt:
    """Return the requested prompt.

    Args:
        prompt: the name of one of the model's prompts, or the text of any other; None: the model's default.
        tokenizer: of the model.
        model: its id, for the message.
        max_tokens: where its texts are truncated.
    Raises: UsageError for a single word that is not the name of a prompt, where the model has prompts.
    """
    prompts = tokenizer.prompts if isinstance(tokenizer, KnowsPrompts) else None
    if prompt is not None and not isinstance(prompt, str):
        raise UsageError(f"prompt={prompt!r} is neither the name of a prompt nor a text")
    if prompts is None:
        return Prompt(prompt or "")
    text = prompts.default if prompt is None else prompts.texts.get(prompt, prompt)
    if prompt and prompt not in prompts.texts and any(prompts.texts.values()) and _NAME.fullmatch(prompt):
        similar = nearest(prompt, list(prompts.texts))
        hint = nearest_hint(similar)
        raise UsageError(
            f"{model} has no prompt named '{prompt}'. {hint}All: {', '.join(prompts.texts)}. "
            f"To give a prompt of one word as text, end it with the space before the text: '{prompt} '"
        )
    return Prompt(text, prompts.length(text, max_tokens) if text and not prompts.is_pooled else None)
