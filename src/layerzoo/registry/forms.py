"""The author's form of registry.yaml: which keys there are, and what may stand behind them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from layerzoo.pooling import POOLINGS
from layerzoo.registry.document import MAX_DEPTH
from layerzoo.registry.mistakes import hint, shorten, show
from layerzoo.spec import AXES, Modality

UNSET: Any = None
"""A key that was not written. Written with nothing behind it, it is a mistake: only the type's own values are valid."""

_MAX_INT = 2**63 - 1
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


def _matching(pattern: re.Pattern[str], wanted: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"'{shorten(text)}' is not {wanted}")
        return text

    return AfterValidator(check)


def _split_axes(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


def _distinct(axes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(axes)) < len(axes):
        raise ValueError(f"the axes '{' '.join(axes)}' name one twice")
    return axes


def _square(value: Any) -> Any:
    return [value, value] if isinstance(value, int) and not isinstance(value, bool) else value


def _position_or_name(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INT):
        return value
    raise ValueError(f"an output is a position from 0 or a name, not {show(value)}")


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
Id = Annotated[str, _matching(_ID, "an id: segments of letters, digits and . _ + @ : ~ = - between slashes")]
Disabled = Annotated[str, _matching(_DISABLED, "an id, or a namespace with all its models, as in acme/*")]
Builder = Annotated[str, _matching(_BUILDER, "a builder's name: small letters, digits, - and _")]
Count = Annotated[int, Field(ge=0, le=_MAX_INT)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Spread = Annotated[float, Field(gt=0)]
Axis = Annotated[str, AfterValidator(lambda name: _one_of(name, AXES, "axis"))]
Axes = Annotated[tuple[Axis, ...], BeforeValidator(_split_axes), AfterValidator(_distinct), Field(strict=False)]
Sha256 = Annotated[str, _matching(_HEX, "a sha256: 64 hexadecimal digits in small letters")]
Pool = Annotated[str, AfterValidator(lambda name: _one_of(name, tuple(POOLINGS), "pooling"))]


def _one_of(name: str, names: Sequence[str], noun: str) -> str:
    if name not in names:
        raise ValueError(f"there is no {noun} '{shorten(name)}'. {hint(name, names)}")
    return name


# ---------------------------------------------------------------- forms


class Form(BaseModel):
    """Keys are known, types are meant as written, and a key that is absent is unset rather than a default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ImageForm(Form):
    size_px: Annotated[tuple[Size, Size], BeforeValidator(_square), Field(strict=False)] = UNSET
    resize: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = UNSET
    crop: Fraction = UNSET
    fit: Literal["crop", "squash"] = UNSET
    mean: Annotated[tuple[float, float, float], Field(strict=False)] = UNSET
    std: Annotated[tuple[Spread, Spread, Spread], Field(strict=False)] = UNSET


class AudioForm(Form):
    sample_rate_hz: Size = UNSET
    window_s: Spread = UNSET
    pad: Literal["none", "window"] = UNSET


class TextForm(Form):
    max_tokens: Size = UNSET
    cls_token: bool = UNSET


class VideoForm(Form):
    frames: Size = UNSET
    temporal_pool: Literal["mean"] = UNSET
    image: ImageForm = UNSET


class LayerForm(Form):
    module: str
    call: Count = UNSET
    output: Annotated[Any, AfterValidator(_position_or_name)] = UNSET
    at: Literal["output", "input"] = UNSET
    axes: Axes = UNSET
    shape: Annotated[tuple[Size, ...], Field(strict=False)] = UNSET
    prefix_tokens: Count = UNSET
    depth: Annotated[float, Field(ge=0, le=1)] = UNSET
    params: Count = UNSET
    flops: Count = UNSET

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
    layer: Text = UNSET
    pool: Pool = UNSET


class WeightsForm(Form):
    source: Text
    sha256: Annotated[dict[str, Sha256], BeforeValidator(_of_one_file)] = UNSET
    keys: dict[str, str] = UNSET

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
            raise ValueError(f"{scheme}: sources need a sha256: write weights: {{source: …, sha256: …}}")
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
    summary: Annotated[str, Field(max_length=1000)] = UNSET
    license: Text = UNSET
    builder: Builder = UNSET
    args: Annotated[dict[str, Any], AfterValidator(_plain_values)] = UNSET
    params: Count = UNSET
    base: Id = UNSET
    preprocess: Any = UNSET
    layers: dict[str, LayerForm] = UNSET
    default: DefaultForm = UNSET
    weights: WeightsForm = UNSET


class VisionModelForm(ModelForm):
    preprocess: ImageForm = UNSET


class AudioModelForm(ModelForm):
    preprocess: AudioForm = UNSET


class TextModelForm(ModelForm):
    preprocess: TextForm = UNSET


class VideoModelForm(ModelForm):
    preprocess: VideoForm = UNSET


class DefaultsForm(Form):
    text: Id = UNSET
    vision: Id = UNSET
    audio: Id = UNSET
    video: Id = UNSET


class PublishedForm(Form):
    """A plugin that can be installed."""

    package: Text
    summary: Text
    builders: list[Builder] = UNSET


class HeadForm(Form):
    """A registry.yaml; its models are checked one by one."""

    layerzoo: int
    requires: Annotated[list[Text], BeforeValidator(_listed)] = UNSET
    builders: list[Builder] = UNSET
    models: dict[str, Any] = UNSET
    aliases: dict[Id, Id] = UNSET
    disable: list[Disabled] = UNSET
    catalogue: Text = UNSET
    defaults: DefaultsForm = UNSET
    plugins: dict[str, PublishedForm] = UNSET
