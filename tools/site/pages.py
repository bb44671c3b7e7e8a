"""The pages of the site: the Markdown files of the repository, in another folder, with links adapted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]

_OF_ROOT = {"README.md": "overview.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"} | {
    "SECURITY.md": "security.md"
}
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def page_names() -> dict[str, str]:
    """Return the path of each page in the site, by its path in the repository."""
    docs = {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md")}
    return _OF_ROOT | {
        source: "index.md" if target.as_posix() == "README.md" else target.as_posix() for source, target in docs.items()
    }


def write_pages(folder: Path) -> list[str]:
    """Write all pages into a folder. Returns: their paths, in order."""
    names = page_names()
    for source, target in names.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(adapted((ROOT / source).read_text(encoding="utf-8"), source, names), encoding="utf-8")
    for data in (*ROOT.glob("docs/**/*.json"), *ROOT.glob("docs/**/*.jsonl")):
        path = folder / data.relative_to(ROOT / "docs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.read_bytes())
    return sorted(names.values())


def adapted(page: str, source: str, names: Mapping[str, str]) -> str:
    """Return a page with links to the pages of the site. A link to a file that is no page becomes its text.

    Args:
        page: the Markdown text.
        source: its path in the repository.
        names: from :func:`page_names`.
    """
    fences = [match.span() for match in _FENCE.finditer(page)]

    def replaced(match: re.Match[str]) -> str:
        if any(start <= match.start() < end for start, end in fences):
            return match[0]
        target, hash_, heading = match["target"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = os.path.normpath(PurePosixPath(source).parent / target)
        if path in names:
            here = PurePosixPath(names[source]).parent
            return f"[{match['text']}]({os.path.relpath(names[path], here)}{hash_}{heading})"
        if path.startswith("docs/") and (ROOT / path).is_file():
            return match[0]
        return match["text"]

    return _LINK.sub(replaced, page)
