"""Docstrings and lists as Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

WRITTEN = "<!-- Written by `make docs` from the source. Edits belong there. -->"
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_LITERAL = re.compile(r"``([^`]+)``")
_FACTS = ("Returns", "Raises", "Source")


def page(title: str, *parts: str) -> str:
    """A whole page: its title, then its parts with an empty line between them."""
    return "\n\n".join([WRITTEN, f"# {title}", *(part for part in parts if part)]) + "\n"


def prose(text: str, names: Collection[str] = ()) -> str:
    """A docstring as Markdown. names: what it explains in lines of their own, such as the parameters."""
    return "\n\n".join(_paragraph(each, names) for each in _inline(text).split("\n\n"))


def sentence(text: str) -> str:
    """A docstring in one line, to stand in a list."""
    return " ".join(_inline(text).split())


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {item}" for item in items)


def code(text: str, language: str = "python") -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"


def link(name: str, heading: str | None = None, *, page: str = "") -> str:
    """A link to a heading; to one that is the name itself where none is given. page: another file."""
    slug = re.sub(r"[^\w\- ]", "", (heading or name).lower()).replace(" ", "-")
    return f"[`{name}`]({page}#{slug})"


def _inline(text: str) -> str:
    """Sphinx's marks as those of Markdown."""
    return _LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", text.strip()))


def _paragraph(text: str, names: Collection[str]) -> str:
    """A paragraph, whose explanations (`name: …`, and what is indented below) become a list."""
    lines = text.split("\n")
    if lines[0].startswith("    "):
        return text
    shown: list[str] = []
    for line in lines:
        label, colon, rest = line.partition(":")
        if colon and _is_explained(label, names):
            opens_list = not shown or not shown[-1].startswith(("- ", "  "))
            shown += ([""] if shown and opens_list else []) + [f"- **{label}**:{rest}"]
        elif shown and shown[-1].startswith(("- ", "  ")):
            shown.append(f"  {line.strip()}")
        else:
            shown.append(line)
    return "\n".join(shown)


def _is_explained(label: str, names: Collection[str]) -> bool:
    return label in _FACTS or all(name in names for name in label.split(", "))
