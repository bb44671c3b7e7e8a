"""What a model takes over from the model it is built on. All in plain form, as ``ModelSpec.to_dict`` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layerzoo.spec import KINDS

_TAKEN_WHOLE = ("builder", "weights", "layers", "license", "params", "flops")
_TAKEN_BY_KEY = ("args", "default")
_PROCESSOR = ("processor", "backend", "settings", "variable_size", "refused")
"""The keys of an image's preprocess that say which processor of a library does it."""


def inherit(model: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The model, with what it leaves unsaid as its base says it.

    ``args``, ``default`` and ``preprocess`` are taken over key by key, so that a model may differ in one of them. The
    ``image`` of a video model's preprocess is what an image model's preprocess is. A model that declares values of its
    own for images gets these, and not the processor of the base's library.
    """
    whole = dict(model)
    for key in _TAKEN_WHOLE:
        if key in base:
            whole.setdefault(key, base[key])
    if "layers" not in model and "traced_with" in base:
        whole["traced_with"] = base["traced_with"]
    for key in _TAKEN_BY_KEY:
        if key in base:
            whole[key] = {**base[key], **whole.get(key, {})}
    if "preprocess" in base:
        preprocess = _preprocess(model.get("preprocess"), base["preprocess"])
        if preprocess["kind"] == KINDS[model["modality"]]:
            whole["preprocess"] = preprocess
    return whole


def _preprocess(own: Mapping[str, Any] | None, base: Mapping[str, Any]) -> dict[str, Any]:
    if own is None:
        return dict(base)
    if own["kind"] == "video" and base["kind"] == "image":
        return {**own, "image": _preprocess(own.get("image"), base)}
    if own["kind"] != base["kind"]:
        return dict(own)
    merged = {**base, **own}
    if own["kind"] == "image" and own.keys() > {"kind"} and "processor" not in own:
        merged = {key: value for key, value in merged.items() if key not in _PROCESSOR}
    if "image" in own and "image" in base:
        merged["image"] = _preprocess(own["image"], base["image"])
    return merged
