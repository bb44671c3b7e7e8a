"""Check the links of a built site: every target exists, with its anchor, and nothing is loaded from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {name for name in (given.get("id"), given.get("name")) if name}
        if tag == "a" and given.get("href"):
            self.links.add(str(given["href"]))
        if tag in ("img", "script", "iframe") and given.get("src"):
            self.loaded.add(str(given["src"]))
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon") and given.get("href"):
            self.loaded.add(str(given["href"]))


def dangling_links(site: Path) -> list[str]:
    """Return each wrong link of a site, as ``PAGE: TARGET``.

    Args:
        site: the folder of the site.
    """
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site)}: {target}"
        for path, page in pages.items()
        if path.name != "404.html"  # its links start at the address of the site
        for target in sorted(page.links | page.loaded)
        if not _exists(path, target, pages, is_loaded=target in page.loaded)
    ]


def _exists(path: Path, target: str, pages: dict[Path, _Page], *, is_loaded: bool) -> bool:
    url = urlsplit(target)
    if url.scheme == "data":
        return True
    if url.scheme or url.netloc:
        return not is_loaded
    found = (path.parent / unquote(url.path)).resolve() if url.path else path
    if found.is_dir():
        found = found / "index.html"
    if not found.is_file():
        return False
    return not url.fragment or found not in pages or unquote(url.fragment) in pages[found].anchors | {"__top"}
