"""Resolve models: follow aliases and inherit from bases."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from layerzoo.errors import LayerzooError, RegistryError, UnknownModelError
from layerzoo.registry.format.source import RegistrySource
from layerzoo.registry.index.reader import MAX_ALIASES
from layerzoo.registry.index.visibility import Declaration
from layerzoo.registry.installed.plugin import USER_NAMESPACE
from layerzoo.spec import KINDS, TAGS, MissingFieldsError, ModelSpec

if TYPE_CHECKING:
    from layerzoo.registry.index.frame_models import FrameModel, FrameModels
    from layerzoo.registry.index.reader import IndexReader
    from layerzoo.registry.index.repositories import Repositories
    from layerzoo.registry.index.unknown import Unknown

Bases = dict[str, dict[str, Any] | LayerzooError]
"""The resolved bases by the name under which models refer to them, or the error if a base cannot be used."""

_KEPT_BASES = 1000
MAX_BASES = 100
"""The maximal length of a chain of bases."""


class Specs:
    """Finds declarations, follows aliases, and resolves inheritance."""

    def __init__(
        self,
        reader: IndexReader,
        unknown: Callable[[], Unknown],
        repositories: Callable[[], Repositories],
        frame_models: Callable[[], FrameModels],
    ) -> None:
        """unknown, repositories, frame_models: return these; called only for a name that no file declares."""
        self._reader = reader
        self._unknown = unknown
        self._repositories = repositories
        self._frame_models = frame_models

    def find(self, model: str) -> Declaration | None:
        """Return the declaration of a full id; None if there is none."""
        return self._reader.find(model)

    def resolved(self, name: str) -> str:
        """Return the target of an alias, by way of other aliases; any other name is returned unchanged."""
        visited = {name}
        while self.find(name) is None:
            target = self._target(name)
            if target is None or target in visited or len(visited) > MAX_ALIASES:
                return name
            visited.add(name := target)
        return name

    def expanded(self, name: str) -> str:
        """Return the id or alias that a name is short for; the name itself if it is short for none.

        Raises: UnknownModelError, which names the candidates, if the name is short for several models.
        """
        if self._is_full(name):
            return name
        candidates = self._reader.ids_ending(name)
        if not candidates:
            aliases = [alias for alias in self._reader.aliases_ending(name) if alias != name]
            targets = list(dict.fromkeys(map(self.resolved, aliases)))
            # The error about a single target that cannot be used explains more than one about the short name.
            candidates = [target for target in targets if self.find(target) is not None] or targets[:1]
        if len(candidates) > 1:
            message = f"'{name}' is ambiguous: {', '.join(candidates)}"
            raise UnknownModelError(message, asked=name, nearest=candidates)
        return candidates[0] if candidates else name

    def _is_full(self, name: str) -> bool:
        """Return whether a name is an id or an alias, or belongs to a namespace that is known."""
        if not isinstance(name, str) or not name or self.find(name) is not None:
            return True
        return self._reader.target(name) is not None or (
            "/" in name and self._reader.has_namespace(name.partition("/")[0])
        )

    def named(self, name: str) -> ModelSpec:
        """Return the spec of an id or an alias. Raises: UnknownModelError, RegistryError, PluginError."""
        model = self.resolved(name)
        if (row := self.find(model)) is None:
            if repository_spec := self._repositories().spec(model):
                return repository_spec
            if frame_model := self._frame_models().named(model):
                return self._over_frames(frame_model)
            raise _of_alias(name, model, self._unknown().model(model))
        return self.whole(row, [alias for alias, _ in self._reader.aliases(model)])

    def _over_frames(self, model: FrameModel) -> ModelSpec:
        """Return an image model as a video model. Raises: the error of the image model, with the id before it."""
        try:
            base = self._image_model(model.base)
        except LayerzooError as error:
            error.args = (f"{model.id}: {error.args[0] if error.args else error}", *error.args[1:])
            raise
        return self.over_frames(model, base)

    def over_frames(self, model: FrameModel, base: ModelSpec) -> ModelSpec:
        """Return an image model as a video model.

        Args:
            model: the id of the video model.
            base: the image model.
        Raises: UnknownModelError if the model is not for images.
        """
        fields = inherit(model.declared(base), base.to_dict())
        # A user's own model is completed by its library, as is a model that inherits from it.
        return _built(fields | {"plugin": model.distribution if base.plugin else None})

    def _image_model(self, name: str) -> ModelSpec:
        """Return a model; of a repository of the hub that takes several modalities, the part for images."""
        spec = self.named(self.expanded(name))
        repository = self._repositories().named(spec.id) if spec.modality != "vision" else None
        if repository is None or repository.modality is not None:
            return spec
        with contextlib.suppress(LayerzooError):
            return self.named(repository.called("vision"))
        return spec

    def whole(self, row: Declaration, aliases: Sequence[str] = ()) -> ModelSpec:
        """Return the spec of a declaration, including what it inherits.

        Raises: UnknownModelError, RegistryError or PluginError if the base cannot be used.
        """
        fields = self._inherited(row, (), {})
        fields |= {"plugin": row.source.distribution, "aliases": tuple(aliases)}
        return _built(fields)

    def inherited(self, rows: Iterable[Declaration]) -> Iterator[dict[str, Any] | None]:
        """Yield models with a base in the form of ``ModelSpec.to_dict``; None if the base cannot be used."""
        bases: Bases = {}
        for row in rows:
            if len(bases) > _KEPT_BASES:
                bases.clear()
            yield self._inherited_or_none(row, bases)

    def _inherited_or_none(self, row: Declaration, bases: Bases) -> dict[str, Any] | None:
        from layerzoo.registry.index.unknown import few_hints

        with few_hints(0):  # the message is not shown
            try:
                fields = self._inherited(row, (), bases)
                _built({**fields, "layers": ()})  # layers were checked where they are declared
            except LayerzooError:
                return None
        return fields

    def usable(self, row: Declaration, aliases: Sequence[str] = ()) -> ModelSpec | None:
        """Return :meth:`whole`, or None if the base cannot be used."""
        from layerzoo.registry.index.unknown import few_hints

        with few_hints(0):
            try:
                return self.whole(row, aliases)
            except LayerzooError:
                return None

    def _target(self, alias: str) -> str | None:
        return self._reader.target(alias)

    def _inherited(self, row: Declaration, derived: tuple[str, ...], bases: Bases) -> dict[str, Any]:
        """Return a model with what it inherits. ``bases`` is a cache of resolved bases, which is extended."""
        own = dict(row.spec)
        if "base" not in own:
            return own
        derived = (*derived, own["id"])
        if len(derived) > MAX_BASES:
            raise RegistryError(f"{derived[0]} inherits from a chain of more than {MAX_BASES} models")
        if (cached := bases.get(base_id := own["base"])) is not None:
            if isinstance(cached, LayerzooError):
                raise cached
            return inherit({**own, "base": cached["id"]}, cached)
        own["base"] = self.resolved(base_id)
        if own["base"] in derived:
            raise RegistryError(f"{derived[0]} inherits from itself: {' → '.join([*derived, own['base']])}")
        try:
            base = bases[base_id] = self._inherited(self._base(row, own), derived, bases)
        except LayerzooError as error:
            bases[base_id] = error
            raise
        return inherit(own, base)

    def _base(self, row: Declaration, own: dict[str, Any]) -> Declaration:
        if own["base"].startswith(f"{USER_NAMESPACE}/") and row.source.role != "user":
            raise RegistryError(
                f"{own['id']} inherits from {own['base']}: only your own models can inherit from your own models"
            )
        if base := self.find(own["base"]):
            return base
        if repository_spec := self._repositories().spec(own["base"]):
            owner = RegistrySource("", "plugin", repository_spec.namespace, repository_spec.plugin)
            return Declaration(owner, repository_spec.to_dict())
        error = self._unknown().model(own["base"])
        if isinstance(error, UnknownModelError):
            message = f"{own['id']} inherits from {own['base']}: {error}"
            raise UnknownModelError(message, asked=own["base"], nearest=error.nearest)
        raise error


def _of_alias(name: str, model: str, error: LayerzooError) -> LayerzooError:
    """Add the alias to the error about its target."""
    if name != model:
        error.args = (f"the alias '{name}' leads to {model}: {error}",)
    return error


def _built(fields: dict[str, Any]) -> ModelSpec:
    subject = f"{fields['id']} and its base {fields.get('base')}"  # only a model with a base is not checked as a whole
    try:
        return ModelSpec.from_dict(fields)
    except MissingFieldsError as error:
        raise RegistryError(f"{subject} together are incomplete: {', '.join(error.missing)} is missing") from None
    except TypeError as error:
        raise RegistryError(f"{subject} do not fit together: {error}") from None


_TAKEN_WHOLE = ("builder", "weights", "layers", "license", *TAGS, "params", "flops", "unusable")
_TAKEN_BY_KEY = ("args", "default")
_PROCESSOR = ("processor", "backend", "settings", "variable_size", "refused")
"""The keys of an image preprocess that select a processor of a library."""


def inherit(model: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model with the values that it inherits from its base, both in the form of ``ModelSpec.to_dict``.

    ``args``, ``default`` and ``preprocess`` are merged by key, so that a model may override one of them. A video model
    inherits the preprocess of an image model as its ``image``. A model that overrides values of an image preprocess
    does not inherit the processor of a library, which would ignore them.
    """
    merged = dict(model)
    for key in _TAKEN_WHOLE:
        if key in base:
            merged.setdefault(key, base[key])
    if "layers" not in model and "traced_with" in base:
        merged["traced_with"] = base["traced_with"]
    for key in _TAKEN_BY_KEY:
        if key in base:
            merged[key] = {**base[key], **merged.get(key, {})}
    if "preprocess" in base:
        preprocess = _preprocess(model.get("preprocess"), base["preprocess"])
        if preprocess["kind"] == KINDS[model["modality"]]:
            merged["preprocess"] = preprocess
    return merged


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
