"""What models are chosen and sorted by, read off a model's plain form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.layers import select
from layerzoo.pooling import width
from layerzoo.registry.format.diagnostics import Code, Diagnostic, Position
from layerzoo.registry.format.source import RegistrySource
from layerzoo.spec import Default, Layer, layer_from_dict

_UNSAID = Default()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """A model in a few numbers and words. None: not declared."""

    modality: str
    builder: str | None = None
    license: str | None = None
    params: int | None = None
    size_px: tuple[int, int] | None = None
    """Height and width of the pictures or frames that the network receives."""
    rate_hz: int | None = None
    """Samples of sound a second."""
    width: int | None = None
    """How many values a sample has at the default layer and pooling."""


def facets_of(plain: Mapping[str, Any]) -> Facets:
    """The facets of a model, with what its base declares in it. plain: as ``ModelSpec.to_dict`` writes it."""
    preprocess = plain.get("preprocess", {})
    return Facets(
        modality=plain["modality"],
        builder=plain.get("builder"),
        license=plain.get("license"),
        params=plain.get("params"),
        size_px=_pair(preprocess.get("image", preprocess).get("size_px")),
        rate_hz=preprocess.get("sample_rate_hz"),
        width=_width(plain.get("layers", ()), plain.get("default", {})),
    )


def published_facets(plain: Mapping[str, Any]) -> Facets:
    """The facets of a line of ``published.jsonl``, where they stand by their names."""
    told = {each.name: plain[each.name] for each in fields(Facets) if each.name in plain}
    return Facets(**{**told, "size_px": _pair(plain.get("size_px"))})


def _pair(sides: Sequence[int] | None) -> tuple[int, int] | None:
    return (sides[0], sides[1]) if sides else None


def _width(layers: Sequence[Mapping[str, Any]], default: Mapping[str, str]) -> int | None:
    layer = _named(layers, default.get("layer", _UNSAID.layer))
    return None if layer is None else width(default.get("pool", _UNSAID.pool), layer)


def _named(layers: Sequence[Mapping[str, Any]], selector: str) -> Layer | None:
    """The one layer that a selector means; None where only a trace can tell, or several are meant."""
    for each in layers:  # making layers of all of them takes as long as the rest of compiling a model
        if each["name"] == selector:
            return layer_from_dict(each)
    try:
        found = select([layer_from_dict(each) for each in layers], selector, model="")
    except (LayerError, UnknownLayerError):
        return None
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a registry file says beside its models. Built of plain values, so that it travels as JSON."""

    state: str = "ok"
    """``ok``, ``invalid`` (nothing of it can be used) or ``unsupported`` (it wants another layerzoo)."""
    cause: str | None = None
    builders: list[str] = field(default_factory=list)
    catalogue: str | None = None
    """Absolute path of the catalogue beside it."""
    hub: str | None = None
    """The builder of every repository of the hub."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Full id by alias."""
    disabled: list[str] = field(default_factory=list)
    """Ids, or ``namespace/*``."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Id by modality."""
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    """``package``, ``summary``, ``builders`` and ``hub`` by namespace."""
    sha256: str | None = None
    """Of the file, as it was read."""
    unreadable: str | None = None
    """Why the file is no registry at all: a pipe, a folder, not text, too large."""


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
    """What is wrong at a place of a source."""
    return Diagnostic.at(position, path=source.path, code=code, message=message, nearest=nearest, model=model)
