"""The declaration of a model: frozen, serializable dataclasses that need the standard library only.

The keys of registry.yaml are derived from these dataclasses (see :mod:`layerzoo.registry.forms`): the types and limits,
and the docstring of each attribute, which is also its description in the JSON Schema and in the reference. A docstring
here therefore applies to both: "by default" is ``None`` in Python and an absent key in a file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from layerzoo.modalities import MODALITIES, Modality

__all__ = [
    "AXES",
    "EXAMPLE_SECONDS",
    "EXAMPLE_TOKENS",
    "MODALITIES",
    "TOLERANCE",
    "AudioPreprocess",
    "Batching",
    "Default",
    "FrozenMap",
    "ImagePreprocess",
    "Layer",
    "Modality",
    "ModelSpec",
    "Preprocess",
    "TextPreprocess",
    "VideoPreprocess",
    "Weights",
    "layer_from_dict",
    "preprocess_from_dict",
    "reference_input",
    "to_plain",
]

KINDS: dict[str, str] = {"vision": "image", "audio": "audio", "text": "text", "video": "video"}
"""The ``kind`` of the preprocess of each modality."""

IN_MEMORY = "memory"
"""The ``builder`` of a network that is a module of the caller: see ``layerzoo.wrap``."""

AXES = ("batch", "token", "time", "height", "width", "depth", "frame", "window", "object", "channel")
"""The names of the axes of an activation. `token` is a sequence of patches or word pieces, `time` a sequence of audio
frames, `frame` a sequence of video frames, and `window` the parts of an image that are processed one by one; `depth` is
the third spatial axis. `object` is the objects that a network finds in an image: their number differs between images,
and in a batch the rows after the last object of an image are NaN."""

TAGS = ("tasks", "trained_on", "languages")
"""The fields of a model with several tags."""


class Constraints:
    """The range of a number, or of the length of a text, as metadata in ``Annotated`` types.

    The dataclasses of this module do not check it. Pydantic does, since this follows the protocol ``GroupedMetadata``
    of annotated-types, so that the checks of registry.yaml and the JSON Schemas follow from it.
    """

    __slots__ = ("_limits",)
    __is_annotated_types_grouped_metadata__ = True

    def __init__(self, **limits: float) -> None:
        """Set the limits: ``ge``, ``gt`` and ``le`` of a number, ``min_length`` and ``max_length`` of a text."""
        self._limits = limits

    def __iter__(self) -> Iterator[object]:
        """Yield the constraints of annotated-types."""
        import annotated_types as types

        classes = {
            "ge": types.Ge,
            "gt": types.Gt,
            "le": types.Le,
            "min_length": types.MinLen,
            "max_length": types.MaxLen,
        }
        return (classes[name](limit) for name, limit in self._limits.items())


MAX_INT = 2**63 - 1
"""The largest whole number: the index stores 64 bits."""
MAX_SIZE = 1_000_000
"""The largest size of anything that takes memory in proportion."""

# Types with limits. They cost nothing at start-up: the annotations below are only evaluated to derive a schema.
NonNegativeInt = Annotated[int, Constraints(ge=0, le=MAX_INT)]
PositiveInt = Annotated[int, Constraints(ge=1, le=MAX_SIZE)]
PositiveFloat = Annotated[float, Constraints(gt=0)]
Fraction = Annotated[float, Constraints(ge=0, le=1)]
NonEmptyStr = Annotated[str, Constraints(min_length=1)]
BoundedStr = Annotated[str, Constraints(min_length=1, max_length=10_000)]
TagStr = Annotated[str, Constraints(min_length=1, max_length=100)]


class FrozenMap(Mapping[str, Any]):
    """An immutable, hashable, picklable mapping: the ``args`` of a model. Nested dicts and lists are frozen too."""

    __slots__ = ("_items",)
    _items: dict[str, Any]

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        frozen = {str(key): _freeze(value) for key, value in (items or {}).items()}
        object.__setattr__(self, "_items", frozen)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenMap({self._items!r})"

    def __reduce__(self) -> tuple[type[FrozenMap], tuple[dict[str, Any]]]:
        return FrozenMap, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """Return a mutable copy, as for ``**kwargs``: nested maps become dicts, tuples become lists."""
        return {key: _thaw(value) for key, value in self._items.items()}


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return FrozenMap(value)
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, FrozenMap):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_thaw(item) for item in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A named position at which a network can be cut.

    `module` is declared; the other values may be declared, and are traced if not. Shapes and FLOPs apply to the input
    size of the model's preprocess.

    >>> layerzoo.model("toy/next-word").layers[0].shape
    (8, 3)
    """

    name: str
    """The name of the layer, the same in every architecture: `stem`, `block.3`, `stage.1`, `norm`, `pooled`, `head`.
    `embedding` is the final vector of the whole model, after projection, Dense and Normalize, comparable across the
    towers of a dual encoder. Detectors also have `neck.block.3` and `query.norm`, autoencoders `bottleneck`."""
    module: str
    """The dotted path of the submodule, as in `encoder.norm`; an empty path is the network itself."""
    call: NonNegativeInt | None = None
    """The call of the module, counted from 0, if the module is called several times."""
    output: int | str | None = None
    """The output, by position from 0 or by name, if the module returns several."""
    at: Literal["output", "input"] = "output"
    """The side of the module: the activation is its output, or its input (as for `penultimate`)."""
    axes: tuple[str, ...] | None = None
    """The names of the axes of the activation, in order, as in `batch token channel`."""
    shape: tuple[PositiveInt, ...] | None = None
    """The size of each axis except the batch."""
    prefix_tokens: NonNegativeInt | None = None
    """The number of tokens before those that cover the input: class, distillation and register tokens. For text they
    are positions in the sample, not in its padded row, and each chunk has them."""
    suffix_tokens: NonNegativeInt | None = None
    """The number of tokens after those that cover the input: the object queries of a detector. For text they end where
    the sample ends, before its padding."""
    last_tokens: NonNegativeInt | None = None
    """The number of tokens to use, counted from the end. By default all tokens are used."""
    depth: Fraction | None = None
    """The share of the network's FLOPs up to this layer, 0 to 1."""
    params: NonNegativeInt | None = None
    """The number of parameters used up to this layer."""
    flops: NonNegativeInt | None = None
    """The floating-point operations up to this layer, for one sample; a multiplication and an addition count as two."""

    def __repr__(self) -> str:
        if self.axes is None or self.shape is None:
            return f"<Layer {self.name}>"
        sizes = iter(self.shape)
        axes = ", ".join(axis if axis == "batch" else f"{axis} {next(sizes, '?')}" for axis in self.axes)
        return f"<Layer {self.name}: {axes}>"

    @property
    def address(self) -> str:
        """The module path with call, side and output: ``layer.3``, ``shared#4``, ``head<``, ``mixer[1]``.

        The name of an output that consists of digits is quoted, to distinguish it from a position: ``mixer["1"]``.
        :func:`layerzoo.layers.parse_address` parses it.

        >>> layerzoo.Layer(name="block.3", module="shared", call=3).address
        'shared#3'
        """
        call = "" if self.call is None else f"#{self.call}"
        output = self.output
        if isinstance(output, str) and (not output or output.isdecimal() or output.startswith('"')):
            output = f'"{output}"'
        return f"{self.module}{call}{'<' if self.at == 'input' else ''}{'' if output is None else f'[{output}]'}"


Batching = Literal["exact", "tolerance", "equal_lengths"]
"""How samples share a batch, so that the features of a sample do not depend on the other samples. `exact`: all rows
have the same size. `tolerance`: shorter rows are padded on the right under an attention mask, which changes a pooled
vector by at most TOLERANCE. `equal_lengths`: padding would change the features, so only rows of the same length share a
batch."""
TOLERANCE = 1e-5
"""The largest distance between the pooled float32 vector of a sample in a batch and that of the sample alone, as a
fraction of its length."""

EXAMPLE_TOKENS = 16
"""The number of tokens for which the shapes and FLOPs of a text model are stated, or half of its limit if that is
less."""
EXAMPLE_SECONDS = 1
"""The seconds of audio for which the shapes and FLOPs of an audio model without a fixed window are stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocess:
    """How an image becomes (channel, height, width) float32: resize, crop, divide by 255, normalize.

    With `processor`, the image processor of the model's library does all of it. The other values then only describe it,
    and are not applied.
    """

    kind: Literal["image"] = "image"
    size_px: tuple[PositiveInt, PositiveInt]
    """Height and width of the network's input, in pixels. With `variable_size`, those of an example."""
    resize: Literal["none", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    """The interpolation, with antialiasing, as in Pillow. `none`: images are not resized."""
    crop: Annotated[float, Constraints(gt=0, le=2)] = 1.0
    """The share of the resized image's side that the centre crop keeps: images are resized to floor(size / crop). Above
    1, the whole image is kept, with a border around it."""
    fit: Literal["crop", "squash", "pad"] = "crop"
    """How an image of other proportions fits. `crop`: its short side fits, and the excess of the long side is cut off.
    `squash`: both sides are resized to fit. `pad`: its long side fits, and the other is padded. The border has the
    colour `mean` for `pad`, and is black otherwise."""
    mean: tuple[float, float, float]
    """The values subtracted from red, green and blue, on a scale of 0 to 1."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    """The values by which red, green and blue are then divided."""
    processor: NonEmptyStr | None = None
    """The class of the image processor of the model's library, such as `CLIPImageProcessorPil`, which is called for
    every image. Written by plugins. By default the values above are applied."""
    backend: NonEmptyStr | None = None
    """The library that the processor computes with: `pil` or `torchvision`."""
    settings: FrozenMap = field(default_factory=FrozenMap)
    """The settings of the processor, under the names that its library uses."""
    variable_size: bool = False
    """Whether the size of the network's input depends on the size of the image."""
    refused: NonEmptyStr | None = None
    """Why the processor cannot be called with an image alone. Such a model still takes preprocessed tensors."""

    @property
    def batching(self) -> Batching:
        """Images share a batch if the network's input has one size."""
        return "equal_lengths" if self.variable_size else "exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPreprocess:
    """How audio becomes windows of mono samples at the network's sample rate."""

    kind: Literal["audio"] = "audio"
    sample_rate_hz: PositiveInt
    """The sample rate in Hz. Audio with another rate is resampled."""
    channels: PositiveInt = 1
    """The number of channels of the network's input. 1: the mean of all channels. More: audio with another number of
    channels is refused."""
    window_s: PositiveFloat | None = None
    """The longest audio, in seconds, that the network takes at once; longer audio is split into windows. By default
    there is no limit."""
    pad: Literal["none", "window"] = "none"
    """The padding. `window`: every window is padded to window_s, as required by networks with a fixed input."""
    frame_hop_samples: tuple[PositiveInt, PositiveInt] | None = None
    """The number of samples of the first frame, and the number of samples from the start of a frame to the start of the
    next. Only for a network that supports padded audio with an attention mask, which changes its features by at most
    1e-5: its valid frames follow from these numbers."""
    temporal_pool: NonEmptyStr | None = None
    """How the vectors of the windows of long audio are pooled, as in `max` or `dct:4`. By default all positions of all
    windows are pooled together."""

    @property
    def batching(self) -> Batching:
        """Windows padded to one size share a batch; other audio is padded if the network's frames are declared."""
        if self.pad == "window":
            return "exact"
        return "equal_lengths" if self.frame_hop_samples is None else "tolerance"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPreprocess:
    """How text becomes tokens. The tokenizer itself comes from the builder's plugin."""

    kind: Literal["text"] = "text"
    max_tokens: PositiveInt
    """The longest sequence that the network takes, including special tokens."""
    cls_token: bool = False
    """Whether the first token of every sequence is a classification token, which represents the whole text."""
    batching: Batching | None = None
    """How texts of different lengths share a batch. `exact`: each is padded to max_tokens, without an attention mask,
    as the network was trained. `tolerance`: padded to the longest under an attention mask, for a network whose features
    this changes by at most 1e-5. `equal_lengths`: only texts of the same length, which is right for any network. By
    default the builder's library decides, and `equal_lengths` applies if it does not."""
    temporal_pool: NonEmptyStr | None = None
    """How the vectors of the chunks of a long text are pooled, as in `max` or `dct:4`. By default all tokens of all
    chunks are pooled together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPreprocess:
    """How a video becomes images: frames are sampled from it.

    They go through the network one by one, each preprocessed alone, or as one clip, (frame, channel, height, width).
    """

    kind: Literal["video"] = "video"
    frames: PositiveInt
    """The number of frames that the sampling `uniform` takes from a video, whatever its duration. Of a network that
    takes all frames at once, the number of frames of a clip."""
    sampling: NonEmptyStr = "uniform"
    """The frames that are sampled. `uniform`: those in the middles of equal parts of the time. `fps:2`: two for each
    second. `every:10`: every tenth frame. `keyframes`: those that are stored without reference to others. `scenes`: one
    of each scene. `segments:16:SEED`: one at a random time in each of 16 equal parts."""
    start_s: Annotated[float, Constraints(ge=0)] = 0.0
    """The start of the sampled interval, in seconds after the first frame."""
    end_s: PositiveFloat | None = None
    """The end of the sampled interval. By default the end of the video."""
    clips: PositiveInt = 1
    """The number of clips of a video, for a network that takes all frames of a clip at once. Their features are
    pooled."""
    joint: bool = False
    """Whether the network takes all frames at once, rather than one by one."""
    temporal_pool: NonEmptyStr = "mean"
    """How the vectors of the frames are pooled, if each frame goes through the network alone: `mean`, `max`, `last`,
    `statistics`, `ema:0.2`, `delta`, `pyramid:3`, `dct:4`, `rank`, or `none` for the sequence itself."""
    image: ImagePreprocess | None = None
    """How the frames are preprocessed. By default the builder's library decides."""

    @property
    def batching(self) -> Batching | None:
        """Frames, or clips, share a batch if the network's input has one size."""
        return None if self.image is None else self.image.batching


Preprocess = ImagePreprocess | AudioPreprocess | TextPreprocess | VideoPreprocess
"""How a sample becomes a batch. Each modality has one of these types, and its ``kind`` names it."""
PREPROCESS_CLASSES: dict[str, type[Preprocess]] = {
    cls.__dataclass_fields__["kind"].default: cls for cls in get_args(Preprocess)
}
"""The class of a preprocess, by its kind."""


def reference_input(preprocess: Preprocess) -> str:
    """Describe the input for which the shapes and FLOPs of a model's layers are stated, as in ``16 tokens``."""
    if isinstance(preprocess, TextPreprocess):
        return f"{min(EXAMPLE_TOKENS, preprocess.max_tokens // 2)} tokens"
    if isinstance(preprocess, AudioPreprocess):
        is_fixed = preprocess.pad == "window" and preprocess.window_s is not None
        return f"{preprocess.window_s if is_fixed else EXAMPLE_SECONDS:g} s at {preprocess.sample_rate_hz} Hz"
    if isinstance(preprocess, VideoPreprocess):
        frames = f"{preprocess.frames} frames" if preprocess.joint else "one frame"
        return frames if preprocess.image is None else f"{frames} of {reference_input(preprocess.image)}"
    return f"{preprocess.size_px[0]} × {preprocess.size_px[1]} pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The source of a checkpoint, its digests, and the renaming of its keys."""

    source: BoundedStr
    """The source of the checkpoint: `package://DISTRIBUTION/PATH`, `file:PATH`, `https://HOST/PATH` or
    `hf://ORG/REPO[@REVISION][/FILE]`. A path that ends in a slash is a folder."""
    sha256: tuple[tuple[str, str], ...] = ()
    """The SHA-256 of each file of the model, in hexadecimal digits, by file name."""
    sha256_prefix: str | None = None
    """The first digits of the SHA-256 of a file at a link, 8 to 64, if its publisher states no more, for example in its
    name. The file is verified with these digits, and `zoo pull` writes the whole digest to layerzoo.lock."""
    lock: bool = False
    """Whether the publisher of a file at a link states no digest at all. `zoo pull` then writes the SHA-256 of the file
    to layerzoo.lock. Without it, the file is not opened."""
    files: tuple[tuple[str, str], ...] = ()
    """The links to further files of the model that are not in the folder of the checkpoint, by file name."""
    keys: tuple[tuple[str, str], ...] = ()
    """The network's name for each checkpoint key, or for a part of one that consists of whole dotted segments. Applied
    in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """The features that are extracted if no layer or pooling is requested."""

    layer: BoundedStr = "last"
    """The layer, by name or by a selector such as `block.-1`."""
    pool: str = "mean"
    """The name of the pooling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The declaration of one model of the zoo.

    >>> layerzoo.model("toy/next-word").modality
    'text'
    """

    id: str
    """Namespace and name, as in `starter/minilm-l6`; the name may contain further slashes."""
    modality: Modality
    """The kind of data that the model takes: text, vision, audio or video."""
    builder: str
    """The builder that creates the network. A plugin provides it."""
    args: FrozenMap = field(default_factory=FrozenMap)
    """The arguments of the builder."""
    weights: Weights | None = None
    """The source of the checkpoint. By default the plugin includes it, or there is none."""
    preprocess: Preprocess | None = None
    """How a sample becomes the network's input. By default the builder's library decides."""
    layers: tuple[Layer, ...] = ()
    """The positions at which the network can be cut, by name, in the order of execution. By default a trace of the
    network names them."""
    default: Default = Default()
    """The features that are extracted if no layer or pooling is requested."""
    base: str | None = None
    """The id of a model from which undeclared values are inherited, such as the image model of a video model."""
    summary: Annotated[str, Constraints(max_length=1000)] = ""
    """A description of the model, in one line."""
    license: BoundedStr | None = None
    """The license of the weights, as an SPDX identifier: `apache-2.0`, `mit`, `cc-by-nc-4.0`."""
    tasks: tuple[TagStr, ...] = ()
    """The tasks that the model was trained for, under the names of the Hugging Face hub: `image-classification`,
    `automatic-speech-recognition`. Empty: unknown."""
    trained_on: tuple[TagStr, ...] = ()
    """The data sets that the weights were trained on, in order: `imagenet-21k`, `imagenet-1k`. Empty: unknown."""
    languages: tuple[TagStr, ...] = ()
    """The languages of the text or speech, as ISO 639 codes: `en`, `de`; or `multilingual`. Empty: unknown."""
    params: NonNegativeInt | None = None
    """The number of parameters of the whole network."""
    flops: NonNegativeInt | None = None
    """The floating-point operations of the whole network, for one sample, at the input size of its preprocess."""
    metrics: FrozenMap = field(default_factory=FrozenMap)
    """The results of the weights, as their publisher states them: a mapping from dataset to metric to value, as in
    `imagenet: {acc1: 80.858}`."""
    training: FrozenMap = field(default_factory=FrozenMap)
    """Facts about the training of the weights, as their publisher states them: the number of `classes`, and the address
    of the `recipe`."""
    unusable: BoundedStr | None = None
    """Why the network cannot be a backbone, and what to use instead. The model is listed, and loading it is an
    error."""
    traced_with: FrozenMap = field(default_factory=FrozenMap)
    """The version of each library with which the layers of a generated catalogue were traced. Other versions may use
    other module names."""
    plugin: str | None = None
    """The distribution that declares the model. None: a user's own file."""
    aliases: tuple[str, ...] = ()
    """Other names of the model."""

    def __repr__(self) -> str:
        facts: list[str] = [self.modality]
        if self.params is not None:
            facts.append(f"{self.params:,} parameters")
        if self.layers:
            facts.append(f"{len(self.layers)} layers")
        return f"<ModelSpec {self.id}: {', '.join(facts)}>"

    @property
    def namespace(self) -> str:
        """The part of the id before its first slash.

        >>> layerzoo.model("toy/next-word").namespace
        'toy'
        """
        return self.id.split("/", 1)[0]

    def to_dict(self) -> dict[str, Any]:
        """Serialize to dicts, lists, strings and numbers. Fields that have their default value are omitted.

        >>> layerzoo.model("toy/next-word").to_dict()["preprocess"]
        {'kind': 'text', 'max_tokens': 16, 'batching': 'tolerance'}
        """
        fields = _serialized(self)
        assert isinstance(fields, dict)
        return fields

    def to_json(self) -> str:
        """Serialize to one line of JSON, with the keys of :meth:`to_dict`.

        >>> layerzoo.model("toy/next-word").to_json()[:42]
        '{"id":"toy/next-word","modality":"text","b'
        """
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Deserialize the output of :meth:`to_dict`. Raises: MissingFieldsError.

        >>> spec = layerzoo.model("toy/next-word")
        >>> layerzoo.ModelSpec.from_dict(spec.to_dict()) == spec
        True
        """
        fields = dict(data)
        fields["args"] = FrozenMap(fields.get("args"))
        fields["metrics"] = FrozenMap(fields.get("metrics"))
        fields["training"] = FrozenMap(fields.get("training"))
        fields["traced_with"] = FrozenMap(fields.get("traced_with"))
        fields["layers"] = tuple(layer_from_dict(layer) for layer in fields.get("layers", ()))
        for name in ("aliases", *TAGS):
            fields[name] = tuple(fields.get(name, ()))
        if weights := fields.get("weights"):
            fields["weights"] = Weights(
                source=weights["source"],
                sha256=tuple((name, digest) for name, digest in weights.get("sha256", ())),
                sha256_prefix=weights.get("sha256_prefix"),
                lock=weights.get("lock", False),
                files=tuple((name, link) for name, link in weights.get("files", ())),
                keys=tuple((old, new) for old, new in weights.get("keys", ())),
            )
        if preprocess := fields.get("preprocess"):
            fields["preprocess"] = preprocess_from_dict(preprocess)
        fields["default"] = Default(**fields.get("default", {}))
        spec: ModelSpec = _create(cls, fields)
        return spec

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Deserialize the output of :meth:`to_json`.

        >>> spec = layerzoo.model("toy/next-word")
        >>> layerzoo.ModelSpec.from_json(spec.to_json()) == spec
        True
        """
        return cls.from_dict(json.loads(text))


def layer_from_dict(data: Mapping[str, Any]) -> Layer:
    """Deserialize a Layer: lists become tuples."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Layer(**fields)


def preprocess_from_dict(data: Mapping[str, Any]) -> Preprocess:
    """Deserialize a Preprocess. Its ``kind`` selects the class. Raises: MissingFieldsError."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    if isinstance(fields.get("image"), Mapping):
        fields["image"] = preprocess_from_dict({"kind": "image", **fields["image"]})
    if "settings" in fields:
        fields["settings"] = FrozenMap(fields["settings"])
    preprocess: Preprocess = _create(PREPROCESS_CLASSES[data["kind"]], fields)
    return preprocess


class MissingFieldsError(TypeError):
    """A dict does not have all fields that its class requires. ``missing`` are their names."""

    def __init__(self, kind: str, missing: tuple[str, ...]) -> None:
        super().__init__(f"{kind} requires {', '.join(missing)}")
        self.missing = missing


def _create(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Return an instance of a dataclass. Raises: TypeError for an unknown field, MissingFieldsError."""
    fields = [field for field in dataclasses.fields(kind) if field.init]
    if unknown := values.keys() - {field.name for field in fields}:
        raise TypeError(f"{kind.__name__} has no field {', '.join(map(repr, sorted(unknown)))}")
    required = {field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING}
    if missing := tuple(sorted(required - values.keys())):
        raise MissingFieldsError(kind.__name__, missing)
    return kind(**values)


def to_plain(value: Layer | Preprocess | Weights | Default) -> dict[str, Any]:
    """Serialize a part of a spec, as :meth:`ModelSpec.to_dict` does."""
    fields = _serialized(value)
    assert isinstance(fields, dict)
    return fields


def _serialized(value: Any) -> Any:
    if isinstance(value, FrozenMap):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (
            (attribute.name, attribute, getattr(value, attribute.name)) for attribute in dataclasses.fields(value)
        )
        return {
            name: _serialized(item)
            for name, attribute, item in fields
            if name == "kind" or not _is_default(attribute, item)
        }
    if isinstance(value, tuple | list):
        return [_serialized(item) for item in value]
    return value


def _is_default(field_: dataclasses.Field[Any], value: Any) -> bool:
    if field_.default_factory is not dataclasses.MISSING:
        return bool(value == field_.default_factory())
    return field_.default is not dataclasses.MISSING and bool(value == field_.default)
