"""The progress of long work, in Python and on the command line."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm
from tqdm.auto import tqdm as auto_tqdm

import layerzoo
from layerzoo.cli.output import counted, size
from layerzoo.errors import UsageError
from layerzoo.progress import ProgressLines, metered, progress_text
from layerzoo.runtime import Backbone

TEXTS = ["cat drinks", "dog eats"] * 40


@pytest.fixture(scope="module")
def model() -> Backbone:
    return layerzoo.load("toy/next-word")


def extract(model: Backbone, inputs: Any, progress: Any) -> None:
    assert len(layerzoo.extract(model, inputs, batch_size=16, progress=progress)) == len(TEXTS)


def test_a_function_is_called_after_each_batch_with_what_is_done_and_the_total(model: Backbone) -> None:
    calls: list[tuple[int, int | None]] = []
    extract(model, TEXTS, lambda done, total: calls.append((done, total)))
    assert len(calls) >= 5
    assert calls[-1] == (80, 80)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert {total for _, total in calls} == {80}


def test_the_total_of_a_generator_is_unknown(model: Backbone) -> None:
    calls: list[tuple[int, int | None]] = []
    extract(model, (text for text in TEXTS), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (80, None)


def test_samples_of_files_are_counted_while_the_first_run(model: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    calls: list[tuple[int, int | None]] = []
    for inputs in (path, [path]):
        extract(model, inputs, lambda done, total: calls.append((done, total)))
        assert calls[-1] == (80, 80)


def test_failed_samples_are_done_too(model: Backbone) -> None:
    calls: list[tuple[int, int | None]] = []
    layerzoo.extract(
        model, ["cat", "bird", ""], errors="skip", progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (3, 3)


def test_a_class_of_tqdm_makes_a_bar_and_a_bar_of_the_caller_stays_open(model: Backbone) -> None:
    stream = io.StringIO()
    extract(model, TEXTS, functools.partial(tqdm, file=stream, mininterval=0))
    assert "toy/next-word: 100%" in stream.getvalue()
    assert "80/80" in stream.getvalue()
    for bar_class in (tqdm, auto_tqdm):
        with bar_class(file=io.StringIO()) as bar:
            extract(model, TEXTS, bar)
            assert (bar.n, bar.total, bar.disable) == (80, 80, False)


def test_true_shows_a_bar_on_a_terminal_and_otherwise_nothing_within_30_seconds(
    model: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal, shown in ((True, "80/80"), (False, "")):
        stream = io.StringIO()
        stream.isatty = lambda is_terminal=is_terminal: is_terminal  # type: ignore[method-assign,misc]
        monkeypatch.setattr("sys.stderr", stream)
        extract(model, TEXTS, True)
        assert (shown in stream.getvalue()) if shown else stream.getvalue() == ""


@pytest.mark.parametrize("progress", [3, "bar", object()])
def test_other_choices_are_refused_before_anything_is_loaded(progress: Any) -> None:
    with pytest.raises(UsageError, match=r"progress=.* is not True, a bar or class of tqdm, or a function"):
        layerzoo.extract("toy/absent", TEXTS, progress=progress)


def test_a_bar_is_closed_when_a_stream_ends_early(model: Backbone) -> None:
    bars: list[tqdm[Any]] = []

    class Recorded(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs, file=io.StringIO())
            bars.append(self)

    pieces: Iterator[Any] = layerzoo.stream(model, TEXTS, batch_size=16, progress=Recorded)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert [bar.disable for bar in bars] == [True]  # how tqdm marks a closed bar


def test_a_line_is_printed_every_30_seconds() -> None:
    seconds = iter([0.0, 29.0, 30.0, 31.0, 60.0, 95.0])
    stream = io.StringIO()
    lines = ProgressLines(stream, "samples", "toy/next-word", clock=lambda: next(seconds))
    for done in (29, 300, 310, 600, 950):
        lines(done, 1200)
    assert stream.getvalue().splitlines() == [
        "toy/next-word: 300 of 1,200 samples (25%), 10 samples/s, 1 min 30 s left",
        "toy/next-word: 600 of 1,200 samples (50%), 10 samples/s, 1 min 0 s left",
        "toy/next-word: 950 of 1,200 samples (79%), 10 samples/s, 25 s left",
    ]


@pytest.mark.parametrize(
    ("done", "total", "quantity", "text"),
    [
        (0, 10, functools.partial(counted, noun="sample"), "0 of 10 samples (0%), 0 samples/s"),
        (3, None, functools.partial(counted, noun="sample"), "3 samples, 0.3 samples/s"),
        (30_000_000, 90_000_000, size, "30 of 90 MB (33%), 3 MB/s, 20 s left"),
        (500_000, 90_000_000, size, "500 kB of 90 MB (1%), 50 kB/s, 29 min 50 s left"),
        (12, 10, functools.partial(counted, noun="sample"), "12 samples, 1.2 samples/s"),
    ],
)
def test_the_text_of_progress(done: int, total: int | None, quantity: Any, text: str) -> None:
    assert progress_text(done, total, 10.0, quantity) == text


def test_nothing_is_reported_by_default() -> None:
    for choice in (None, False):
        with metered(choice, unit="samples", label="x") as meter:
            meter.advance(3)
            assert meter.done == 3
