"""Open the built site in headless Chromium, from the file system: `python -m tools.site.check`.

On each of some pages, at two widths: no error in the console, no request to a server, nothing wider than the screen,
and text of a readable size. On the first page: the search finds a page, and its result opens it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from tools.site.__main__ import SITE

PAGES = (
    "index.html",
    "overview.html",
    "plugins/tutorial.html",
    "plugins/contract.html",
    "how-to/find-models.html",
    "reference/api.html",
    "reference/registry.html",
    "certified/timm.html",
    "models/timm.html",
    "models/timm/vit.html",
)
WIDTHS = (1280, 400)
QUERY, FOUND = "next-word network plugin tutorial", "plugins/tutorial.html"
_SIZE = "parseFloat(getComputedStyle(document.querySelector('.md-content p, .md-content td')).fontSize)"


def problems(site: Path) -> Iterator[str]:
    """Yield each problem of a site. site: its folder."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        yield "there is no Chromium. Next: apt-get install chromium"
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 800})
            seen: list[str] = []
            page.on(
                "console", lambda message, seen=seen: seen.append(message.text) if message.type == "error" else None
            )
            page.on("pageerror", lambda error, seen=seen: seen.append(str(error)))
            page.on("request", lambda request, seen=seen: seen.extend(_of_server(request.url)))
            for name in PAGES:
                page.goto((site / name).as_uri())
                page.wait_for_load_state("load")
                page.wait_for_timeout(300)
                yield from (f"{name} at {width} px: {text}" for text in [*seen, *_too_wide(page, width)])
                seen.clear()
            page.goto((site / PAGES[0]).as_uri())
            yield from (f"search at {width} px: {text}" for text in _search(page))
            yield from (f"search at {width} px: {text}" for text in seen)
            page.close()
        browser.close()


def _of_server(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:", "blob:", "about:")) else [f"requests {url}"]


def _too_wide(page: Page, width: int) -> list[str]:
    """Return the problems of a page that is scrolled sideways. Tables and code may have their own scroll bars."""
    wide = page.evaluate("document.scrollingElement.scrollWidth")
    size = page.evaluate(_SIZE)
    found = [f"is {wide} px wide"] if wide > width else []
    return found + ([f"text of {size} px"] if size < 12 else [])


def _search(page: Page) -> list[str]:
    """Search for a page, and open the first result."""
    page.keyboard.press("Control+k")
    page.wait_for_timeout(500)
    page.keyboard.type(QUERY)
    result = page.locator(f"a[href*='{FOUND}?h=']:visible").first
    try:
        result.wait_for(timeout=20_000)
        result.click(timeout=10_000)
        page.wait_for_url(f"**/{FOUND}*", timeout=10_000)
    except Exception as error:  # noqa: BLE001 - what the browser says is the finding
        return [f"'{QUERY}' does not find {FOUND}: {str(error).splitlines()[0]}"]
    return []


if __name__ == "__main__":
    found = list(problems(SITE))
    result = f"{len(PAGES)} pages at {' and '.join(map(str, WIDTHS))} px, {len(found)} problems"
    sys.stdout.writelines(f"{line}\n" for line in [*found, result])
    sys.exit(1 if found else 0)
