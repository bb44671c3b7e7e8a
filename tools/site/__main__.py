"""Write the site: `python -m tools.site`. Exits with 1 if a link of it is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.site.links import dangling_links
from tools.site.models import write_models
from tools.site.pages import ROOT, write_pages

SOURCE = ROOT / "build/site"
"""The folder of the Markdown pages and of the configuration."""
SITE = ROOT / "site"


def build() -> int:
    """Build the site. Returns: the number of wrong links."""
    start = time.monotonic()
    for folder in (SOURCE, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    docs = SOURCE / "docs"
    pages = write_pages(docs)
    models = write_models(docs)
    script = docs / "assets/javascripts/iframe-worker.js"
    script.parent.mkdir(parents=True)
    shutil.copyfile(Path(__file__).with_name(script.name), script)
    configuration = (Path(__file__).with_name("zensical.toml")).read_text(encoding="utf-8")
    navigation = json.dumps(_navigation(pages, models)).replace('": ', '" = ')
    (SOURCE / "zensical.toml").write_text(configuration.replace('"NAVIGATION"', navigation), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=SOURCE, check=False)
    if done.returncode:
        return done.returncode
    (SOURCE / "site").rename(SITE)
    wrong = dangling_links(SITE)
    count = len(list(SITE.rglob("*.html")))
    result = f"{count:,} pages in {time.monotonic() - start:.0f} s, {len(wrong)} wrong links: {SITE}"
    sys.stdout.writelines(f"{line}\n" for line in [*wrong, result])
    return len(wrong)


def _navigation(pages: list[str], models: list[str]) -> list[dict[str, object]]:
    """Return the tree of the navigation: sections, and pages whose titles are their headings."""

    def of(folder: str) -> list[str]:
        return [page for page in pages if page.startswith(f"{folder}/")]

    top = [page for page in pages if "/" not in page and page not in ("index.md", "overview.md")]
    about = ["architecture.md", "changelog.md", "contributing.md", "security.md", "torture.md"]
    return [
        {"Start": ["index.md", "overview.md"]},
        {"Use": [*of("how-to"), *(page for page in top if page not in about and page not in _TERMS)]},
        {"Write a plugin": ["plugins/tutorial.md", *(page for page in of("plugins") if page != "plugins/tutorial.md")]},
        {"Models": models},
        {"Reference": [*of("reference"), *_TERMS, *of("certified")]},
        {"About": [*about, *of("decisions")]},
    ]


_TERMS = ["glossary.md", "layers.md", "poolings.md"]

if __name__ == "__main__":
    sys.exit(1 if build() else 0)
