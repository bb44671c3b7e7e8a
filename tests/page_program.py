"""Run the Python blocks of a page, and compare values with the comments after them.

``python -P page_program.py PAGE…`` runs several pages in one process, each with its own variables. It uses only the
standard library, because it also runs where the tests are not installed.

In a block, the comment after an expression is its expected value, and may end with a comma and a note:
``features.values.shape  # (2, 24), one row per image``. ``…`` matches any characters.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


class Block(NamedTuple):
    """A fenced code block. line: the number of its first line in the page, from 1."""

    line: int
    code: str


def page_blocks(language: str, page: str) -> list[Block]:
    """Return the code blocks of one language, in order."""
    matches = (match for match in _BLOCK.finditer(page) if match["language"] == language)
    return [Block(page.count("\n", 0, match.start("code")) + 1, match["code"]) for match in matches]


def page_program(page: str) -> str:
    """Join all Python blocks into one program with the line numbers of the page, so that tracebacks refer to it."""
    lines = [""] * (page.count("\n") + 1)
    for block in page_blocks("python", page):
        code = block.code.splitlines()
        lines[block.line - 1 : block.line - 1 + len(code)] = code
    return "\n".join(lines)


def run_page(page: str, name: str) -> dict[str, Any]:
    """Run all Python blocks of a page as one program.

    Args:
        page: the text of the page.
        name: its file name, for tracebacks.
    Returns: the variables of the program.
    Raises: AssertionError for a value that differs from its comment, and every error of the program.
    """
    program = page_program(page)
    lines = program.splitlines()
    variables: dict[str, Any] = {}
    for statement in ast.parse(program).body:
        comment = _comment(statement, lines)
        if comment is None:
            exec(compile(ast.Module([statement], []), name, "exec"), variables)
        else:
            assert isinstance(statement, ast.Expr)
            value = repr(eval(compile(ast.Expression(statement.value), name, "eval"), variables))
            assert is_described(value, comment), f"{name}:{statement.end_lineno}: {value} is not {comment}"
    return variables


def is_described(value: str, comment: str) -> bool:
    """Return whether a comment describes a value. value: its repr."""
    return any(re.fullmatch(".*".join(map(re.escape, text.split("…"))), value) for text in _values(comment))


def _comment(statement: ast.stmt, lines: list[str]) -> str | None:
    """Return the comment after an expression, None if there is none."""
    if not isinstance(statement, ast.Expr) or statement.end_lineno is None or statement.end_col_offset is None:
        return None
    last = lines[statement.end_lineno - 1].encode()[statement.end_col_offset :].decode()
    return last.partition("#")[2].strip() or None


def _values(comment: str) -> Iterator[str]:
    """Yield what may be the value in a comment: all of it, or the text before a comma that begins a note."""
    yield comment
    beginnings = (comment[: comma.start()] for comma in re.finditer(",", comment))
    yield from (text for text in beginnings if all(text.count(left) == text.count(right) for left, right in _BRACKETS))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        run_page(Path(path).read_text(encoding="utf-8"), path)
