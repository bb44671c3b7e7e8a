"""The result of compiling a registry file: its head, and the models as rows with their facets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.layers import select
from layerzoo.pooling import TemporalChoice, parse_temporal_pool, width
from layerzoo.registry.format.diagnostics import Code, Diagnostic, Position
from layerzoo.registry.format.source import RegistrySource
from layerzoo.spec import TAGS, Default, Layer, layer_from_dict

_UNSAID = Default()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """The values by which models are filtered and sorted; None if a value is not declared."""

    modality: str
    builder: str | None = None
    license: str | None = None
    params: int | None = None
    size_px: tuple[int, int] | None = None
    """Height and width of the images or frames that the network receives, in pixels."""
    rate_hz: int | None = None
    """Sample rate of the audio that the network receives, in Hz."""
    width: int | None = None
    """Number of features of a sample at the default layer and pooling."""
    tasks: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    has_weights: bool = True
    """False only for an architecture without a checkpoint, which ranks below models with one."""


def facets_of(model: Mapping[str, Any]) -> Facets:
    """Return the facets of a model in the form of ``ModelSpec.to_dict``, including what it inherits."""
    preprocess = model.get("preprocess", {})
    return Facets(
        modality=model["modality"],
        builder=model.get("builder"),
        license=model.get("license"),
        params=model.get("params"),
        size_px=_pair(preprocess.get("image", preprocess).get("size_px")),
        rate_hz=preprocess.get("sample_rate_hz"),
        width=_width(model.get("layers", ()), model.get("default", {}), _temporal(preprocess)),
        **_tags(model),
        has_weights="weights" in model,
    )


def published_facets(row: Mapping[str, Any]) -> Facets:
    """Return the facets of a line of ``published.jsonl``."""
    values = {facet.name: row[facet.name] for facet in fields(Facets) if facet.name in row}
    return Facets(**{**values, "size_px": _pair(row.get("size_px")), **_tags(row)})


def _tags(model: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(model.get(name, ())) for name in TAGS}


def _pair(sides: Sequence[int] | None) -> tuple[int, int] | None:
    return (sides[0], sides[1]) if sides else None


def _width(
    layers: Sequence[Mapping[str, Any]], default: Mapping[str, str], temporal: TemporalChoice | None
) -> int | None:
    layer = _layer_of_selector(layers, default.get("layer", _UNSAID.layer))
    return None if layer is None else width(default.get("pool", _UNSAID.pool), layer, temporal)


def _temporal(preprocess: Mapping[str, Any]) -> TemporalChoice | None:
    """Return the pooling of the frames of a video, which is part of every sample; None for one that is not declared."""
    is_sequence = preprocess.get("kind") == "video" and not preprocess.get("joint")
    pooling = preprocess.get("temporal_pool")
    return parse_temporal_pool(pooling) if is_sequence and pooling else None


def _layer_of_selector(layers: Sequence[Mapping[str, Any]], selector: str) -> Layer | None:
    """Return the layer that a selector selects; None if it selects several, or only a trace can tell."""
    for layer in layers:  # constructing all layers takes as long as the rest of the compilation
        if layer["name"] == selector:
            return layer_from_dict(layer)
    try:
        selected = select([layer_from_dict(layer) for layer in layers], selector, model="")
    except (LayerError, UnknownLayerError):
        return None
    return selected[0] if len(selected) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The content of a registry file except its models. All values can be represented as JSON."""

    state: str = "ok"
    """``ok``, ``invalid`` (nothing of it can be used) or ``unsupported`` (it requires another version of layerzoo)."""
    cause: str | None = None
    builders: list[str] = field(default_factory=list)
    catalogue: str | None = None
    """Absolute path of its catalogue."""
    hub: str | None = None
    """The builder of repositories of the hub."""
    frames: str | None = None
    """The builder of image models over the frames of a video."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Full id by alias."""
    disabled: list[str] = field(default_factory=list)
    """Ids, or ``namespace/*``."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Id by modality."""
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    """``package``, ``summary``, ``builders`` and ``hub`` by namespace."""
    sha256: str | None = None
    """The digest of the file when it was read."""
    unreadable: str | None = None
    """Why the file is not a registry file at all: a pipe, a folder, not text, too large."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A file's head, its models, and its diagnostics by position."""

    head: Head
    rows: Iterable[dict[str, Any] | Diagnostic]


def diagnostic_at(
    source: RegistrySource,
    position: Position,
    code: Code,
    message: str,
    nearest: tuple[str, ...] = (),
    model: str | None = None,
) -> Diagnostic:
    """Return a diagnostic at a position of a file."""
    return Diagnostic.at(position, path=source.path, code=code, message=message, nearest=nearest, model=model)
