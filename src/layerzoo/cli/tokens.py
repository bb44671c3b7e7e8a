"""`zoo tokens`: whether texts fit a model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import click

from layerzoo.cli import candidates
from layerzoo.cli.extract import as_input
from layerzoo.cli.messages import say
from layerzoo.cli.names import find_model_for
from layerzoo.cli.output import Format, PrintedRow, counted, format_option, print_one, print_rows
from layerzoo.errors import EmptySampleError, SampleError, UsageError

if TYPE_CHECKING:
    from layerzoo.media.samples import Sample
    from layerzoo.runtime.preprocess import TextPreprocessor

COLUMNS = ("text", "words", "tokens", "unknown", "left out", "problem")
_SHOWN_WORDS = 5
_MOST_WORDS = 100_000
"""How many unknown words are told apart; what is new after so many is not listed."""
_MANY_PIECES = 3.0
"""Tokens a word above which a note says what that means."""


@click.command("tokens")
@click.argument("model", shell_complete=candidates.models)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…", shell_complete=candidates.files)
@click.option("--each", is_flag=True, help="A row for each text, instead of one answer for all.")
@click.option("--column", metavar="NAME", help="Which column of a table holds the text.")
@format_option(piped="json")
def command(model: str, inputs: tuple[str, ...], each: bool, column: str | None, format_: Format) -> None:
    """Tell whether texts fit a model: how many of their words it knows, and how many are too long for it.

    Only the model's tokenizer is fetched and run. INPUT is what `zoo extract` takes. A word is what stands between
    white space; a model reads it as one token or as several pieces. What the vocabulary has no piece for is unknown:
    all of it looks the same to the network. What is beyond the longest input is left out (unless `zoo extract --chunks`
    splits the text). Special tokens are not counted.

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
        raise UsageError(f"tokens are of texts, and {spec.id} takes {spec.modality}")
    from layerzoo.media.samples import samples  # not sooner: a model that is not there is told without torch
    from layerzoo.media.text import warning
    from layerzoo.runtime import load_preprocess

    preprocess = cast("TextPreprocessor", load_preprocess(spec))
    found = samples(as_input(inputs), "text", column=column)
    total = _Total(spec.id, preprocess.declared.max_tokens)
    texts = total.over(_read(sample, preprocess) for sample in found)
    if each:
        print_rows(map(_row, texts), format_, COLUMNS)
    else:
        for _ in texts:
            pass
        print_one(PrintedRow(spec.id, total.plain, list(total.facts())), format_)
    for note in filter(None, (*total.notes(), warning(total.report, spec.id))):
        say(f"{note}.")
    if total.failed:
        say(f"{total.failed} of {counted(total.texts, 'text')} could not be used.")
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class _Text:
    """What was found out about one text."""

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
    plain = {"id": text.id, **numbers, "unknown_words": text.unknown_words, "problem": problem}
    return PrintedRow(text.id, lambda: plain, (text.id, *numbers.values(), problem))


class _Total:
    """The sum over all texts."""

    def __init__(self, model: str, max_tokens: int) -> None:
        self.model = model
        self.max_tokens = max_tokens
        self.texts = 0
        self.failed = 0
        self.report: Counter[str] = Counter()
        self.words: Counter[str] = Counter()

    def over(self, texts: Iterator[_Text]) -> Iterator[_Text]:
        """The texts as they come, counted."""
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
        """None where the tokenizer does not tell, or there are no tokens."""
        if "unknown" not in self.report or not self.report["tokens"]:
            return None
        return self.report["unknown"] / self.report["tokens"]

    def plain(self) -> dict[str, Any]:
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
        yield "model", f"{self.model}, of texts up to {self.max_tokens} tokens, special ones included"
        unusable = [f"{report['empty']:,} empty"] if report["empty"] else []
        unusable += [f"{others:,} unreadable"] if (others := self.failed - report["empty"]) else []
        yield "texts", ", ".join([f"{self.texts:,}", *unusable])
        yield "words", f"{report['words']:,}"
        pieces = f", {self.pieces_per_word:.2f} for each word" if self.pieces_per_word else ""
        yield "tokens", f"{report['tokens']:,}{pieces}"
        rate = self.unknown_rate
        yield "unknown", "its tokenizer does not tell" if rate is None else f"{report['unknown']:,} ({rate:.2%})"
        if self.words:
            listed = [f"{word} ({count:,})" for word, count in self.words.most_common(_SHOWN_WORDS)]
            yield "such as", ", ".join(listed)
        left_out = f", which leaves out {report['left_out']:,} tokens" if report["left_out"] else ""
        yield "too long", f"{report['truncated']:,}{left_out}"

    def notes(self) -> Iterator[str]:
        """What a number means that is unusual."""
        if (pieces := self.pieces_per_word) and pieces > _MANY_PIECES:
            yield (
                f"{pieces:.1f} tokens for each word: the model knows few of these words, and spells them (or the texts "
                "are in a language that puts no space between words)"
            )
