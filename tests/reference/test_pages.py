"""docs/reference is up to date and reproducible, and every link in the documentation has a target."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools.reference.pages import FOLDER, PAGES
from tools.reference.source import ROOT

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "out of date. Next: make docs"


def test_the_folder_contains_only_the_generated_pages() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_pages_do_not_depend_on_the_terminal_or_the_hash_seed() -> None:
    program = (
        "import json; from tools.reference.pages import PAGES; print(json.dumps({n: t() for n, t in PAGES.items()}))"
    )
    other = {**os.environ, "PYTHONHASHSEED": "7", "COLUMNS": "31", "LC_ALL": "C", "TERM": "dumb"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=other, check=True, capture_output=True)
    assert json.loads(done.stdout) == {name: text() for name, text in PAGES.items()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_has_a_target(document: Path) -> None:
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert [target for target in links if not _exists(document, target)] == []


def _exists(document: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, heading = target.partition("#")
    path = document.parent / name if name else document
    return path.exists() and (not heading or heading in _headings(path))


def _headings(path: Path) -> set[str]:
    """Return the anchors of a page, as GitHub generates them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
