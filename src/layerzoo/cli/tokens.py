"""`zoo tokens`: report unknown words and truncated texts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.names import find_model_for
from layerzoo.cli.options import as_input, column_option, inputs_argument
from layerzoo.cli.output import Format, PrintedRow, counted, format_option, print_one, print_rows
from layerzoo.errors import EmptySampleError, SampleError, UsageError

if TYPE_CHECKING:
    from layerzoo.media.samples import Sample
    from layerzoo.runtime.preprocess import TextPreprocessor

COLUMNS = ("text", "words", "tokens", "unknown", "left out", "problem")
_SHOWN_WORDS = 5
_MOST_WORDS = 100_000
"""The largest number of different unknown words that are counted separately."""
_MANY_PIECES = 3.0
"""Tokens per word above which a note explains the number."""


@click.command("tokens")
@click.argument("model", shell_complete=candidates.models)
@inputs_argument
@click.option("--each", is_flag=True, help="One row per text, instead of a summary.")
@column_option
@format_option(piped="json")
def command(model: str, inputs: tuple[str, ...], each: bool, column: str | None, format_: Format) -> None:
    """Report unknown words and truncated texts for a model.

    Only the model's tokenizer is downloaded and run. INPUT is as for `zoo extract`. Words are separated by white space;
    the tokenizer splits each into one or more tokens. Characters without a token in the vocabulary become the unknown
    token, which the network cannot distinguish. Tokens beyond the longest input are truncated, unless
    `zoo extract --chunks` splits the text. Special tokens are not counted.

    json has the keys model, max_tokens, texts, empty, failed, words, tokens, unknown, truncated, left_out,
    pieces_per_word, unknown_rate and unknown_words (word by word, the most frequent first); with --each: id, words,
    tokens, unknown, left_out, unknown_words, problem.

    \b
    Examples:
      zoo tokens starter/minilm-l6 tweets.txt
      zoo tokens starter/minilm-l6 tweets.csv --column text --each --format jsonl
    """
    spec = find_model_for(model, inputs)
    if spec.modality != "text":
        raise UsageError(f"{spec.id} takes {spec.modality}, not text. Models for text: zoo list --modality text")
    from layerzoo.media.samples import samples  # late: an unknown model is reported without importing torch
    from layerzoo.media.text import warning
    from layerzoo.runtime import load_preprocess

    preprocess = cast("TextPreprocessor", load_preprocess(spec))
    text_samples = samples(as_input(inputs), "text", column=column)
    total = _Total(spec.id, preprocess.declared.max_tokens)
    texts = total.over(_read(sample, preprocess) for sample in text_samples)
    if each:
        print_rows(map(_row, texts), format_, COLUMNS)
    else:
        for _ in texts:
            pass
        print_one(PrintedRow(spec.id, total.to_dict, list(total.facts())), format_)
    for note in filter(None, (*total.notes(), warning(total.report, spec.id))):
        say(f"{note}.")
    if total.failed:
        say(f"{total.failed} of {counted(total.texts, 'text')} failed.")
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class _Text:
    """The token counts of one text."""

    id: str
    report: dict[str, int]
    unknown_words: list[str] = field(default_factory=list)
    problem: SampleError | None = None


def _read(sample: Sample | SampleError, preprocess: TextPreprocessor) -> _Text:
    try:
        if isinstance(sample, SampleError):
            raise sample
        report = dict(preprocess.rows(sample.source).report)
    except SampleError as error:
        return _Text(sample.id, {}, problem=error)
    return _Text(sample.id, report, preprocess.unknown_words(sample.source) if report.get("unknown") else [])


def _row(text: _Text) -> PrintedRow:
    problem = text.problem.reason if text.problem else None
    numbers = {name: text.report.get(name) for name in ("words", "tokens", "unknown", "left_out")}
    fields = {"id": text.id, **numbers, "unknown_words": text.unknown_words, "problem": problem}
    return PrintedRow(text.id, lambda: fields, (text.id, *numbers.values(), problem))


class _Total:
    """The token counts of all texts."""

    def __init__(self, model: str, max_tokens: int) -> None:
        self.model = model
        self.max_tokens = max_tokens
        self.texts = 0
        self.failed = 0
        self.report: Counter[str] = Counter()
        self.words: Counter[str] = Counter()

    def over(self, texts: Iterator[_Text]) -> Iterator[_Text]:
        """Yield the texts, and add up their counts."""
        for text in texts:
            self.texts += 1
            self.report.update(text.report)
            if text.problem is not None:
                self.failed += 1
                self.report["empty"] += isinstance(text.problem, EmptySampleError)
            self.words.update(
                word for word in text.unknown_words if word in self.words or len(self.words) < _MOST_WORDS
            )
            yield text

    @property
    def pieces_per_word(self) -> float | None:
        return self.report["tokens"] / self.report["words"] if self.report["words"] else None

    @property
    def unknown_rate(self) -> float | None:
        """The share of unknown tokens; None where the tokenizer does not report them, or there are no tokens."""
        if "unknown" not in self.report or not self.report["tokens"]:
            return None
        return self.report["unknown"] / self.report["tokens"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "texts": self.texts,
            "empty": self.report["empty"],
            "failed": self.failed,
            "words": self.report["words"],
            "tokens": self.report["tokens"],
            "unknown": self.report.get("unknown"),
            "truncated": self.report["truncated"],
            "left_out": self.report["left_out"],
            "pieces_per_word": self.pieces_per_word,
            "unknown_rate": self.unknown_rate,
            "unknown_words": dict(self.words.most_common()),
        }

    def facts(self) -> Iterator[tuple[str, str]]:
        report = self.report
        yield "model", f"{self.model}, up to {self.max_tokens} tokens including special tokens"
        unusable = [f"{report['empty']:,} empty"] if report["empty"] else []
        unusable += [f"{unreadable:,} unreadable"] if (unreadable := self.failed - report["empty"]) else []
        yield "texts", ", ".join([f"{self.texts:,}", *unusable])
        yield "words", f"{report['words']:,}"
        pieces = f", {self.pieces_per_word:.2f} per word" if self.pieces_per_word else ""
        yield "tokens", f"{report['tokens']:,}{pieces}"
        rate = self.unknown_rate
        yield "unknown", "its tokenizer does not report them" if rate is None else f"{report['unknown']:,} ({rate:.2%})"
        if self.words:
            listed = [f"{word} ({count:,})" for word, count in self.words.most_common(_SHOWN_WORDS)]
            yield "such as", ", ".join(listed)
        left_out = f", which drops {report['left_out']:,} tokens" if report["left_out"] else ""
        yield "too long", f"{report['truncated']:,}{left_out}"

    def notes(self) -> Iterator[str]:
        """Explain unusual numbers."""
        if (pieces := self.pieces_per_word) and pieces > _MANY_PIECES:
            yield (
                f"{pieces:.1f} tokens per word: few of these words are in the vocabulary (or the texts are in a "
                "language without spaces between words)"
            )
