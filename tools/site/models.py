"""Pages with all models, and with the layers of each: one page for each plugin and for each family of networks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from layerzoo.registry import registry
from layerzoo.spec import Layer, ModelSpec

_FAMILY = re.compile(r"[a-z]+", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")
_NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
"""The id of each model is found on the page of its plugin."""


def write_models(folder: Path) -> list[str]:
    """Write the pages of models into a folder. Returns: the paths of those that belong into the navigation."""
    by_plugin: dict[str, list[ModelSpec]] = defaultdict(list)
    for spec in registry().models():
        by_plugin[spec.namespace].append(spec)
    (folder / "models").mkdir(parents=True)
    for namespace, specs in by_plugin.items():
        (folder / f"models/{namespace}.md").write_text("\n".join(_plugin_page(namespace, specs)), encoding="utf-8")
        families: dict[str, list[ModelSpec]] = defaultdict(list)
        for spec in specs:
            families[_family(spec)].append(spec)
        (folder / "models" / namespace).mkdir()
        for family, members in families.items():
            page = "\n".join(_family_page(namespace, family, members))
            (folder / f"models/{namespace}/{family}.md").write_text(page, encoding="utf-8")
    index = "\n".join(_index_page(by_plugin))
    (folder / "models/index.md").write_text(index, encoding="utf-8")
    return ["models/index.md", *(f"models/{namespace}.md" for namespace in sorted(by_plugin))]


def _index_page(by_plugin: dict[str, list[ModelSpec]]) -> Iterator[str]:
    yield "# Models\n"
    yield f"All {sum(map(len, by_plugin.values())):,} models of the plugins in this repository.\n"
    yield "| plugin | models |\n|---|---|"
    for namespace, specs in sorted(by_plugin.items()):
        yield f"| [{namespace}]({namespace}.md) | {len(specs):,} |"


def _plugin_page(namespace: str, specs: Sequence[ModelSpec]) -> Iterator[str]:
    yield f"# Models of {namespace}\n"
    yield "| model | modality | parameters | license | summary |\n|---|---|---|---|---|"
    for spec in specs:
        link = f"[{spec.id}]({namespace}/{_family(spec)}.md#{_anchor(spec)})"
        params = "" if spec.params is None else f"{spec.params:,}"
        yield f"| {link} | {spec.modality} | {params} | {spec.license or ''} | {_cell(spec.summary or '')} |"


def _family_page(namespace: str, family: str, specs: Sequence[ModelSpec]) -> Iterator[str]:
    yield f"{_NOT_SEARCHED}# Layers of {namespace}/{family}…\n"
    yield "Shapes and costs are those at the input size of the model. A range is several layers.\n"
    for spec in specs:
        yield f"## {spec.id} {{#{_anchor(spec)}}}\n"
        yield f"{_cell(spec.summary or spec.modality)}\n"
        if not spec.layers:
            yield f"The layers are not declared: `zoo layers --trace {spec.id}`.\n"
            continue
        yield "| layer | axes | shape | parameters | FLOPs |\n|---|---|---|---|---|"
        yield from map(_row, runs(spec.layers))
        yield ""


def runs(layers: Sequence[Layer]) -> list[tuple[str, Layer]]:
    """Join consecutive layers that differ only in their number.

    Returns: the name of each run, such as ``block.{0..11}``, and its last layer.
    """
    joined: list[tuple[str, str, Layer]] = []
    for layer in layers:
        first = joined[-1][1] if joined else None
        if first is not None and _pattern(joined[-1][2]) == _pattern(layer) and _LAST_NUMBER.search(layer.name):
            low, high = (_LAST_NUMBER.findall(name)[-1] for name in (first, layer.name))
            joined[-1] = (_LAST_NUMBER.sub(f"{{{low}..{high}}}", layer.name), first, layer)
        else:
            joined.append((layer.name, layer.name, layer))
    return [(name, layer) for name, _, layer in joined]


def _pattern(layer: Layer) -> object:
    """Return what the layers of a run have in common."""
    return _LAST_NUMBER.sub("#", layer.name), layer.axes, layer.shape, layer.prefix_tokens


def _row(run: tuple[str, Layer]) -> str:
    name, layer = run
    axes = " ".join(axis for axis in layer.axes or () if axis != "batch")
    shape = " × ".join(map(str, layer.shape or ()))
    costs = [f"{value:,}" if isinstance(value, int) else "" for value in (layer.params, layer.flops)]
    return f"| `{name}` | {axes} | {shape} | {' | '.join(costs)} |"


def _family(spec: ModelSpec) -> str:
    found = _FAMILY.search(spec.id.split("/", 1)[1])
    return found[0].lower() if found else "other"


def _anchor(spec: ModelSpec) -> str:
    return re.sub(r"[^a-z0-9]+", "-", spec.id.lower()).strip("-")


def _cell(text: str) -> str:
    return re.sub(r"([|<>*_`\[\]])", r"\\\1", text)
