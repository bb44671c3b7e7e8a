"""The author's form of registry.yaml: which keys there are, and what may stand behind them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from layerzoo.pooling import POOLINGS
from layerzoo.registry.format.document import MAX_DEPTH
from layerzoo.registry.format.layer_table import COLUMNS
from layerzoo.registry.format.mistakes import MissingKeyError, UnknownWordError, shorten, show
from layerzoo.spec import AXES, Modality

UNSET: Any = None
"""A key that was not written. Written with nothing behind it, it is a mistake: only the type's own values are valid."""

_MAX_INT = 2**63 - 1
_MAX_SIZE = 1_000_000
_ID = re.compile(r"\w[\w.+@:~=-]*(/\w[\w.+@:~=-]*)*")
_DISABLED = re.compile(rf"{_ID.pattern}(/\*)?")
_BUILDER = re.compile(r"[a-z][a-z0-9_-]*")
_HEX = re.compile(r"[0-9a-f]{64}")
_SOURCES = {
    "package": re.compile(r"package://[A-Za-z0-9][A-Za-z0-9._-]*/[^/].*"),
    "file": re.compile(r"file:.+"),
    "https": re.compile(r"https://[^/]+/.*[^/]"),
    "hf": re.compile(r"hf://[\w.-]+/[\w.-]+(@[^/@]+)?(/.*)?"),
}


def is_id(text: str) -> bool:
    """Whether the text can be the id of a model."""
    return len(text) <= 500 and _ID.fullmatch(text) is not None


# ---------------------------------------------------------------- kinds of values


@dataclass(frozen=True, slots=True)
class _Matching:
    """Text of a pattern. wanted: what it is then, for the message."""

    pattern: re.Pattern[str]
    wanted: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern.pattern})$"}

    def _checked(self, text: str) -> str:
        if not self.pattern.fullmatch(text):
            raise ValueError(f"'{shorten(text)}' is not {self.wanted}")
        return text


@dataclass(frozen=True, slots=True)
class _OneOf:
    """One of some words. noun: what they are."""

    words: tuple[str, ...]
    noun: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "enum": list(self.words)}

    def _checked(self, word: str) -> str:
        if word not in self.words:
            raise UnknownWordError(f"there is no {self.noun} '{shorten(word)}'", word, self.words)
        return word


@dataclass(frozen=True, slots=True)
class _ShortForm:
    """What may be written instead, in the words of JSON Schema, beside what a validator makes of it."""

    schemas: tuple[JsonSchemaValue, ...]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [*self.schemas, handler(schema)]}


def _split_axes(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


def _distinct(axes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(axes)) < len(axes):
        raise ValueError(f"the axes '{' '.join(axes)}' name one twice")
    return axes


def _square(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= _MAX_SIZE:
        raise ValueError(f"{show(value)} is no size: 1 to {_MAX_SIZE}")
    return [value, value]


def _position_or_name(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INT):
        return value
    raise ValueError(f"an output is a position from 0 or a name, not {show(value)}")


def _cost_or_costs(value: Any) -> Any:
    numbers = value if isinstance(value, list) and len(value) == 2 else [value]
    if all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MAX_INT for number in numbers):
        return tuple(value) if isinstance(value, list) else value
    raise ValueError(f"a cost is a whole number from 0, or [first, step] for a range of layers, not {show(value)}")


def _name_and_module_first(columns: list[str]) -> list[str]:
    if columns[:2] != list(COLUMNS[:2]) or len(set(columns)) < len(columns):
        raise ValueError(f"columns are {', '.join(COLUMNS[:2])}, then others, none of them twice")
    return columns


def _plain_values(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for item in value.values():
            _plain_values(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _plain_values(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    elif isinstance(value, int) and abs(value) > _MAX_INT:
        raise ValueError("whole numbers must fit into 64 bits")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _of_one_file(value: Any) -> Any:
    return {"": value} if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Id = Annotated[str, _Matching(_ID, "an id: segments of letters, digits and . _ + @ : ~ = - between slashes")]
Disabled = Annotated[str, _Matching(_DISABLED, "an id, or a namespace with all its models, as in acme/*")]
Builder = Annotated[str, _Matching(_BUILDER, "a builder's name: small letters, digits, - and _")]
Count = Annotated[int, Field(ge=0, le=_MAX_INT)]
Costs = Annotated[
    int | tuple[int, int],
    BeforeValidator(_cost_or_costs),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2},
            ]
        }
    ),
]
Size = Annotated[int, Field(ge=1, le=_MAX_SIZE)]
Sides = Annotated[
    tuple[Size, Size], BeforeValidator(_square), Field(strict=False), _ShortForm(({"type": "integer", "minimum": 1},))
]
Crop = Annotated[float, Field(gt=0, le=2)]
Spread = Annotated[float, Field(gt=0)]
Axis = Annotated[str, _OneOf(AXES, "axis")]
Axes = Annotated[
    tuple[Axis, ...],
    BeforeValidator(_split_axes),
    AfterValidator(_distinct),
    Field(strict=False),
    _ShortForm(({"type": "string", "pattern": f"^ *({'|'.join(AXES)})( +({'|'.join(AXES)}))* *$"},)),
]
Output = Annotated[
    Any,
    AfterValidator(_position_or_name),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}),
]
Columns = Annotated[list[Annotated[str, _OneOf(COLUMNS, "column")]], AfterValidator(_name_and_module_first)]
Module = Annotated[str, WithJsonSchema({"type": ["string", "null"]})]
Sha256 = Annotated[str, _Matching(_HEX, "a sha256: 64 hexadecimal digits in small letters")]
Digests = Annotated[
    dict[str, Sha256], BeforeValidator(_of_one_file), _ShortForm(({"type": "string", "pattern": f"^{_HEX.pattern}$"},))
]
Pool = Annotated[str, _OneOf(tuple(POOLINGS), "pooling")]


# ---------------------------------------------------------------- forms


class Form(BaseModel):
    """Keys are known, types are meant as written, and a key that is absent is unset rather than a default.

    What stands below a key here is what editors show of it: see :mod:`layerzoo.registry.format.json_schema`.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ImageForm(Form):
    """How an image becomes what the network receives."""

    size_px: Sides = UNSET
    """Height and width in pixels, or one number for both."""
    resize: Literal["none", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = UNSET
    """How pixels are interpolated; `none` where images are not resized."""
    crop: Crop = UNSET
    """The share of the resized image's side that the crop in its centre keeps. Above 1, up to 2, it gets a border."""
    fit: Literal["crop", "squash", "pad"] = UNSET
    """What happens to an image of other proportions: its centre is taken, it is squashed, or padded with a border."""
    mean: Annotated[tuple[float, float, float], Field(strict=False)] = UNSET
    """What is subtracted from red, green and blue, on a scale of 0 to 1."""
    std: Annotated[tuple[Spread, Spread, Spread], Field(strict=False)] = UNSET
    """What red, green and blue are divided by afterwards."""
    processor: Annotated[str, Field(min_length=1)] = UNSET
    """The class of the image processor of the model's library, which is called for every image. The values above then
    describe what it does and are not applied. Plugins write it; declare the values without it to apply them."""
    backend: Annotated[str, Field(min_length=1)] = UNSET
    """The library that this processor computes with, such as `pil` or `torchvision`."""
    settings: Annotated[dict[str, Any], AfterValidator(_plain_values)] = UNSET
    """The settings of this processor."""
    variable_size: bool = UNSET
    """Whether the size of an image decides the size of what the network receives."""
    refused: Annotated[str, Field(min_length=1)] = UNSET
    """Why this processor cannot be called with an image alone."""


class AudioForm(Form):
    """How a sound becomes what the network receives."""

    sample_rate_hz: Size = UNSET
    """Samples a second; other sounds are resampled."""
    channels: Size = UNSET
    """How many channels the network takes. 1, the default, is the mean of all channels; with more, audio of another
    number of channels is refused."""
    window_s: Spread = UNSET
    """The longest piece that the network takes at once, in seconds; longer sounds are cut into such pieces."""
    pad: Literal["none", "window"] = UNSET
    """Whether shorter sounds are filled up to the window."""
    frame_hop_samples: Annotated[tuple[Size, Size], Field(strict=False)] = UNSET
    """Of how many samples the network makes its first frame, and how many later each next one begins. Only for a
    network that takes a mask of samples, and that filling a sound up under it changes by at most 1e-5."""


class TextForm(Form):
    """How a text becomes what the network receives."""

    max_tokens: Size = UNSET
    """The longest text in tokens; the rest is left out."""
    cls_token: bool = UNSET
    """Whether the first token stands for the whole text."""
    batching: Literal["exact", "tolerance", "equal_lengths"] = UNSET
    """How texts of different length share a batch: each filled up to max_tokens; filled up to the longest under a mask,
    for a network that this changes by at most 1e-5; or only those of equal length, which is right for any network."""


class VideoForm(Form):
    """How a video becomes what the network receives."""

    frames: Size = UNSET
    """How many frames are taken, at equal distances."""
    joint: bool = UNSET
    """Whether the network takes all frames at once, and not one by one."""
    temporal_pool: Literal["mean"] = UNSET
    """How the vectors of the frames become one, where each goes through the network alone."""
    image: ImageForm = UNSET
    """How each frame is treated."""


class LayerForm(Form):
    """A place where the network can be cut."""

    module: Module
    """The dotted path of the module, as in `encoder.norm`; `.` is the network itself. An address as `zoo layers` prints
    it is accepted too: `shared#4` (its fifth call), `blocks.0<` (its input), `mixer[1]` (its second output)."""
    call: Count = UNSET
    """Which call of the module, from 0, where it is called several times."""
    output: Output = UNSET
    """Which of several outputs: a position from 0 or a name."""
    at: Literal["output", "input"] = UNSET
    """Whether what leaves the module is taken, or what enters it."""
    axes: Axes = UNSET
    """What the axes of the activation are, in order, as in `batch token channel`."""
    shape: Annotated[tuple[Size, ...], Field(strict=False)] = UNSET
    """The size of each axis but the batch."""
    prefix_tokens: Count = UNSET
    """How many tokens in front are no part of the sample: class and register tokens."""
    suffix_tokens: Count = UNSET
    """How many tokens behind are no part of the sample: a detector's, which become objects."""
    last_tokens: Count = UNSET
    """How many tokens are meant, counted from the end; else all."""
    depth: Annotated[float, Field(ge=0, le=1)] = UNSET
    """The share of the FLOPs up to here, 0 to 1."""
    params: Costs = UNSET
    """The number of parameters up to here; of a range of layers: [first, step]."""
    flops: Costs = UNSET
    """The floating-point operations up to here, for one sample; of a range of layers: [first, step]."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        path = {"type": ["string", "null"], "description": "The dotted path of the module."}
        return {"anyOf": [path, handler(schema)]}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """``norm: encoder.norm`` stands for ``norm: {module: encoder.norm}``, and ``head:`` for the network itself."""
        if value is None or isinstance(value, str):
            return {"module": value or ""}
        if isinstance(value, int | float):
            raise ValueError(f"the path of a module that looks like a number needs quotes: '{value}'")
        if isinstance(value, Mapping) and "module" in value and value["module"] is None:
            return {**value, "module": ""}
        return value

    @model_validator(mode="after")
    def _sizes_of_axes(self) -> LayerForm:
        if (
            self.axes is not None
            and self.shape is not None
            and len(self.shape) != len(self.axes) - ("batch" in self.axes)
        ):
            raise ValueError(
                f"the shape {list(self.shape)} does not fit the axes '{' '.join(self.axes)}' without the batch"
            )
        return self


class DefaultForm(Form):
    """What is extracted where nothing else is asked for."""

    layer: Text = UNSET
    """The layer, by name or by a selector such as `block.-1`."""
    pool: Pool = UNSET
    """The pooling."""


class WeightsForm(Form):
    """The trained values of a network."""

    source: Text
    """Where they are: `hf://ORG/REPO[@REVISION][/FILE]`, `https://…`, `file:PATH` or `package://DISTRIBUTION/PATH`."""
    sha256: Digests = UNSET
    """The sha256 of the file; of a folder's files by name."""
    keys: dict[str, str] = UNSET
    """The network's name of a tensor by the name that the checkpoint gives it; ranges such as `{0..11}` are allowed."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        sources = "|".join(pattern.pattern for name, pattern in _SOURCES.items() if name in ("file", "hf"))
        source = {"type": "string", "pattern": f"^(?:{sources})$", "description": "Where they are."}
        return {"anyOf": [source, handler(schema)]}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _can_be_checked(self) -> WeightsForm:
        scheme = self.source.partition(":")[0]
        pattern = _SOURCES.get(scheme)
        if not pattern or not pattern.fullmatch(self.source):
            raise ValueError(
                f"'{shorten(self.source)}' is no source of weights. Possible: package://DISTRIBUTION/PATH, file:PATH, "
                "https://HOST/PATH, hf://ORG/REPO[@REVISION][/FILE]"
            )
        if scheme != "file" and any(part in {".", ".."} for part in self.source.split("/")):
            raise ValueError(f"the path of '{shorten(self.source)}' must not hold . or ..")
        if scheme in {"https", "package"} and not self.sha256:
            message = f"weights from {scheme}:// need a sha256: write weights: {{source: …, sha256: …}}"
            raise MissingKeyError(message, "sha256")
        if self.sha256 and "" in self.sha256 and not self.file:
            raise ValueError("a folder has many files: write sha256: {FILE: HEX, …}")
        return self

    @property
    def file(self) -> str:
        """The name of the one file that the source means; empty when it is a folder."""
        if self.source.startswith("hf://") and self.source.count("/") < 4:
            return ""
        return self.source.rpartition("/")[2].removeprefix("file:")


class ModelForm(Form):
    """What is common to all modalities."""

    modality: Modality
    """What goes in: text, vision, audio or video."""
    summary: Annotated[str, Field(max_length=1000)] = UNSET
    """One line about the model."""
    license: Text = UNSET
    """The license of the weights, as SPDX writes it: `apache-2.0`, `mit`, `cc-by-nc-4.0`."""
    builder: Builder = UNSET
    """Who makes the network: a builder of a plugin that is installed."""
    args: Annotated[dict[str, Any], AfterValidator(_plain_values)] = UNSET
    """What the builder is given."""
    params: Count = UNSET
    """The number of parameters of the whole network."""
    flops: Count = UNSET
    """The floating-point operations of the whole network, for one sample."""
    base: Id = UNSET
    """The id of a model from which everything that is not said here is taken over."""
    preprocess: Any = UNSET
    """How a sample becomes what the network receives."""
    layers: dict[str, LayerForm] = UNSET
    """The places where the network can be cut, by name; ranges such as `block.{0..11}` declare several at once."""
    default: DefaultForm = UNSET
    """What is extracted where nothing else is asked for."""
    weights: WeightsForm = UNSET
    """The trained values of the network."""


class VisionModelForm(ModelForm):
    """A model for pictures."""

    modality: Literal["vision"]
    """What goes in: pictures."""
    preprocess: ImageForm = UNSET
    """How a picture becomes what the network receives."""


class AudioModelForm(ModelForm):
    """A model for sounds."""

    modality: Literal["audio"]
    """What goes in: sounds."""
    preprocess: AudioForm = UNSET
    """How a sound becomes what the network receives."""


class TextModelForm(ModelForm):
    """A model for texts."""

    modality: Literal["text"]
    """What goes in: texts."""
    preprocess: TextForm = UNSET
    """How a text becomes what the network receives."""


class VideoModelForm(ModelForm):
    """A model for videos."""

    modality: Literal["video"]
    """What goes in: videos."""
    preprocess: VideoForm = UNSET
    """How a video becomes what the network receives."""


class DefaultsForm(Form):
    """The model that is used for a kind of input when none is named."""

    text: Id = UNSET
    """The id of the model for texts."""
    vision: Id = UNSET
    """The id of the model for pictures."""
    audio: Id = UNSET
    """The id of the model for sounds."""
    video: Id = UNSET
    """The id of the model for videos."""


class PublishedForm(Form):
    """A plugin that can be installed."""

    package: Text
    """The distribution that pip installs."""
    summary: Text
    """One line about the plugin."""
    builders: list[Builder] = UNSET
    """The builders that it offers."""
    hub: bool = UNSET
    """Whether every repository of the Hugging Face hub is a model of it, as `NAMESPACE/ORG/REPO`."""


class CatalogueHeadForm(Form):
    """The first line of a generated catalogue."""

    layerzoo: int
    """The version of this format."""
    traced_with: dict[str, Text] = UNSET
    """The version of each library with which the layers were found."""
    common: dict[str, Any] = UNSET
    """What all models have in common, where they say nothing else."""
    columns: Columns = UNSET
    """What stands in the rows of `layers`, in order: name and module first."""


class HeadForm(Form):
    """A registry.yaml; its models are checked one by one."""

    layerzoo: int
    """The version of this format."""
    requires: Annotated[list[Text], BeforeValidator(_listed), _ShortForm(({"type": "string"},))] = UNSET
    """The layerzoo that is needed, as in `layerzoo>=0.1`."""
    builders: list[Builder] = UNSET
    """The builders that this plugin's `layerzoo_build` offers."""
    models: dict[str, Any] = UNSET
    """Models by id; the namespace may be left out."""
    aliases: dict[Id, Id] = UNSET
    """Other names of models: the id by the name."""
    disable: list[Disabled] = UNSET
    """Models that are taken out of the zoo: ids, or `NAMESPACE/*`. In a user's own file."""
    catalogue: Text = UNSET
    """The name of a file beside this one with more models, one JSON object a line. In layerzoo's or a plugin's file."""
    hub: Builder = UNSET
    """The builder for every repository of the Hugging Face hub, which is a model of this plugin then, as
    `NAMESPACE/ORG/REPO`; the plugin's `layerzoo_identify` tells what it is. In a plugin's file."""
    defaults: DefaultsForm = UNSET
    """The model that is used for a kind of input when none is named. In layerzoo's own file."""
    plugins: dict[str, PublishedForm] = UNSET
    """Plugins that can be installed, by namespace. In layerzoo's own file."""
