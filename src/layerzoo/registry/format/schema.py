"""Check a registry file, report all mistakes at once, and convert models to serialized ModelSpecs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from layerzoo.environment import environment
from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.layers import expand, parse_address, select
from layerzoo.registry.format.document import Loc
from layerzoo.registry.format.mistakes import Mistake, explain, shorten, show
from layerzoo.spec import KINDS, PREPROCESS_CLASSES, TAGS, Layer

_SWITCH = "PYDANTIC_DISABLE_PLUGINS"


@contextmanager
def pydantic_alone() -> Iterator[None]:
    """Define pydantic models without pydantic's plugins.

    To find them, pydantic parses the entry points of all distributions, so that one damaged file would stop it; and it
    imports them, which browsing must not do.
    """
    with environment(_SWITCH, "__all__"):
        yield


with pydantic_alone():
    from layerzoo.registry.format.forms import (
        MODEL_FORMS,
        CatalogueHeadForm,
        FormT,
        HeadForm,
        LayerForm,
        ModelForm,
        WeightsForm,
    )

FORMAT = 1
"""The version of the format that this layerzoo reads."""
MAX_LAYERS = 20_000

_KEPT = {"summary", "license", "builder", "args", "params", "flops", "base", "metrics", "training", "unusable", *TAGS}

_LAYER = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")
_MODULE = re.compile(r"|[^\s.#<\[\]{}]+(\.[^\s.#<\[\]{}]+)*")
_SELECTORS = {"last", "final", "penultimate"}
NEEDED: dict[str, list[str]] = {
    kind: [field.name for field in fields(preprocess) if field.default is MISSING and field.default_factory is MISSING]
    for kind, preprocess in PREPROCESS_CLASSES.items()
}
"""The required keys of a preprocess, by its kind: those without a default value."""
NEEDED["video"].append("image")  # only a plugin may leave the preprocessing of frames to its library


def check_head(data: Any) -> tuple[HeadForm | None, list[Mistake]]:
    """Return the valid parts of a file, except its models, and all mistakes in the other parts.

    A mistake removes the smallest part that contains it: an entry of a section, a section, or an unknown key. None is
    returned if the whole file is unusable: it is not a mapping, or ``layerzoo:`` or ``requires:`` is invalid.

    data: the parsed YAML of the file.
    """
    if not isinstance(data, Mapping):
        fault = "the file says nothing" if data is None else f"a registry file is a mapping, not {show(data)}"
        return None, [Mistake((), "wrong-value", f"{fault}; it begins with `layerzoo: {FORMAT}`")]
    return _checked(HeadForm, data, (("layerzoo",), ("requires",)))


def check_catalogue_head(data: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[Mistake]]:
    """Return the head of a generated catalogue; None and all mistakes if it is unusable."""
    version = data["layerzoo"]
    if isinstance(version, int) and version != FORMAT:  # reported before its unknown keys
        message = f"this is version {version} of the format, and this layerzoo reads {FORMAT}"
        return None, [Mistake(("layerzoo",), "unsupported", f"{message}. Next: pip install -U layerzoo")]
    form, mistakes = _validated(CatalogueHeadForm, data)
    if form is None:
        return None, mistakes
    mistakes = list(_mistakes_in_common(form.common or {}))
    return (None, mistakes) if mistakes else (form.model_dump(exclude_unset=True), [])


def _mistakes_in_common(common: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the mistakes that all models of a catalogue share. Missing keys are not mistakes: its lines have them."""
    if not common:
        return
    _, mistakes = check_model("common", common, Path())
    yield from (replace(mistake, loc=("common", *mistake.loc)) for mistake in mistakes if mistake.code != "missing-key")


def _checked(kind: type[FormT], data: Mapping[str, Any], vital: Sequence[Loc]) -> tuple[FormT | None, list[Mistake]]:
    """Validate a form, removing invalid parts until it is valid. Return it with all mistakes.

    vital: the keys without which the others have no meaning. If one is invalid or missing, the form is None.
    """
    mistakes: list[Mistake] = []
    while True:
        form, new_mistakes = _validated(kind, data)
        mistakes += [mistake for mistake in new_mistakes if not _is_consequence(mistake, mistakes)]
        if form is not None or any(mistake.loc[:1] in ((), *vital) for mistake in new_mistakes):
            return form, mistakes
        data = without(data, [mistake.loc for mistake in new_mistakes])


def _is_consequence(mistake: Mistake, earlier: Sequence[Mistake]) -> bool:
    """Return whether a key is missing only because its invalid value, already reported, was removed."""
    if mistake.lacks is None:
        return False
    key = (*mistake.loc, mistake.lacks)
    return any(mistake.loc[: len(key)] == key for mistake in earlier)


def without(data: Mapping[str, Any], locs: Iterable[Loc]) -> dict[str, Any]:
    """Return data without the values at some locations: a key, or an entry of a key's mapping or list."""
    remaining = dict(data)
    entries: dict[str, set[str | int]] = {}
    for section, *entry in locs:
        if entry:
            entries.setdefault(str(section), set()).add(entry[0])
        else:
            remaining.pop(str(section), None)
    for section_name in entries.keys() & remaining.keys():
        section, wrong = remaining[section_name], entries[section_name]
        if isinstance(section, Mapping):
            remaining[section_name] = {key: value for key, value in section.items() if key not in wrong}
        elif isinstance(section, list):
            remaining[section_name] = [value for at, value in enumerate(section) if at not in wrong]
        else:  # a short form
            del remaining[section_name]
    return remaining


def check_model(id: str, data: Any, folder: Path) -> tuple[dict[str, Any] | None, list[Mistake]]:
    """Return a model as ``ModelSpec.from_dict`` reads it, without inherited values; None and all mistakes if invalid.

    id: the full id. data: the parsed YAML of the model. folder: the folder at which relative ``file:`` paths start.
    """
    if not isinstance(data, Mapping):
        message = f"a model is a mapping that begins with `modality:`, not {show(data)}"
        return None, [Mistake((), "wrong-value", message)]
    form, mistakes = _checked(MODEL_FORMS.get(str(data.get("modality")), ModelForm), data, (("modality",),))
    mistakes += _missing(data)
    if form is None:
        return None, mistakes
    model = _serialized(id, form, folder, mistakes)
    return (None, mistakes) if mistakes else (model, [])


def _validated(form: type[FormT], data: Any) -> tuple[FormT | None, list[Mistake]]:
    try:
        return form.model_validate(data), []
    except ValidationError as validation_error:
        mistakes = [explain(form, dict(error)) for error in validation_error.errors(include_url=False)]
        return None, list(dict.fromkeys(mistakes))


def _serialized(id: str, form: ModelForm, folder: Path, mistakes: list[Mistake]) -> dict[str, Any]:
    """Serialize a model as ``ModelSpec.to_dict`` does. Mistakes are added to the list."""
    model: dict[str, Any] = {"id": id, "modality": form.modality}
    model |= form.model_dump(include=_KEPT, exclude_unset=True)
    layers = list(_layers(form.layers or {}, model.get("flops"), mistakes))
    if form.preprocess is not None:
        model["preprocess"] = _preprocess_fields(form.preprocess.model_dump(exclude_unset=True), KINDS[form.modality])
    if layers:
        model["layers"] = layers
    if form.default is not None:
        model["default"] = form.default.model_dump(exclude_unset=True)
        if not any(mistake.loc[:1] == ("layers",) for mistake in mistakes):
            mistakes += _misplaced_default(id, model["default"].get("layer"), layers)
    if form.weights is not None:
        model["weights"] = _weights_fields(form.weights, folder, mistakes)
    return model


def _missing(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """Report missing keys that a model without a base requires."""
    if "base" in data:
        return
    if "builder" not in data:
        yield Mistake((), "missing-key", "the key 'builder' is missing: it says who makes the network", on_key=True)
    if (kind := KINDS.get(str(data.get("modality")))) and "preprocess" in data:
        yield from _missing_of(data["preprocess"], kind, ("preprocess",))


def _missing_of(preprocess: Any, kind: str, loc: Loc) -> Iterator[Mistake]:
    if not isinstance(preprocess, Mapping):
        return
    for name in NEEDED[kind]:
        if name not in preprocess:
            yield Mistake(loc, "missing-key", f"the key '{name}' is missing", on_key=True)
        elif name == "image":
            yield from _missing_of(preprocess["image"], "image", (*loc, "image"))


def _layers(
    forms: Mapping[str, LayerForm], total_flops: int | None, mistakes: list[Mistake]
) -> Iterator[dict[str, Any]]:
    """Yield every declared layer, with ranges expanded."""
    names: set[str] = set()
    for declared, form in forms.items():
        loc: Loc = ("layers", declared)
        facts = form.model_dump(exclude_unset=True, exclude={"module"})
        try:
            pairs = _pairs(declared, form.module)
        except LayerError as error:
            mistakes.append(Mistake(loc, "wrong-value", str(error), on_key=True))
            continue
        if len(names) + len(pairs) > MAX_LAYERS:
            mistakes.append(Mistake(loc, "wrong-value", f"more than {MAX_LAYERS} layers", on_key=True))
            return
        for position, (name, path) in enumerate(pairs):
            if name in names:
                mistakes.append(Mistake(loc, "duplicate", f"the layer '{name}' is declared twice", on_key=True))
                break
            if problem := _invalid_name(name):
                mistakes.append(Mistake(loc, "wrong-value", problem, on_key=True))
                break
            try:
                module, parts = _address(path)
            except LayerError as error:
                mistakes.append(Mistake(loc, "wrong-value", str(error)))
                break
            if twice := next((key for key, part in parts.items() if facts.get(key, part) != part), None):
                message = f"the address '{shorten(path)}' says another `{twice}` than the key `{twice}:`"
                mistakes.append(Mistake(loc, "wrong-value", message))
                break
            names.add(name)
            yield {"name": name, "module": module, **_at(position, facts, total_flops), **parts}


def _at(position: int, facts: Mapping[str, Any], total_flops: int | None) -> dict[str, Any]:
    """Return the facts of one layer of a range. Its depth follows from the FLOPs.

    position: that of the layer in the range, from 0. facts: those of the whole range. total_flops: of the network.
    """
    of_layer = dict(facts)
    for cost in ("params", "flops"):
        if isinstance(costs := facts.get(cost), tuple):
            of_layer[cost] = costs[0] + position * costs[1]
    if total_flops and "flops" in of_layer:
        of_layer.setdefault("depth", round(min(of_layer["flops"] / total_flops, 1.0), 4))
    return of_layer


# The models of a catalogue share a few declarations. Expanding these again would take a third of its compile time.
@lru_cache(maxsize=32)
def _pairs(declared: str, module: str) -> tuple[tuple[str, str], ...]:
    """Expand a declaration to names and paths, up to one more than MAX_LAYERS."""
    return tuple(islice(expand(declared, module), MAX_LAYERS + 1))


@lru_cache(maxsize=4096)
def _address(address: str) -> tuple[str, Mapping[str, Any]]:
    """Parse an address: return the path of the module, and the keys of a layer that the address sets.

    Raises: LayerError.
    """
    try:
        layer = parse_address(address)
    except LayerError:
        layer = None
    if layer is None or not _MODULE.fullmatch(layer.module):
        raise LayerError(
            f"'{shorten(address)}' is not a module: a dotted path, or . for the network itself; then, each optional, "
            "#CALL, < for its input and [OUTPUT]"
        )
    parts = {"call": layer.call, "output": layer.output, "at": None if layer.at == "output" else layer.at}
    return layer.module, {key: value for key, value in parts.items() if value is not None}


@lru_cache(maxsize=4096)
def _invalid_name(name: str) -> str | None:
    if not _LAYER.fullmatch(name):
        return f"'{shorten(name)}' is not a layer's name: words and numbers between dots, as in stage.1.block.0"
    if name in _SELECTORS:
        return f"'{name}' is a selector, which is not a valid name for a layer"
    return None


def _misplaced_default(id: str, layer: str | None, layers: list[dict[str, Any]]) -> list[Mistake]:
    """Report a default layer that is not declared. Selectors that only a trace can resolve are accepted."""
    if layer is None or not layers or any(declared["name"] == layer for declared in layers):
        return []
    try:
        select([Layer(name=declared["name"], module=declared["module"]) for declared in layers], layer, model=id)
    except UnknownLayerError as error:
        close = f"Nearest: {', '.join(error.nearest)}" if error.nearest else "See its `layers:`"
        message = f"there is no layer '{shorten(layer)}'. {close}"
        return [Mistake(("default", "layer"), "reference", message, nearest=tuple(error.nearest))]
    except LayerError:
        return []
    return []


def _preprocess_fields(values: dict[str, Any], kind: str) -> dict[str, Any]:
    if "image" in values:
        values["image"] = _preprocess_fields(values["image"], "image")
    return {"kind": kind, **values}


def _weights_fields(form: WeightsForm, folder: Path, mistakes: list[Mistake]) -> dict[str, Any]:
    weights: dict[str, Any] = {"source": _absolute(form.source, folder)}
    if form.sha256:
        weights["sha256"] = [[name or form.file, digest] for name, digest in form.sha256.items()]
    if form.sha256_prefix:
        weights["sha256_prefix"] = form.sha256_prefix
    if form.lock:
        weights["lock"] = True
    if form.files:
        weights["files"] = [list(pair) for pair in form.files.items()]
    if form.keys:
        weights["keys"] = list(_renamed_keys(form.keys, mistakes))
    return weights


def _absolute(source: str, folder: Path) -> str:
    """Resolve a ``file:`` path relative to the folder of the declaring file. A trailing slash is kept."""
    if not source.startswith("file:"):
        return source
    path = source.removeprefix("file:")
    path = path.removeprefix("//") if path.startswith("///") else path
    slash = "/" if path.endswith("/") and path != "/" else ""
    return f"file:{os.path.abspath(folder / Path(path).expanduser())}{slash}"  # noqa: PTH100 - removes `..`, keeps links


def _renamed_keys(keys: Mapping[str, str], mistakes: list[Mistake]) -> Iterator[list[str]]:
    count = 0
    for old, new in keys.items():
        try:
            for pair in islice(expand(old, new), MAX_LAYERS - count):
                count += 1
                yield list(pair)
        except LayerError as error:
            mistakes.append(Mistake(("weights", "keys", old), "wrong-value", str(error), on_key=True))
