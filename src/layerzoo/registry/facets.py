"""What models are chosen and sorted by, read off a model's plain form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.layers import select
from layerzoo.pooling import width
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
