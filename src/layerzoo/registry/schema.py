"""Checks what an author wrote, all of it at once, and translates a model into the plain form of a ModelSpec."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.layers import expand, select
from layerzoo.registry.document import Loc
from layerzoo.registry.forms import (
    AudioModelForm,
    Form,
    HeadForm,
    LayerForm,
    ModelForm,
    TextModelForm,
    VideoModelForm,
    VisionModelForm,
    WeightsForm,
)
from layerzoo.registry.mistakes import Mistake, explain, shorten, show
from layerzoo.spec import Layer

FORMAT = 1
"""The version of the format that this layerzoo reads."""
MAX_LAYERS = 20_000

_LAYER = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")
_MODULE = re.compile(r"|[\w-]+(\.[\w-]+)*")
_SELECTORS = {"last", "penultimate"}
_KINDS: dict[str, str] = {"vision": "image", "audio": "audio", "text": "text", "video": "video"}
_MODEL_FORMS: dict[str, type[ModelForm]] = {
    "vision": VisionModelForm,
    "audio": AudioModelForm,
    "text": TextModelForm,
    "video": VideoModelForm,
}
_NEEDED: dict[str, tuple[str, ...]] = {
    "image": ("size_px", "resize", "mean", "std"),
    "audio": ("sample_rate_hz",),
    "text": ("max_tokens",),
    "video": ("frames", "image"),
}

FormT = TypeVar("FormT", bound=Form)


def check_head(data: Any) -> tuple[HeadForm | None, list[Mistake]]:
    """A file's form, or everything that is wrong with it but for its models."""
    if not isinstance(data, Mapping):
        return None, [Mistake((), "wrong-value", f"a registry file is a mapping that begins with `layerzoo: {FORMAT}`")]
    return _validated(HeadForm, data)


def check_model(id: str, data: Any, folder: Path) -> tuple[dict[str, Any] | None, list[Mistake]]:
    """The plain form of one model, as ``ModelSpec.from_dict`` reads it, or everything that is wrong with it.

    id: the full id. folder: where ``file:`` paths begin. What a ``base`` declares is not in it yet.
    """
    if not isinstance(data, Mapping):
        message = f"a model is a mapping that begins with `modality:`, not {show(data)}"
        return None, [Mistake((), "wrong-value", message)]
    form, mistakes = _validated(_MODEL_FORMS.get(str(data.get("modality")), ModelForm), data)
    mistakes += _missing(data)
    if form is None or mistakes:
        return None, mistakes
    plain, mistakes = _translated(id, form, folder)
    return (None, mistakes) if mistakes else (plain, [])


def _validated(form: type[FormT], data: Any) -> tuple[FormT | None, list[Mistake]]:
    try:
        return form.model_validate(data), []
    except ValidationError as found:
        mistakes = [explain(form, dict(error)) for error in found.errors(include_url=False)]
        return None, list(dict.fromkeys(mistakes))


def _translated(id: str, form: ModelForm, folder: Path) -> tuple[dict[str, Any], list[Mistake]]:
    mistakes: list[Mistake] = []
    layers = list(_layers(form.layers or {}, mistakes))
    plain: dict[str, Any] = {"id": id, "modality": form.modality}
    plain |= form.model_dump(include={"summary", "license", "builder", "args", "params", "base"}, exclude_unset=True)
    if form.preprocess is not None:
        plain["preprocess"] = _plain_preprocess(form.preprocess.model_dump(exclude_unset=True), _KINDS[form.modality])
    if layers:
        plain["layers"] = layers
    if form.default is not None:
        plain["default"] = form.default.model_dump(exclude_unset=True)
        mistakes += _misplaced_default(id, form.default.layer, layers)
    if form.weights is not None:
        plain["weights"] = _plain_weights(form.weights, folder, mistakes)
    return plain, mistakes


def _missing(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """Keys that must be there unless a base has them."""
    if "base" in data:
        return
    if "builder" not in data:
        yield Mistake((), "missing-key", "the key 'builder' is missing: it says who makes the network", on_key=True)
    if (kind := _KINDS.get(str(data.get("modality")))) and "preprocess" in data:
        yield from _missing_of(data["preprocess"], kind, ("preprocess",))


def _missing_of(preprocess: Any, kind: str, loc: Loc) -> Iterator[Mistake]:
    if not isinstance(preprocess, Mapping):
        return
    for name in _NEEDED[kind]:
        if name not in preprocess:
            yield Mistake(loc, "missing-key", f"the key '{name}' is missing", on_key=True)
        elif name == "image":
            yield from _missing_of(preprocess["image"], "image", (*loc, "image"))


def _layers(forms: Mapping[str, LayerForm], mistakes: list[Mistake]) -> Iterator[dict[str, Any]]:
    """Every declared layer, ranges written out."""
    seen: set[str] = set()
    for declared, form in forms.items():
        loc: Loc = ("layers", declared)
        facts = form.model_dump(exclude_unset=True, exclude={"module"})
        module = "" if form.module == "." else form.module
        try:
            pairs = list(islice(expand(declared, module), MAX_LAYERS + 1))
        except LayerError as error:
            mistakes.append(Mistake(loc, "wrong-value", str(error), on_key=True))
            continue
        if len(seen) + len(pairs) > MAX_LAYERS:
            mistakes.append(Mistake(loc, "wrong-value", f"more than {MAX_LAYERS} layers", on_key=True))
            return
        for name, path in pairs:
            if problem := _unfit_name(name, seen):
                mistakes.append(Mistake(loc, "wrong-value", problem, on_key=True))
                break
            if not _MODULE.fullmatch(path):
                message = f"'{shorten(path)}' is no module: a dotted path, or . for the network itself"
                mistakes.append(Mistake(loc, "wrong-value", message))
                break
            seen.add(name)
            yield {"name": name, "module": path, **facts}


def _unfit_name(name: str, seen: set[str]) -> str | None:
    if not _LAYER.fullmatch(name):
        return f"'{shorten(name)}' is not a layer's name: words and numbers between dots, as in stage.1.block.0"
    if name in _SELECTORS:
        return f"'{name}' is a selector, and no layer may be called so"
    return f"the layer '{name}' is declared twice" if name in seen else None


def _misplaced_default(id: str, layer: str | None, layers: list[dict[str, Any]]) -> list[Mistake]:
    """A default layer that the declared ones do not have. What only a trace can tell is not judged here."""
    if layer is None or not layers:
        return []
    try:
        select([Layer(name=each["name"], module=each["module"]) for each in layers], layer, model=id)
    except UnknownLayerError as error:
        close = f"Nearest: {', '.join(error.nearest)}" if error.nearest else "See its `layers:`"
        return [Mistake(("default", "layer"), "reference", f"there is no layer '{shorten(layer)}'. {close}")]
    except LayerError:
        return []
    return []


def _plain_preprocess(given: dict[str, Any], kind: str) -> dict[str, Any]:
    if "image" in given:
        given["image"] = _plain_preprocess(given["image"], "image")
    return {"kind": kind, **given}


def _plain_weights(form: WeightsForm, folder: Path, mistakes: list[Mistake]) -> dict[str, Any]:
    plain: dict[str, Any] = {"source": _absolute(form.source, folder)}
    if form.sha256:
        plain["sha256"] = [[name or form.file, digest] for name, digest in form.sha256.items()]
    if form.keys:
        plain["keys"] = list(_renamed_keys(form.keys, mistakes))
    return plain


def _absolute(source: str, folder: Path) -> str:
    """``file:`` paths begin at the folder of the file that declares them; a slash at the end stays."""
    if not source.startswith("file:"):
        return source
    path = source.removeprefix("file:")
    path = path.removeprefix("//") if path.startswith("///") else path
    slash = "/" if path.endswith("/") and path != "/" else ""
    return f"file:{os.path.abspath(folder / Path(path).expanduser())}{slash}"  # noqa: PTH100 - removes `..`, keeps links


def _renamed_keys(keys: Mapping[str, str], mistakes: list[Mistake]) -> Iterator[list[str]]:
    for old, new in keys.items():
        try:
            for pair in islice(expand(old, new), MAX_LAYERS):
                yield list(pair)
        except LayerError as error:
            mistakes.append(Mistake(("weights", "keys", old), "wrong-value", str(error), on_key=True))
