"""The keys of registry.yaml and their values, as an author writes them.

A form is derived from the dataclass of :mod:`layerzoo.spec` that it describes. It takes over the names, the types with
their limits, and the descriptions of all fields, and declares only the keys that are written in another way in a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from layerzoo.errors import PoolingError, UsageError
from layerzoo.frame_sampling import FrameSampling
from layerzoo.pooling import POOLINGS, TEMPORAL_POOLINGS, parse_temporal_pool
from layerzoo.registry.format.document import MAX_DEPTH
from layerzoo.registry.format.layer_table import COLUMNS
from layerzoo.registry.format.mistakes import MissingKeyError, UnknownWordError, shorten, show
from layerzoo.spec import (
    AXES,
    KINDS,
    MAX_INT,
    MAX_SIZE,
    AudioPreprocess,
    BoundedStr,
    Default,
    FrozenMap,
    ImagePreprocess,
    Layer,
    Modality,
    ModelSpec,
    NonEmptyStr,
    PositiveInt,
    TextPreprocess,
    VideoPreprocess,
    Weights,
)

UNSET: Any = None
"""The value of an absent key. An empty key is a mistake instead: only the values of its type are valid."""

_ID = re.compile(r"\w[\w.+@:~=-]*(/\w[\w.+@:~=-]*)*")
_DISABLED = re.compile(rf"{_ID.pattern}(/\*)?")
_BUILDER = re.compile(r"[a-z][a-z0-9_-]*")
_POOL_OF_PLUGIN = re.compile(r"[a-z0-9][a-z0-9_-]*/[A-Za-z0-9][\w.-]*")
_HEX = re.compile(r"[0-9a-f]{64}")
_HEX_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_SOURCES = {
    "package": re.compile(r"package://[A-Za-z0-9][A-Za-z0-9._-]*/[^/].*"),
    "file": re.compile(r"file:.+"),
    "https": re.compile(r"https://[^/]+/.*[^/]"),
    "hf": re.compile(r"hf://[\w.-]+/[\w.-]+(@[^/@]+)?(/.*)?"),
}


def is_id(text: str) -> bool:
    """Return whether a text can be the id of a model."""
    return len(text) <= 500 and _ID.fullmatch(text) is not None


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class _Matching:
    """Require that a text matches a pattern. wanted: a description of the pattern, for the message."""

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
    """Require one of some words. noun: a common name for them, for the message."""

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


class _PoolingName:
    """Require the name of a pooling, or that of a plugin's pooling: ``NAMESPACE/NAME``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        text = handler(schema)
        return {"anyOf": [{**text, "enum": list(POOLINGS)}, {**text, "pattern": f"^(?:{_POOL_OF_PLUGIN.pattern})$"}]}

    def _checked(self, word: str) -> str:
        if word not in POOLINGS and not _POOL_OF_PLUGIN.fullmatch(word):
            raise UnknownWordError(f"there is no pooling '{shorten(word)}'", word, tuple(POOLINGS))
        return word


class _TemporalPool:
    """Require the name of a temporal pooling, with its number if it has one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = "|".join(
            name if pooling.default is None else rf"{name}(:[0-9.]+)?" for name, pooling in TEMPORAL_POOLINGS.items()
        )
        return {**handler(schema), "pattern": f"^(?:{names})$"}

    def _checked(self, text: str) -> str:
        name = text.partition(":")[0]
        if name not in TEMPORAL_POOLINGS:
            raise UnknownWordError(f"there is no temporal pooling '{shorten(text)}'", name, tuple(TEMPORAL_POOLINGS))
        try:
            parse_temporal_pool(text)
        except PoolingError as error:
            raise ValueError(str(error)) from error
        return text


@dataclass(frozen=True, slots=True)
class _ShortForm:
    """Add the short forms of a value, which a validator converts, to its JSON Schema."""

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
    if not 1 <= value <= MAX_SIZE:
        raise ValueError(f"{show(value)} is not a size: 1 to {MAX_SIZE}")
    return [value, value]


def _position_or_name(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INT):
        return value
    raise ValueError(f"an output is a position from 0 or a name, not {show(value)}")


def _cost_or_costs(value: Any) -> Any:
    numbers = value if isinstance(value, list) and len(value) == 2 else [value]
    if all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MAX_INT for number in numbers):
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
    elif isinstance(value, int) and abs(value) > MAX_INT:
        raise ValueError("whole numbers must fit into 64 bits")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _of_one_file(value: Any) -> Any:
    return {"": value} if isinstance(value, str) else value


Id = Annotated[str, _Matching(_ID, "an id: segments of letters, digits and . _ + @ : ~ = - between slashes")]
Disabled = Annotated[str, _Matching(_DISABLED, "an id, or a namespace with all its models, as in acme/*")]
Builder = Annotated[str, _Matching(_BUILDER, "a builder's name: small letters, digits, - and _")]
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
Sides = Annotated[
    tuple[PositiveInt, PositiveInt],
    BeforeValidator(_square),
    Field(strict=False),
    _ShortForm(({"type": "integer", "minimum": 1},)),
]
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
Sha256Prefix = Annotated[
    str, _Matching(_HEX_PREFIX, "the start of a sha256: 8 to 64 hexadecimal digits in small letters")
]
Digests = Annotated[
    dict[str, Sha256], BeforeValidator(_of_one_file), _ShortForm(({"type": "string", "pattern": f"^{_HEX.pattern}$"},))
]
Pool = Annotated[str, _PoolingName()]
TemporalPool = Annotated[str, _TemporalPool()]
Values = Annotated[dict[str, Any], AfterValidator(_plain_values)]
Metrics = Annotated[
    dict[NonEmptyStr, dict[NonEmptyStr, int | float | BoundedStr]],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"anyOf": [{"type": "number"}, {"type": "string", "minLength": 1}]},
            },
        }
    ),
]

Training = dict[NonEmptyStr, int | float | BoundedStr]


def _in_a_file(type_: Any) -> Any:
    """Convert the type of a field of a spec to that of the key of a file.

    None becomes an absent key, a tuple is written as a list, and a FrozenMap as a mapping.
    """
    if get_origin(type_) in (Union, UnionType):
        (type_,) = (alternative for alternative in get_args(type_) if alternative is not NoneType)
    if get_origin(type_) is tuple:
        return Annotated[type_, Field(strict=False)]
    return Values if type_ is FrozenMap else type_


# ---------------------------------------------------------------- forms


class Form(BaseModel):
    """A mapping with known keys, without conversion of types. An absent key is unset and has no default value.

    The docstrings of the keys are their descriptions: see :mod:`layerzoo.registry.format.json_schema`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    spec_class: ClassVar[type | None] = None
    """The dataclass from which the form is derived."""


FormT = TypeVar("FormT", bound=Form)


def _derived_from(source: type, *, without: Collection[str] = ()) -> Callable[[type[FormT]], type[FormT]]:
    """Add the fields of a dataclass to a form, as optional keys.

    A key that the form declares itself keeps its declaration. Its docstring is added to that of the dataclass.

    source: the dataclass. without: its fields that are not keys.
    """

    def derive(form: type[FormT]) -> type[FormT]:
        types = get_type_hints(source, include_extras=True)
        added: dict[str, Any] = {
            name: (_in_a_file(type_), UNSET)
            for name, type_ in types.items()
            if name not in form.model_fields and name not in without
        }
        doc = "\n\n".join(filter(None, [source.__doc__, form.__doc__]))
        derived = create_model(form.__name__, __base__=form, __module__=form.__module__, __doc__=doc, **added)
        derived.spec_class = source
        return derived

    return derive


@_derived_from(ImagePreprocess, without={"kind"})
class ImageForm(Form):
    size_px: Sides = UNSET
    """A single number sets both."""


@_derived_from(AudioPreprocess, without={"kind"})
class AudioForm(Form):
    temporal_pool: TemporalPool = UNSET


@_derived_from(TextPreprocess, without={"kind"})
class TextForm(Form):
    temporal_pool: TemporalPool = UNSET


@_derived_from(VideoPreprocess, without={"kind"})
class VideoForm(Form):
    temporal_pool: TemporalPool = UNSET
    image: ImageForm = UNSET

    @model_validator(mode="after")
    def _fits_together(self) -> VideoForm:
        names = ("frames", "sampling", "start_s", "end_s", "clips", "joint")
        values = {name: value for name in names if (value := getattr(self, name, UNSET)) is not UNSET}
        try:
            FrameSampling(**values)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return self


PREPROCESS_FORMS: dict[str, type[Form]] = {
    "image": ImageForm,
    "audio": AudioForm,
    "text": TextForm,
    "video": VideoForm,
}
"""The form of a preprocess, by its kind."""


@_derived_from(Layer, without={"name"})
class LayerForm(Form):
    module: Module
    """In a file `.` is the network itself too, and an address as `zoo layers` prints it is accepted: `shared#4` (its
    fifth call), `blocks.0<` (its input), `mixer[1]` (its second output)."""
    output: Output = UNSET
    axes: Axes = UNSET
    params: Costs = UNSET
    """For a range of layers: [first, step]."""
    flops: Costs = UNSET
    """For a range of layers: [first, step]."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        path = {"type": ["string", "null"], "description": "The dotted path of the submodule."}
        return {"anyOf": [path, handler(schema)]}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """Convert ``norm: encoder.norm`` to ``norm: {module: encoder.norm}``, and ``head:`` to the network itself."""
        if value is None or isinstance(value, str):
            return {"module": value or ""}
        if isinstance(value, int | float):
            raise ValueError(f"the path of a module that looks like a number needs quotes: '{value}'")
        if isinstance(value, Mapping) and "module" in value and value["module"] is None:
            return {**value, "module": ""}
        return value

    @model_validator(mode="after")
    def _sizes_of_axes(self) -> LayerForm:
        shape: tuple[int, ...] | None = getattr(self, "shape", None)
        if self.axes and shape is not None and len(shape) != len(self.axes) - ("batch" in self.axes):
            raise ValueError(f"the shape {list(shape)} does not fit the axes '{' '.join(self.axes)}' without the batch")
        return self


@_derived_from(Default)
class DefaultForm(Form):
    pool: Pool = UNSET


@_derived_from(Weights)
class WeightsForm(Form):
    source: BoundedStr
    """A relative path starts at the folder of the file."""
    sha256: Digests = UNSET
    """The digest of a single file needs no name."""
    sha256_prefix: Sha256Prefix = UNSET
    lock: bool = UNSET
    files: dict[str, str] = UNSET
    keys: dict[str, str] = UNSET
    """Ranges such as `{0..11}` are allowed."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        sources = "|".join(pattern.pattern for name, pattern in _SOURCES.items() if name in ("file", "hf"))
        source = {"type": "string", "pattern": f"^(?:{sources})$", "description": "The source."}
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
                f"'{shorten(self.source)}' is not a source of weights. Possible: package://DISTRIBUTION/PATH, "
                "file:PATH, https://HOST/PATH, hf://ORG/REPO[@REVISION][/FILE]"
            )
        if scheme != "file" and any(part in {".", ".."} for part in self.source.split("/")):
            raise ValueError(f"the path of '{shorten(self.source)}' must not hold . or ..")
        if self.sha256_prefix and scheme != "https":
            raise ValueError(f"sha256_prefix is for a file at a link, https://HOST/PATH, and this is {scheme}:")
        if (self.lock or self.files) and scheme != "https":
            name = "lock" if self.lock else "files"
            raise ValueError(f"{name} is for a file at a link, https://HOST/PATH, and this is {scheme}:")
        if self.lock and (self.sha256 or self.sha256_prefix):
            raise ValueError("lock is for a file without a stated digest, and a digest is declared: remove one of them")
        for name, link in (self.files or {}).items():
            if "/" in name or not _SOURCES["https"].fullmatch(link):
                raise ValueError(f"files: '{shorten(name)}: {shorten(link)}' is not FILE: https://HOST/PATH")
            if not self.lock and name not in (self.sha256 or {}):
                raise ValueError(f"files: {shorten(name)} needs a sha256, or lock: true")
        if scheme in {"https", "package"} and not self.sha256 and not self.sha256_prefix and not self.lock:
            message = f"weights from {scheme}:// need a sha256: write weights: {{source: …, sha256: …}}"
            raise MissingKeyError(message, "sha256")
        if self.sha256 and "" in self.sha256 and not self.file:
            raise ValueError("a folder has many files: write sha256: {FILE: HEX, …}")
        return self

    @property
    def file(self) -> str:
        """The name of the single file at the source, or an empty text for a folder."""
        if self.source.startswith("hf://") and self.source.count("/") < 4:
            return ""
        return self.source.rpartition("/")[2].removeprefix("file:")


@_derived_from(ModelSpec, without={"id", "traced_with", "plugin", "aliases"})
class ModelForm(Form):
    modality: Modality
    builder: Builder = UNSET
    base: Id = UNSET
    preprocess: Any = UNSET
    layers: dict[str, LayerForm] = UNSET
    """Ranges such as `block.{0..11}` declare several layers at once."""
    default: DefaultForm = UNSET
    weights: WeightsForm = UNSET
    metrics: Metrics = UNSET
    training: Training = UNSET


MODEL_FORMS: dict[str, type[ModelForm]] = {
    modality: create_model(
        f"{modality.capitalize()}ModelForm",
        __base__=ModelForm,
        __doc__=f"A model of the modality {modality}.",
        modality=(Literal[modality], ...),  # type: ignore[arg-type]  # a variable in Literal
        preprocess=(PREPROCESS_FORMS[kind], UNSET),
    )
    for modality, kind in KINDS.items()
}
"""The form of a model, by its modality."""


class DefaultsForm(Form):
    """The default model of each modality."""

    text: Id = UNSET
    """The id of the model for text."""
    vision: Id = UNSET
    """The id of the model for images."""
    audio: Id = UNSET
    """The id of the model for audio."""
    video: Id = UNSET
    """The id of the model for video."""


class PublishedForm(Form):
    """A plugin that can be installed."""

    package: BoundedStr
    """The name of the distribution, as for `pip install`."""
    summary: BoundedStr
    """A description of the plugin, in one line."""
    builders: list[Builder] = UNSET
    """The builders that it provides."""
    hub: bool = UNSET
    """Whether every repository of the Hugging Face hub is a model of the plugin, as `NAMESPACE/ORG/REPO`."""


class CatalogueHeadForm(Form):
    """The first line of a generated catalogue."""

    layerzoo: int
    """The version of this format."""
    traced_with: dict[str, BoundedStr] = UNSET
    """The version of each library with which the layers were traced."""
    common: dict[str, Any] = UNSET
    """Keys of a model that apply to all lines which do not declare them."""
    columns: Columns = UNSET
    """The columns of the table `layers`, in order. The first two are name and module."""


class HeadForm(Form):
    """A registry.yaml. Its models are checked one by one."""

    layerzoo: int
    """The version of this format."""
    requires: Annotated[list[BoundedStr], BeforeValidator(_listed), _ShortForm(({"type": "string"},))] = UNSET
    """The required version of layerzoo, as in `layerzoo>=0.1`."""
    builders: list[Builder] = UNSET
    """The builders that the hook `layerzoo_build` of this plugin provides."""
    models: dict[str, Any] = UNSET
    """Models by id. The namespace may be omitted."""
    aliases: dict[Id, Id] = UNSET
    """Other names of models: a mapping from name to id."""
    disable: list[Disabled] = UNSET
    """Models to remove from the zoo: ids, or `NAMESPACE/*`. Only in a user's own file."""
    catalogue: BoundedStr = UNSET
    """The name of a file in the same folder with more models, one JSON object per line. Only in the file of layerzoo or
    of a plugin."""
    hub: Builder = UNSET
    """The builder for every repository of the Hugging Face hub, as the model `NAMESPACE/ORG/REPO`. The hook
    `layerzoo_identify` of the plugin describes the model. Only in a plugin's file."""
    frames: Builder = UNSET
    """The builder for every image model of the zoo as a video model, `NAMESPACE/ID`: frames are sampled from a video,
    and each goes through the image model. Only in a plugin's file."""
    defaults: DefaultsForm = UNSET
    """The default model of each modality. Only in layerzoo's own file."""
    plugins: dict[str, PublishedForm] = UNSET
    """Plugins that can be installed, by namespace. Only in layerzoo's own file."""
