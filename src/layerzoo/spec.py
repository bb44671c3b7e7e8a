"""What is declared about a model. Frozen, JSON-able, standard library only: browsing the zoo needs nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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

AXES = ("batch", "token", "time", "height", "width", "depth", "frame", "window", "channel")
"""The words for the axes of an activation. `token` is a sequence of patches or word pieces, `time` one of sound frames,
`frame` one of pictures, `window` one of pieces of a picture that are looked at one by one; `depth` is the third axis of
space."""


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
        """An ordinary, mutable copy, fit for ``**kwargs``: nested maps become dicts, tuples become lists."""
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
    """A named place where a network can be cut.

    Declared are ``name`` and ``module``; the rest may be declared, and is traced where it is not. ``None`` means: not
    known yet. Shapes and FLOPs hold at the input size of the model's preprocess.
    """

    name: str
    """The same in every architecture: ``stem``, ``block.3``, ``stage.1``, ``norm``, ``pooled``, ``head``; ``embedding``
    for what the whole model is used for, after projection, Dense and Normalize, comparable across the towers of a dual
    encoder; of a detector ``neck.block.3`` and ``query.norm``, of an auto-encoder ``bottleneck``."""
    module: str
    """Dotted path of the submodule; the empty path is the network itself."""
    call: int | None = None
    """Which call, from 0, when the module runs more than once."""
    output: int | str | None = None
    """Which output, by position or name, when the module returns several."""
    at: Literal["output", "input"] = "output"
    """Whether the activation is what the module returns, or what it receives (as `penultimate` does)."""
    axes: tuple[str, ...] | None = None
    """A word for each axis of the activation, such as ('batch', 'token', 'channel')."""
    shape: tuple[int, ...] | None = None
    """Size of each axis but the batch."""
    prefix_tokens: int | None = None
    """The number of tokens before those that cover the input (class, distillation and register tokens). For text they
    are positions of the sample, not of its padded row, and each chunk has them."""
    suffix_tokens: int | None = None
    """The number of tokens after those that cover the input (a detector's, which become objects). For text they end
    where the sample ends, before its padding."""
    last_tokens: int | None = None
    """The number of tokens that are used, counted from the end; None: all of them."""
    depth: float | None = None
    """Share of the network's FLOPs spent up to here, 0 to 1."""
    params: int | None = None
    """Number of parameters read up to here."""
    flops: int | None = None
    """FLOPs up to here for one sample; a multiplication and an addition count as two."""

    @property
    def address(self) -> str:
        """Module path with call, side and output: ``layer.3``, ``shared#4``, ``head<``, ``mixer[1]``.

        The name of an output that has digits only is in double quotes, to tell it from a position: ``mixer["1"]``.
        :func:`layerzoo.layers.parse_address` reads it.
        """
        call = "" if self.call is None else f"#{self.call}"
        output = self.output
        if isinstance(output, str) and (not output or output.isdecimal() or output.startswith('"')):
            output = f'"{output}"'
        return f"{self.module}{call}{'<' if self.at == 'input' else ''}{'' if output is None else f'[{output}]'}"


Batching = Literal["exact", "tolerance", "equal_lengths"]
"""How samples share a batch, so that a sample's features are the same alone and beside any others. `exact`: all rows
have one size. `tolerance`: shorter rows are filled up on the right, and a mask says so, which changes a pooled vector
by at most TOLERANCE. `equal_lengths`: what is filled up would change the features, so only rows of one length share a
batch."""
TOLERANCE = 1e-5
"""How far a sample's pooled float32 vector may be from that of the sample alone, in units of its length."""

EXAMPLE_TOKENS = 16
"""A text model's shapes and FLOPs are stated for this many tokens, or half its limit where that is less."""
EXAMPLE_SECONDS = 1
"""The shapes and FLOPs of a sound model that takes any length are stated for this much sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocess:
    """How an image becomes (channel, height, width) float32: resize, crop, divide by 255, normalize.

    With ``processor``, the image processor of the model's library does all of it. The values then only
    describe it, and are not applied.
    """

    kind: Literal["image"] = "image"
    size_px: tuple[int, int]
    """Height and width of what the network receives. With ``variable_size``, those of an example."""
    resize: Literal["none", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    """How pixels are interpolated, with antialiasing, as Pillow does. `none`: the image is not resized."""
    crop: float = 1.0
    """The share of the resized image that the network sees: images are resized to floor(size / crop), and the
    middle is taken. Above 1 all of it is seen, with a border around it."""
    fit: Literal["crop", "squash", "pad"] = "crop"
    """What an image of other proportions becomes. `crop`: its short side fits, and what exceeds the long one is cut
    off; `squash`: both sides are made to fit; `pad`: its long side fits, and a border is put along the other. The
    border has the colour `mean` where fit is `pad`, else it is black."""
    mean: tuple[float, float, float]
    """What is subtracted from red, green and blue, which are 0 to 1 then."""
    std: tuple[float, float, float]
    """What they are divided by afterwards."""
    processor: str | None = None
    """The class of the library's own processor, which is called for every image: ``CLIPImageProcessorPil``. None: the
    values above are applied."""
    backend: str | None = None
    """The library that the processor computes with: ``pil`` or ``torchvision``."""
    settings: FrozenMap = field(default_factory=FrozenMap)
    """The processor's settings, under the library's own names."""
    variable_size: bool = False
    """Whether the size of an image decides the size of what the network receives."""
    refused: str | None = None
    """Why the processor cannot be called with an image alone. Such a model still takes preprocessed tensors."""

    @property
    def batching(self) -> Batching:
        """Images share a batch where what the network receives has one size."""
        return "equal_lengths" if self.variable_size else "exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPreprocess:
    """How a sound becomes windows of mono samples at the network's rate."""

    kind: Literal["audio"] = "audio"
    sample_rate_hz: int
    """Other sounds are resampled to it."""
    channels: int = 1
    """How many channels the network takes. 1: the mean of all channels. More: other audio is refused."""
    window_s: float | None = None
    """The longest audio, in seconds, that the network takes at once; longer audio is split into windows. None: no
    limit."""
    pad: Literal["none", "window"] = "none"
    """`window`: every window is padded to window_s, as networks with a fixed input need it."""
    frame_hop_samples: tuple[int, int] | None = None
    """The number of samples of the first frame, and the number of samples from the start of a frame to the start of the
    next. Only for a network that supports padded audio with an attention mask: its valid frames follow from these."""

    @property
    def batching(self) -> Batching:
        """Padded windows have one size; other audio is padded where the network's frames are declared."""
        if self.pad == "window":
            return "exact"
        return "equal_lengths" if self.frame_hop_samples is None else "tolerance"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPreprocess:
    """How a text becomes tokens. The tokenizer itself comes from the builder's plugin."""

    kind: Literal["text"] = "text"
    max_tokens: int
    """The longest sequence the network takes, special tokens included."""
    cls_token: bool = False
    """Whether the first token of every sequence is a classification token."""
    batching: Batching | None = None
    """How texts of different length share a batch. `exact`: each is padded to max_tokens, without a mask, as the
    network was trained. None: the builder's library knows; where it does not, only texts of equal length do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPreprocess:
    """How a video becomes images: frames at the middles of equal stretches of time.

    They go through the network one by one, each preprocessed alone, or as one clip, (frame, channel, height, width).
    """

    kind: Literal["video"] = "video"
    frames: int
    """How many frames are sampled from a video, however long it is."""
    joint: bool = False
    """Whether the network takes all frames at once."""
    temporal_pool: Literal["mean"] = "mean"
    """How the vectors of the frames become one, where each goes through the network alone."""
    image: ImagePreprocess | None = None
    """How the frames are preprocessed. None: the builder's library knows."""

    @property
    def batching(self) -> Batching | None:
        """Frames, or clips, share a batch where what the network receives has one size."""
        return None if self.image is None else self.image.batching


Preprocess = ImagePreprocess | AudioPreprocess | TextPreprocess | VideoPreprocess
"""How a sample becomes a batch, by modality; ``kind`` says which of them it is."""


def reference_input(preprocess: Preprocess) -> str:
    """The input for which the shapes and FLOPs of a model's layers hold, in words."""
    if isinstance(preprocess, TextPreprocess):
        return f"{min(EXAMPLE_TOKENS, preprocess.max_tokens // 2)} tokens"
    if isinstance(preprocess, AudioPreprocess):
        is_fixed = preprocess.pad == "window" and preprocess.window_s is not None
        return f"{preprocess.window_s if is_fixed else EXAMPLE_SECONDS:g} s at {preprocess.sample_rate_hz} Hz"
    if isinstance(preprocess, VideoPreprocess):
        frames = f"{preprocess.frames} frames" if preprocess.joint else "one frame"
        return frames if preprocess.image is None else f"{frames} of {reference_input(preprocess.image)}"
    return f"{preprocess.size_px[0]} × {preprocess.size_px[1]} pixels"


PREPROCESS_KINDS: dict[Modality, type[Preprocess]] = {
    "vision": ImagePreprocess,
    "audio": AudioPreprocess,
    "text": TextPreprocess,
    "video": VideoPreprocess,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Where the checkpoint comes from, how it is recognised, and how its keys are called."""

    source: str
    """``package://distribution/path``, ``file:/absolute/path``, ``https://…`` or ``hf://org/repo[@revision][/file]``.
    A path that ends in a slash is a folder."""
    sha256: tuple[tuple[str, str], ...] = ()
    """(file name, hex digest) of each file that belongs to the model."""
    keys: tuple[tuple[str, str], ...] = ()
    """(part of a checkpoint key, what the network calls it), applied in order; parts are whole dotted segments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What is extracted when nothing else is asked for."""

    layer: str = "last"
    """A layer's name, or a selector."""
    pool: str = "mean"
    """The name of a pooling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model of the zoo, as declared."""

    id: str
    """Namespace and name, as in ``starter/minilm-l6``; the name may hold further slashes."""
    modality: Modality
    """What goes in."""
    builder: str
    """What makes the network: a builder that some plugin offers."""
    args: FrozenMap = field(default_factory=FrozenMap)
    """What the builder is given."""
    weights: Weights | None = None
    """Where the checkpoint is. None: the plugin has it, or there is none."""
    preprocess: Preprocess | None = None
    """How a sample becomes a batch. None: the builder's library knows."""
    layers: tuple[Layer, ...] = ()
    """The places where it can be cut, in the order in which they run. Empty: a trace of the network names them."""
    default: Default = Default()
    """What is extracted when nothing else is asked for."""
    base: str | None = None
    """The model this one is built on (a video model's image model): what is not declared here is as declared there."""
    summary: str = ""
    """What it is, in one line."""
    license: str | None = None
    """Of the weights, as SPDX writes it: ``apache-2.0``."""
    params: int | None = None
    """Number of parameters of the whole network."""
    flops: int | None = None
    """FLOPs of the whole network for one sample, at the input size of its preprocess."""
    traced_with: FrozenMap = field(default_factory=FrozenMap)
    """Version by library, where a generated catalogue declares the layers: another may call its modules otherwise."""
    plugin: str | None = None
    """The distribution that declares this model; None for a user's own file."""
    aliases: tuple[str, ...] = ()
    """Other names that lead to it."""

    @property
    def namespace(self) -> str:
        """What stands before the first slash of the id."""
        return self.id.split("/", 1)[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; fields that say nothing are left out."""
        plain = _plain(self)
        assert isinstance(plain, dict)
        return plain

    def to_json(self) -> str:
        """:meth:`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """The inverse of :meth:`to_dict`."""
        given = dict(data)
        given["args"] = FrozenMap(given.get("args"))
        given["traced_with"] = FrozenMap(given.get("traced_with"))
        given["layers"] = tuple(layer_from_dict(layer) for layer in given.get("layers", ()))
        given["aliases"] = tuple(given.get("aliases", ()))
        if weights := given.get("weights"):
            given["weights"] = Weights(
                source=weights["source"],
                sha256=tuple((name, digest) for name, digest in weights.get("sha256", ())),
                keys=tuple((old, new) for old, new in weights.get("keys", ())),
            )
        if preprocess := given.get("preprocess"):
            given["preprocess"] = preprocess_from_dict(preprocess)
        given["default"] = Default(**given.get("default", {}))
        return cls(**given)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """The inverse of :meth:`to_json`."""
        return cls.from_dict(json.loads(text))


def layer_from_dict(data: Mapping[str, Any]) -> Layer:
    """A Layer from its plain form: lists become tuples."""
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Layer(**given)


def preprocess_from_dict(data: Mapping[str, Any]) -> Preprocess:
    """A Preprocess from its plain form; ``kind`` says which."""
    kinds: dict[str, type[Preprocess]] = {
        "image": ImagePreprocess,
        "audio": AudioPreprocess,
        "text": TextPreprocess,
        "video": VideoPreprocess,
    }
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    if isinstance(given.get("image"), Mapping):
        given["image"] = preprocess_from_dict({"kind": "image", **given["image"]})
    if "settings" in given:
        given["settings"] = FrozenMap(given["settings"])
    return kinds[data["kind"]](**given)


def to_plain(value: Layer | Preprocess | Weights | Default) -> dict[str, Any]:
    """The plain form of a part of a spec, as :meth:`ModelSpec.to_dict` writes it."""
    plain = _plain(value)
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, FrozenMap):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = ((each.name, each, getattr(value, each.name)) for each in dataclasses.fields(value))
        return {name: _plain(item) for name, each, item in named if name == "kind" or not _is_unsaid(each, item)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _is_unsaid(field_: dataclasses.Field[Any], value: Any) -> bool:
    if field_.default_factory is not dataclasses.MISSING:
        return bool(value == field_.default_factory())
    return field_.default is not dataclasses.MISSING and bool(value == field_.default)
