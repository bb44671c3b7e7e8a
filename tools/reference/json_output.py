"""The schema of the JSON output of the commands, and of the provenance of features.

The schema of an object follows from the dataclass of the library if there is one, otherwise from a class in this
module. The tests validate the output of every command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from layerzoo import spec
from layerzoo.cli.doctor import MachineCheck
from layerzoo.conformance.codes import Tier
from layerzoo.conformance.report import Finding
from layerzoo.frame_sampling import FrameSampling
from layerzoo.registry import Diagnostic, ImportOutcome, PluginManifest
from layerzoo.registry.index.search import Entry
from layerzoo.runs.status import RunStatus
from layerzoo.runtime.windowing import Windowing
from layerzoo.weights.inventory import Kind
from layerzoo.weights.removal import State as Removal
from layerzoo.weights.verdicts import State as Verdict

# These objects omit keys without a value. All other objects have every key.
_SPARSE = ("ModelSpec", "Layer", "Weights", "Default", "ImagePreprocess", "AudioPreprocess", "TextPreprocess",
           "VideoPreprocess")  # fmt: skip


class JsonObject(BaseModel):
    """An object with exactly these keys."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, kw_only=True)
class Plugin(PluginManifest):
    """An installed plugin."""

    last_import: ImportOutcome | None
    """The result of its last import; None if it was never imported."""
    usable: bool
    """Whether its networks can be built, according to its manifest and its last import."""


@dataclass(frozen=True, kw_only=True)
class PluginWithModels(Plugin):
    """An installed plugin and its models."""

    model_ids: list[str]
    """The ids of its usable models."""


class CheckCounts(JsonObject):
    """The numbers of checks of a run."""

    collected: int
    ran: int
    passed: int
    failed: int
    expected: int
    """Failed, as was declared with a reason."""
    skipped: int


class UnfailedCheck(JsonObject):
    """A check that was skipped, or that failed as expected."""

    code: str
    plugin: str
    model: str | None
    reason: str | None


class CheckReport(JsonObject):
    """The result of checking plugins and models."""

    ok: bool
    """Whether there is no finding and no gap."""
    counts: CheckCounts
    gaps: list[str]
    """What should have been checked, and was not."""
    findings: list[Finding]
    expected: list[UnfailedCheck]
    skipped: list[UnfailedCheck]


class Explanation(JsonObject):
    """The explanation of a check."""

    code: str
    tier: Tier
    title: str
    """What is checked."""
    why: str
    """What goes wrong otherwise."""
    fix: str
    """How to correct it."""


class Cost(JsonObject):
    """The cost of a layer; None for unknown values."""

    depth: float | None
    params: int | None
    flops: int | None
    shape: list[int] | None


class ComparedFact(JsonObject):
    """One property of all models."""

    fact: str
    values: list[str | int | None]
    """One value per model; None if it is unknown."""
    differs: bool


class ComparedLayer(JsonObject):
    """The layer with one name in all models."""

    layer: str
    values: list[Cost | None]
    """One value per model; None if it has no such layer."""
    differs: bool


class Comparison(JsonObject):
    """A comparison of models."""

    models: list[str]
    """Their ids, in the order of all values."""
    facts: list[ComparedFact]
    layers: list[ComparedLayer]


class TokenReport(JsonObject):
    """Token counts of texts for a model, without special tokens."""

    model: str
    """The full id."""
    max_tokens: int
    """The longest input of the model, including special tokens."""
    texts: int
    empty: int
    """The number of texts without any token."""
    failed: int
    """The number of unusable samples: empty texts, and samples that are not text."""
    words: int
    """The number of words, separated by white space."""
    tokens: int
    """The number of tokens, including truncated ones."""
    unknown: int | None
    """The number of unknown tokens; None if the tokenizer does not report them."""
    truncated: int
    """The number of texts that are too long."""
    left_out: int
    """The number of truncated tokens."""
    pieces_per_word: float | None
    """Tokens divided by words."""
    unknown_rate: float | None
    """Unknown tokens divided by tokens."""
    unknown_words: dict[str, int]
    """Words with unknown tokens and their frequency, the most frequent first."""


class TextReport(JsonObject):
    """Token counts of one text for a model. Counts are None if the text is unusable."""

    id: str
    words: int | None
    tokens: int | None
    unknown: int | None
    left_out: int | None
    unknown_words: list[str]
    problem: str | None
    """The reason why it is unusable."""


class Pulled(JsonObject):
    """The downloaded weights of one model."""

    model: str
    """The full id."""
    revision: str | None
    """The commit of their repository; None for other sources."""
    files: dict[str, str]
    """The path of each file by name."""
    bytes: int
    """The size of the files on this machine."""
    fetched: int
    """The number of bytes that were downloaded now."""


class Locked(JsonObject):
    """The result for one model in ``layerzoo.lock``."""

    model: str
    """The full id."""
    state: Literal["locked", "updated", "unchanged", "removed", "drifted", "not locked"]
    revision: str | None
    """The locked commit; None if the declaration pins the weights, or if they are not pinned."""
    files: int | None
    """The number of locked files."""
    detail: str | None
    """The branch or tag that moved, or the reason why nothing is locked."""


class CacheEntry(JsonObject):
    """A file or folder in the cache."""

    kind: Kind
    """The kind of entry, see ``zoo cache list``."""
    name: str
    """Its source, such as ``hf://acme/vit/model.safetensors``, or its name."""
    revision: str | None
    """The commit, for a file of a repository."""
    bytes: int
    """The number of stored bytes, without holes."""
    of_bytes: int | None
    """The size of the complete file."""
    share: float | None
    """The stored share, from 0 to 1."""
    whole: bool
    """Whether it is complete."""
    models: list[str]
    """The ids of the declared models that use it as weights."""
    useless: str | None
    """The reason why nothing can use it any more; None if it may be used."""
    digest: str | None
    """The digest of the complete file in hex: sha256, or git's sha1 for a small file of a repository."""
    path: str
    used: str | None
    """The time of the last read or write, as ISO 8601 in UTC, if the file system records it."""


class Verified(CacheEntry):
    """A file of weights, and the result of its verification."""

    state: Verdict
    detail: str | None
    """The problem."""


class Pruned(CacheEntry):
    """A removed cache entry, or one that was to be removed."""

    state: Removal
    reason: str
    """The reason for its removal."""
    freed: int
    """The number of bytes that were freed, or would be freed."""
    detail: str | None
    """The reason why it still exists."""


class WeightsProvenance(JsonObject):
    """The weights that the features were computed with."""

    source: str | None
    """The declared source, or the path or ``random:SEED`` that was passed instead; None for a model without weights."""
    revision: str | None
    """The commit of the repository of the files; None for other sources."""
    pinned_by: Literal["declaration", "lock"] | None
    """Where the commit is pinned."""
    lock_sha256: str | None
    """The sha256 of the ``layerzoo.lock`` that pins it."""
    sha256: dict[str, str]
    """The sha256 of the files by name. That of a safetensors checkpoint is included if a declaration, lock or server
    states it."""
    sha256_by_layer: dict[str, str]
    """For each layer, the sha256 of the tensors that a cut at this layer alone needs: name and bytes of each, sorted by
    name. It covers nothing else of the checkpoint, and is the same for every cut. Empty for random weights."""
    entry: str | None
    """The entry of a training checkpoint that holds the weights, such as ``state_dict_ema``."""
    removed_prefix: str | None
    """The prefix of a training wrapper that was removed from the checkpoint keys, such as ``module.``."""
    dtypes: list[str]
    """The floating-point dtypes that the checkpoint is stored in, as torch names them. Empty for random weights."""
    keys: dict[str, str] | None
    """The parts of checkpoint keys that were replaced, by those of the network, if `load(keys=)` was given."""
    changed: ChangedTensors | None
    """The tensors that differ from those that were loaded, as after training; None if none does."""


class ChangedTensors(JsonObject):
    """Tensors of a network that changed after it was loaded."""

    tensors: int
    sha256: str
    """The sha256 over the names and values of the changed tensors."""


class Loaded(JsonObject):
    """The part of the checkpoint that was read."""

    tensors: int
    of_tensors: int
    bytes: int
    of_bytes: int
    sha256: str | None
    """The sha256 of the read tensors: name and bytes of each, sorted by name. None for random weights."""


class UserFile(JsonObject):
    """A registry.yaml or layerzoo.lock of the user that counted."""

    file: str
    """Its name."""
    where: Literal["working directory", "configuration directory"]
    sha256: str | None
    """The sha256 of its bytes; None if it could not be read."""


class LocalFiles(JsonObject):
    """The user's own files that counted, so that two experiments can be compared."""

    ignored: bool
    """Whether those of the working directory were ignored: ``--no-local-files``."""
    files: list[UserFile]
    """Registry files, the nearest first, then the lock."""


class Provenance(JsonObject):
    """The origin of a backbone's activations."""

    model: str
    """The full id."""
    plugin: str | None
    """The distribution that declares the model; None for a registry file of the user."""
    builder: str
    args: dict[str, Any]
    """The arguments of the builder."""
    weights: WeightsProvenance
    layers: dict[str, str]
    """The address of each layer by name: module, ``#CALL``, ``<`` for the input, ``[OUTPUT]``."""
    preprocess: spec.Preprocess
    precision: Literal["float32", "bfloat16", "float16", "library"]
    """The requested precision."""
    dtype: str
    """The dtype of the computation, as torch names it."""
    library_dtype: str
    """The dtype that the model's library uses by default with this checkpoint."""
    device: str
    local_files: LocalFiles
    loaded: Loaded
    versions: dict[str, str | None]
    """The versions of Python and of all libraries that were used."""


class FeaturesProvenance(Provenance):
    """The origin of features."""

    pooling: dict[str, str]
    """The pooling of each layer by name."""
    normalize: bool
    """Whether every vector was scaled to unit length."""
    image_pooling: dict[str, str] | None
    """The pooling of each frame by layer, if the frames of a video remain a sequence."""
    batch_dependent: dict[str, list[str]]
    """By layer, the modules whose output depends on the other samples of a batch. Samples then run one at a time."""
    random: dict[str, list[str]]
    """By layer, the modules that draw random numbers in eval mode."""
    seed: int | None
    """The seed of random numbers, if any are drawn."""
    special_tokens: bool | None
    """Whether special tokens of texts were pooled; None for other modalities."""
    overlap: int | None
    """The number of tokens that chunks of a long text share; None for truncated texts and other modalities."""
    sampling: FrameSampling | None
    """The frames that were sampled of each video; None for other modalities."""
    temporal_pool: dict[str, str] | None
    """The temporal pooling of each layer by name; None if samples are no sequences."""
    windows: Windowing | None
    """The windows of recordings, if they were requested."""
    prompt: str | None
    """The text that was put before every text; None for other modalities."""
    decode: Literal["exact", "fast"] | None
    """How JPEG images were decoded; None for modalities without images."""


class FeaturesFile(JsonObject):
    """The result of checking a file of features."""

    file: str
    """The path as it was given."""
    state: Literal["ok", "no digests", "damaged", "missing"]
    detail: str | None
    """The reason; None for ``ok``."""


class Training(JsonObject):
    """A trained head, and its cross-validated score. The score is null if there are too few samples."""

    head: str
    """The file that it was saved in."""
    model: str
    layers: list[str]
    kind: str
    """``linear``, or the network over sequences."""
    task: str
    metric: str | None
    mean: float | None
    """Over the folds."""
    std: float | None
    folds: int | None
    samples: int | None
    groups: int | None
    """The number of sources whose samples are kept in one fold; None without groups."""
    chance: float | None
    """The share of the most frequent class."""


class HeadPrediction(JsonObject):
    """The prediction of a head for one sample."""

    id: str
    label: str | float
    probabilities: dict[str, float]
    """By class. Empty for a regression."""


@dataclass(frozen=True, kw_only=True)
class SweptRow:
    """A candidate of a sweep."""

    model: str
    """The id of the model."""
    layer: str
    """The name of the layer, ``mean of N layers`` or ``PCA of N layers``."""
    pool: str
    """The pooling."""
    layers: list[str]
    """The layers that are extracted."""
    score: float
    """The mean score over the outer folds."""
    spread: float
    """The standard deviation over the outer folds."""
    scores: list[float]
    """The score of each outer fold."""
    width: int
    """The number of features."""
    depth: float | None
    """The share of the network's FLOPs up to this layer, 0 to 1."""
    params: int | None
    """The number of parameters used up to this layer."""
    flops: int | None
    """The floating-point operations up to this layer, for one sample."""
    milliseconds: float | None
    """The measured time of the network up to this layer for one sample."""
    bytes: int | None
    """The size of the tensors that a cut at this layer loads."""
    is_default: bool
    """Whether it is the default layer of its model."""
    estimates: dict[str, float]
    """Estimates without training, by name; for clusters ``ari``, ``nmi`` and ``clusters``."""
    notes: list[str]
    """Facts about its features, such as constant ones."""
    command: str
    """The command that extracts its features."""


class SweepBaselineScore(JsonObject):
    """A score without the pretrained network."""

    name: str
    score: float
    spread: float


class SweepFile(JsonObject):
    """The content of sweep.json."""

    format: int
    """The version of this format."""
    task: str
    metric: str
    """The name of the score."""
    score: float
    """The mean score of the layers that were selected inside the outer folds."""
    spread: float
    rows: list[SweptRow]
    best: int
    """The number of the row with the highest score."""
    cheapest: int
    """The number of the row with the fewest FLOPs within one standard error of the best."""
    standard_error: float
    default: int | None
    """The number of the row of the default layer."""
    p_value: float | None
    """Of the difference between the selected layers and the default layer."""
    selected: dict[str, int]
    """The candidates that were selected inside the folds, and how often."""
    baselines: list[SweepBaselineScore]
    samples: int
    classes: list[str]
    groups: int | None
    folds: int
    repeats: int
    seconds: dict[str, float]
    """The time of each step."""
    notes: list[str]
    rank_correlation: dict[str, float]
    """Of each estimate with the score."""
    provenance: dict[str, Any]
    """By model, the provenance of its features."""


class Output(JsonObject):
    """All JSON output."""

    entry: Entry
    """``zoo list`` and ``zoo search`` print an array of them; ``--columns`` selects keys."""
    model: spec.ModelSpec
    """Printed by ``zoo show MODEL``. ``ModelSpec.from_dict`` reads it."""
    layer: spec.Layer
    """``zoo layers MODEL`` prints an array of them, in the order in which they run."""
    plugin: Plugin
    """``zoo plugin list`` prints an array of them."""
    plugin_with_models: PluginWithModels
    """Printed by ``zoo plugin show NAME``."""
    check_report: CheckReport
    """Printed by ``zoo plugin check``."""
    explanation: Explanation
    """Printed by ``zoo explain CODE``; without CODE, an array of them."""
    comparison: Comparison
    """Printed by ``zoo compare MODEL MODEL…``. With ``jsonl``: one line for the models, one for each fact and layer."""
    tokens_of_texts: TokenReport
    """Printed by ``zoo tokens MODEL INPUT…``."""
    tokens_of_text: TextReport
    """``zoo tokens MODEL INPUT… --each`` prints an array of them, in the order of the texts."""
    pulled: Pulled
    """``zoo pull MODEL…`` prints an array of them."""
    locked: Locked
    """``zoo lock`` prints an array of them."""
    cache_entry: CacheEntry
    """``zoo cache list`` prints an array of them."""
    verified: Verified
    """``zoo cache verify`` prints an array of them."""
    pruned: Pruned
    """``zoo cache prune`` prints an array of them."""
    finding: MachineCheck
    """``zoo doctor`` prints an array of them."""
    training: Training
    """Printed by ``zoo train``."""
    prediction: HeadPrediction
    """``zoo predict HEAD INPUT…`` prints an array of them."""
    swept_row: SweptRow
    """``zoo sweep INPUT…`` prints an array of them."""
    sweep: SweepFile
    """``zoo sweep INPUT… --out FOLDER`` writes it to sweep.json."""
    diagnostic: Diagnostic
    """``zoo registry check FILE…`` prints an array of them."""
    features_file: FeaturesFile
    """``zoo features verify FILE…`` prints an array of them."""
    run_status: RunStatus
    """Printed by ``zoo run --status DIR``."""
    provenance: Provenance
    """``Backbone.provenance``."""
    features_provenance: FeaturesProvenance
    """``Features.provenance``, also stored in every feature file."""


class _Generator(GenerateJsonSchema):
    """Generates JSON Schema without the titles that pydantic derives from names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> JsonSchemaValue:
        return {"type": "object"} if schema["cls"] is spec.FrozenMap else super().is_instance_schema(schema)


OUTPUT = Output.__name__
"""The definition whose keys are all outputs."""


def json_schema() -> dict[str, Any]:
    """Return the schema of all output, with each object under ``$defs``."""
    definitions = _definitions()
    for name, definition in definitions.items():
        definition.pop("title", None)
        definition["additionalProperties"] = False
        if name in _SPARSE:
            _make_optional(definition)
        else:
            _require_all(definition)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The JSON output of layerzoo",
        "$defs": definitions,
    }


def _definitions() -> dict[str, Any]:
    class Everything(JsonObject):
        output: Output
        bases: tuple[PluginManifest]

    definitions: dict[str, Any] = Everything.model_json_schema(schema_generator=_Generator)["$defs"]
    described = definitions.pop(PluginManifest.__name__)["properties"]
    for subclass in (Plugin, PluginWithModels):  # pydantic reads the docstrings of a class, and not those of its bases
        keys = _keys(definitions, subclass)
        described = {key: {**described.get(key, {}), **schema} for key, schema in keys.items()}
        keys.update(described)
    return definitions


def _keys(definitions: dict[str, Any], object_type: type) -> dict[str, Any]:
    keys: dict[str, Any] = definitions[object_type.__name__]["properties"]
    return keys


def _make_optional(definition: dict[str, Any]) -> None:
    """Describe an object that omits keys without a value instead of writing null. Only ``kind`` is always present."""
    for schema in definition["properties"].values():
        if "default" in schema and schema["default"] is None:
            del schema["default"]
            types = [alternative for alternative in schema.pop("anyOf") if alternative != {"type": "null"}]
            schema.update(types[0] if len(types) == 1 else {"anyOf": types})
    if "kind" in definition["properties"]:
        definition["required"].insert(0, "kind")


def _require_all(definition: dict[str, Any]) -> None:
    """Describe an object that always has every key."""
    definition["required"] = list(definition["properties"])
    for schema in definition["properties"].values():
        schema.pop("default", None)
        if "description" in schema:
            schema["description"] = re.sub(r"\bNone\b", "null", schema["description"])
