"""The pages of the documentation site: links between them, joined layers, and the check of a built site."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.site.links import dangling_links
from tools.site.models import runs
from tools.site.pages import adapted, page_names

import layerzoo
from layerzoo.spec import Layer

NAMES = page_names()


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "[video](docs/video.md#frames)", "[video](video.md#frames)"),
        ("docs/README.md", "[start](../README.md)", "[start](overview.md)"),
        ("docs/how-to/write-a-plugin.md", "[safe](../../SECURITY.md)", "[safe](../security.md)"),
        ("docs/README.md", "[schema](reference/json.schema.json)", "[schema](reference/json.schema.json)"),
        ("README.md", "[demo](examples/demo.py)", "demo"),
        ("README.md", "[here](#top), [pip](https://pypi.org)", "[here](#top), [pip](https://pypi.org)"),
        ("README.md", "```text\n[a](docs/video.md)\n```", "```text\n[a](docs/video.md)\n```"),
    ],
)
def test_links_lead_to_the_pages_of_the_site(source: str, link: str, expected: str) -> None:
    assert adapted(link, source, NAMES) == expected


def test_consecutive_layers_of_one_shape_are_one_row() -> None:
    layers = [
        Layer(name=name, module=name, shape=shape)
        for name, shape in (("stem", (8,)), ("block.0", (4,)), ("block.1", (4,)))
    ]
    layers += [Layer(name=name, module=name, shape=(2,)) for name in ("block.2", "norm")]
    assert [(name, layer.name) for name, layer in runs(layers)] == [
        ("stem", "stem"),
        ("block.{0..1}", "block.1"),
        ("block.2", "block.2"),
        ("norm", "norm"),
    ]
    spec = layerzoo.model("starter/minilm-l6")
    assert [name for name, _ in runs(spec.layers)] == ["stem", "block.{0..5}", "pooled"]


def test_a_wrong_link_of_a_built_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="#gone"></a><a href="b.html#x"></a><a href="c.html"></a>'
        '<a href="https://pypi.org"></a><script src="https://cdn.example/x.js"></script>',
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text('<p id="x"></p>', encoding="utf-8")
    assert dangling_links(tmp_path) == ["a.html: #gone", "a.html: c.html", "a.html: https://cdn.example/x.js"]
