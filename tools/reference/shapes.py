"""The shapes of what the commands print with ``--format json`` and ``jsonl``, and of what features carry.

Where the library has a dataclass for it, that is the shape; the rest is described here. The tests hold the real output
of every command against the schema that is made of this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from layerzoo import spec
from layerzoo.cli.doctor import Finding
from layerzoo.registry import Diagnostic, ImportOutcome, PluginManifest
from layerzoo.registry.entry import Entry
from layerzoo.registry.manifest import State
from layerzoo.registry.outcome import ImportState
from layerzoo.weights.inventory import Kind
from layerzoo.weights.removal import State as Removal
from layerzoo.weights.verdicts import State as Verdict

# Of these, keys that say nothing are left out; all others print every key.
_SPARSE = ("ModelSpec", "Layer", "Weights", "Default", "ImagePreprocess", "AudioPreprocess", "TextPreprocess",
           "VideoPreprocess")  # fmt: skip


class Shape(BaseModel):
    """An object with these keys and no others."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, kw_only=True)
class Plugin(PluginManifest):
    """A plugin that is installed."""

    last_import: ImportOutcome | None
    """None where it was never imported."""
    usable: bool
    """Whether its networks can be built, as far as is known."""


@dataclass(frozen=True, kw_only=True)
class PluginWithModels(Plugin):
    """A plugin, and what it declares."""

    model_ids: list[str]
    """The ids of the models that can be used."""


class Check(Shape):
    """What was found out about one plugin."""

    plugin: str
    """Its namespace."""
    manifest: State
    """The state of its manifest."""
    import_: ImportState | None = Field(alias="import")
    """None where the manifest is not usable, so that nothing was imported."""
    cause: str | None
    """What is wrong."""
    fix: str | None
    """What to do about it."""
    seconds: float | None
    """How long the import took."""


class Cost(Shape):
    """What it takes to get to a layer; None where that is not known."""

    depth: float | None
    params: int | None
    flops: int | None
    shape: list[int] | None


class ComparedFact(Shape):
    """One fact about all models."""

    fact: str
    values: list[str | int | None]
    """One for each model; None where it is not known."""
    differs: bool


class ComparedLayer(Shape):
    """The layer of one name in all models."""

    layer: str
    values: list[Cost | None]
    """One for each model; None where it has no such layer."""
    differs: bool


class Comparison(Shape):
    """Models side by side."""

    models: list[str]
    """Their ids; all values stand in this order."""
    facts: list[ComparedFact]
    layers: list[ComparedLayer]


class TokensOfTexts(Shape):
    """How texts fit a model. Special tokens are not counted."""

    model: str
    """The full id."""
    max_tokens: int
    """The longest input of the model, special tokens included."""
    texts: int
    empty: int
    """How many hold nothing that the model has a token for."""
    failed: int
    """How many could not be used: those, and what is no text."""
    words: int
    """What stands between white space."""
    tokens: int
    """Also of what is left out."""
    unknown: int | None
    """How many of the tokens stand for what the vocabulary lacks; None where the tokenizer does not tell."""
    truncated: int
    """How many texts are too long."""
    left_out: int
    """How many tokens of those are beyond the longest input."""
    pieces_per_word: float | None
    """Tokens divided by words."""
    unknown_rate: float | None
    """Unknown tokens divided by tokens."""
    unknown_words: dict[str, int]
    """The words with something unknown in them and how often they come, the most frequent first."""


class TokensOfText(Shape):
    """How one text fits a model. Numbers are None where it could not be used."""

    id: str
    words: int | None
    tokens: int | None
    unknown: int | None
    left_out: int | None
    unknown_words: list[str]
    problem: str | None
    """Why it could not be used."""


class Pulled(Shape):
    """The weights of one model, which are on this machine now."""

    model: str
    """The full id."""
    revision: str | None
    """The commit of the repository that they came from; None for other sources."""
    files: dict[str, str]
    """The path of each file, by its name."""
    bytes: int
    """How much of the files is here."""
    fetched: int
    """How many bytes came over the network."""


class Locked(Shape):
    """What became of one model in ``layerzoo.lock``."""

    model: str
    """The full id."""
    state: Literal["locked", "updated", "unchanged", "removed", "drifted", "not locked"]
    revision: str | None
    """The commit that is locked; None where the declaration pins the weights, or nothing does."""
    files: int | None
    """How many files are locked."""
    detail: str | None
    """What has moved, or why nothing is locked."""


class Kept(Shape):
    """Something that is kept on this machine."""

    kind: Kind
    """What it is: see ``zoo cache list``."""
    name: str
    """Where it comes from, such as ``hf://acme/vit/model.safetensors``; else what it is called."""
    revision: str | None
    """The commit of a repository's file."""
    bytes: int
    """How many are here; holes do not count."""
    of_bytes: int | None
    """How many the whole has."""
    share: float | None
    """How much of it is here, from 0 to 1."""
    whole: bool
    """Whether all of it is here."""
    models: list[str]
    """The ids of the declared models whose weights it is."""
    useless: str | None
    """Why nothing can use it any more; None where something may."""
    digest: str | None
    """Of the whole, in hex: its sha256, or git's sha1 of a small file of a repository."""
    path: str
    used: str | None
    """When it was read or written last, as ISO 8601 in UTC, as far as the file system keeps that."""


class Verified(Kept):
    """A file of weights, and whether it is what it should be."""

    state: Verdict
    detail: str | None
    """What is wrong."""


class Pruned(Kept):
    """Something that was to go, and what became of it."""

    state: Removal
    reason: str
    """Why it was to go."""
    freed: int
    """How many bytes were freed, or would be."""
    detail: str | None
    """Why it is still there."""


class WeightsOfFeatures(Shape):
    """What the numbers were computed with."""

    source: str | None
    """As declared, or the path or ``random:SEED`` that was given instead; None where a model has no weights."""
    revision: str | None
    """The commit of the repository that the files came from; None for other sources."""
    pinned_by: Literal["declaration", "lock"] | None
    """What keeps it from being another commit tomorrow."""
    lock_sha256: str | None
    """Of the ``layerzoo.lock`` that pins it."""
    sha256: dict[str, str]
    """Of files, by name; of a safetensors checkpoint only where it is declared, locked or stated by a server."""
    entry: str | None
    """The entry of a training checkpoint that the weights were taken from: ``state_dict_ema``."""
    removed_prefix: str | None
    """What a training wrapper had added to the checkpoint keys and was removed from them: ``module.``."""


class Loaded(Shape):
    """How much of the checkpoint was read."""

    tensors: int
    of_tensors: int
    bytes: int
    of_bytes: int
    sha256: str | None
    """Of what was read: name and bytes of each tensor, by name. Null for random weights."""


class UserFile(Shape):
    """A registry.yaml or a layerzoo.lock of the user's that counted."""

    file: str
    """Its name."""
    where: Literal["working directory", "configuration directory"]
    sha256: str | None
    """Of its bytes; None where it could not be read."""


class LocalFiles(Shape):
    """The user's own files that counted, so that two experiments can be compared."""

    ignored: bool
    """Whether those of the working directory were ignored: ``--no-local-files``."""
    files: list[UserFile]
    """Registry files, the nearest first, then the lock."""


class Provenance(Shape):
    """Where what a backbone computes comes from."""

    model: str
    """The full id."""
    plugin: str | None
    """The distribution that declares the model; None for a user's own file."""
    builder: str
    args: dict[str, Any]
    """What the builder was given."""
    weights: WeightsOfFeatures
    layers: dict[str, str]
    """Where each layer was read: its address (module, ``#CALL``, ``<`` for the input, ``[OUTPUT]``) by its name."""
    preprocess: spec.Preprocess
    precision: Literal["float32", "bfloat16", "float16"]
    device: str
    local_files: LocalFiles
    loaded: Loaded
    versions: dict[str, str | None]
    """Of python and of every library that took part."""


class ProvenanceOfFeatures(Provenance):
    """Where the numbers of some features come from."""

    pooling: dict[str, str]
    """The pooling of each layer, by its name."""
    normalize: bool
    """Whether every vector was divided by its length."""
    image_pooling: dict[str, str] | None
    """The pooling of each frame's image, by layer, where the frames of a video stay a sequence."""
    batch_dependent: dict[str, list[str]]
    """By layer, the modules that compute with the other samples of a batch; such samples ran one at a time."""
    random: dict[str, list[str]]
    """By layer, the modules that draw random numbers in eval mode."""
    seed: int | None
    """What random numbers were drawn from, where there are any."""
    special_tokens: bool | None
    """Whether the special tokens of texts were pooled; None for other modalities."""
    overlap: int | None
    """How many tokens the chunks of a long text share; None where it is truncated, and for other modalities."""
    prompt: str | None
    """What was put before every text; None for other modalities."""


class Printed(Shape):
    """Everything that is printed or carried as JSON."""

    entry: Entry
    """``zoo list`` and ``zoo search`` print an array of them; ``--columns`` chooses some of the keys."""
    model: spec.ModelSpec
    """Printed by ``zoo show MODEL``. ``ModelSpec.from_dict`` reads it."""
    layer: spec.Layer
    """``zoo layers MODEL`` prints an array of them, in the order in which they run."""
    plugin: Plugin
    """``zoo plugin list`` prints an array of them."""
    plugin_with_models: PluginWithModels
    """Printed by ``zoo plugin show NAME``."""
    check: Check
    """``zoo plugin check`` prints an array of them."""
    comparison: Comparison
    """Printed by ``zoo compare MODEL MODEL…``. As ``jsonl``: the models, each fact and each layer on its own line."""
    tokens_of_texts: TokensOfTexts
    """Printed by ``zoo tokens MODEL INPUT…``."""
    tokens_of_text: TokensOfText
    """``zoo tokens MODEL INPUT… --each`` prints an array of them, in the order of the texts."""
    pulled: Pulled
    """``zoo pull MODEL…`` prints an array of them."""
    locked: Locked
    """``zoo lock`` prints an array of them."""
    kept: Kept
    """``zoo cache list`` prints an array of them."""
    verified: Verified
    """``zoo cache verify`` prints an array of them."""
    pruned: Pruned
    """``zoo cache prune`` prints an array of them."""
    finding: Finding
    """``zoo doctor`` prints an array of them."""
    diagnostic: Diagnostic
    """``zoo registry check FILE…`` prints an array of them."""
    provenance: Provenance
    """``Backbone.provenance``."""
    provenance_of_features: ProvenanceOfFeatures
    """``Features.provenance``, and what stands in every file of features."""


class _Generator(GenerateJsonSchema):
    """JSON Schema without the titles that pydantic makes of names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> JsonSchemaValue:
        return {"type": "object"} if schema["cls"] is spec.FrozenMap else super().is_instance_schema(schema)


PRINTED = Printed.__name__
"""The definition whose keys are everything that is printed."""


def json_schema() -> dict[str, Any]:
    """The schema of everything, each kind under ``$defs``."""
    definitions = _definitions()
    for name, definition in definitions.items():
        definition.pop("title", None)
        definition["additionalProperties"] = False
        if name in _SPARSE:
            _leave_out_nothing(definition)
        else:
            _say_everything(definition)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What layerzoo prints as JSON",
        "$defs": definitions,
    }


def _definitions() -> dict[str, Any]:
    class Everything(Shape):
        printed: Printed
        bases: tuple[PluginManifest]

    definitions: dict[str, Any] = Everything.model_json_schema(schema_generator=_Generator)["$defs"]
    described = definitions.pop(PluginManifest.__name__)["properties"]
    for heir in (Plugin, PluginWithModels):  # pydantic reads the docstrings of a class, and not those of its bases
        described = {key: {**described.get(key, {}), **each} for key, each in _keys(definitions, heir).items()}
        _keys(definitions, heir).update(described)
    return definitions


def _keys(definitions: dict[str, Any], kind: type) -> dict[str, Any]:
    keys: dict[str, Any] = definitions[kind.__name__]["properties"]
    return keys


def _leave_out_nothing(definition: dict[str, Any]) -> None:
    """A key that says nothing is not null, but missing; only ``kind`` is always there."""
    for each in definition["properties"].values():
        if "default" in each and each["default"] is None:
            del each["default"]
            kinds = [kind for kind in each.pop("anyOf") if kind != {"type": "null"}]
            each.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
    if "kind" in definition["properties"]:
        definition["required"].insert(0, "kind")


def _say_everything(definition: dict[str, Any]) -> None:
    """Every key is always there."""
    definition["required"] = list(definition["properties"])
    for each in definition["properties"].values():
        each.pop("default", None)
        if "description" in each:
            each["description"] = re.sub(r"\bNone\b", "null", each["description"])
