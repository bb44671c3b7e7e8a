"""One module builds the path of every store, and docs/stores.md lists them all."""

import importlib.util
import re
from pathlib import Path

import pytest

from layerzoo.paths import STORES, Store, branch_path, converted_dir, identified_folder, listings_folder

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "stores.md").read_text(encoding="utf-8")


def tables() -> list[list[list[str]]]:
    """Return the cells of each table of the page, without its header."""
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()[2:]] for block in blocks
    ]


def test_the_page_lists_every_store() -> None:
    expected = [[store.name, store.folder, f"`{store.pattern}`", f"`{store.owner}`"] for store in STORES]
    assert tables()[0] == expected


def test_the_page_says_when_each_entry_of_the_cache_becomes_invalid() -> None:
    assert [row[0] for row in tables()[1]] == [store.name for store in STORES if store.folder != "configuration"]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_the_owner_of_a_store_exists(store: Store) -> None:
    assert importlib.util.find_spec(store.owner) is not None


def test_no_other_module_builds_a_path_below_these_folders() -> None:
    builds = re.compile(r"cache_dir\(\) */|platformdirs|environ.*LAYERZOO_CACHE")
    modules = {path.name for path in (ROOT / "src").rglob("*.py") if builds.search(path.read_text(encoding="utf-8"))}
    assert modules == {"paths.py", "user_folders.py"}  # the second asks platformdirs for the folders


def test_the_paths_follow_the_patterns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path))
    assert converted_dir() == tmp_path / "converted"
    assert identified_folder("hf", "acme/vit") == tmp_path / "identified" / "hf" / "acme--vit"
    assert branch_path(listings_folder("acme/vit"), "a/b") == tmp_path / "repositories" / "acme--vit" / "refs" / "a%2Fb"
