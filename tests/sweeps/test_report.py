"""The report of a sweep is one page that loads nothing, and shows samples on hover."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import layerzoo

MODEL = "toy/next-word"
TEXTS = ["the cat", "cat drinks", "the dog", "dog eats", "cat", "dog", "cat eats", "the dog drinks"]
FOOD = ["milk", "meat", "milk meat", "meat meat", "the milk", "the meat", "milk the", "meat milk"]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = ["<b>animal</b>"] * 8 + ["food"] * 8
    found = layerzoo.sweep(MODEL, TEXTS + FOOD, labels, layers=["block.0", "head"], folds=3, repeats=1)
    target = tmp_path_factory.mktemp("sweep") / "out"
    found.save(target)
    return target


def test_it_is_saved_with_the_figure_and_all_numbers(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["sweep.html", "sweep.json", "sweep.png", "sweep.svg"]
    saved = json.loads((folder / "sweep.json").read_text())
    assert [row["layer"] for row in saved["rows"]] == ["block.0", "head"]
    assert saved["rows"][0]["command"].startswith("zoo extract INPUT --model toy/next-word --layer block.0")
    assert Image.open(folder / "sweep.png").size[0] > 800
    assert "accuracy" in (folder / "sweep.svg").read_text()


def test_the_page_refers_to_nothing_outside_and_escapes_labels(folder: Path) -> None:
    page = (folder / "sweep.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "@import" not in page
    assert "<b>animal" not in page
    assert page.count("<circle") == 16
    for part in ("Confusion matrix", "Similarity of the layers", "zoo extract", "he default layer, block.0 mean"):
        assert part in page


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize("width", [400, 1200])
def test_hover_works_in_a_browser_without_network_and_messages(folder: Path, tmp_path: Path, width: int) -> None:
    probe = """<script>
    const point = document.querySelectorAll("circle")[3];
    point.dispatchEvent(new PointerEvent("pointerenter"));
    const wide = document.documentElement.scrollWidth > innerWidth;
    document.title = JSON.stringify([tip.hidden, tip.textContent, wide]);
    </script></body>"""
    page = tmp_path / "page.html"
    page.write_text((folder / "sweep.html").read_text().replace("</body>", probe))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--window-size={width},900", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*)</title>", done.stdout)
    assert title is not None
    assert json.loads(title[1]) == [False, "dog eats<b>animal</b>".replace("<", "&lt;").replace(">", "&gt;"), False]
    assert "CONSOLE" not in done.stderr
