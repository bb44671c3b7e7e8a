"""From a raw sample to the rows that a network takes: one class a modality, all with the same three verbs.

``rows`` decodes and transforms one sample (numpy only, so that several threads can do it beside the network),
``collate`` puts rows side by side, ``example`` makes a batch of any size out of nothing, to trace a network with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import PluginError, SampleError, UsageError
from layerzoo.extras import needs
from layerzoo.media import text
from layerzoo.media.samples import samples
from layerzoo.pooling import SEQUENCE_AXES
from layerzoo.runtime.axes import Stretch
from layerzoo.runtime.batch import Batch, Row, collate
from layerzoo.spec import (
    EXAMPLE_SECONDS,
    EXAMPLE_TOKENS,
    AudioPreprocess,
    ImagePreprocess,
    Modality,
    ModelSpec,
    TextPreprocess,
    VideoPreprocess,
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample, ready for the network."""

    rows: Sequence[Row]
    report: Mapping[str, int] = field(default_factory=dict)
    """What happened to it that a user may want to count, such as {'truncated': 1}."""


class Preprocessor(ABC):
    """Turns samples into rows and rows into batches. Works alone: ``backbone.preprocess(["photo.jpg"])`` is a Batch."""

    modality: Modality
    variable_length = False
    """Whether samples differ in length."""
    uneven_rows = False
    """Whether rows differ in size too, so that sorting them saves padding."""
    cls_token = False
    """Whether the first position of every row is a classification token."""
    rows_are_samples = False
    """Whether the rows of a sample are samples of their own first, and then a sequence, as frames are that go through
    the network one by one."""
    overlap: int | None = None
    """How many tokens the chunks of a long text share; None where nothing is split into chunks."""
    sequence_axis = "token"
    """What the positions of a sequence are called in this modality."""

    @abstractmethod
    def rows(self, source: Any) -> Prepared:
        """One sample's rows. source: a path or any in-memory form. Raises: SampleError."""

    @abstractmethod
    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        """``count`` rows of nothing in particular at the model's input size, or twice as large in one direction or
        in `all`. None where that direction does not exist."""

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows side by side."""
        return collate(rows)

    def bucket(self, row: Row) -> Any:
        """Rows with the same bucket may share a batch."""
        return None

    def __call__(self, inputs: Any) -> Batch:
        """All inputs as one batch.

        Raises: SampleError at the first that cannot be read; UsageError for inputs that may not share a batch.
        """
        prepared = []
        for sample in samples(inputs, self.modality):
            if isinstance(sample, SampleError):
                raise sample
            prepared.append(self.rows(sample.source))
        rows = [row for one in prepared for row in one.rows]
        if len({self.bucket(row) for row in rows}) > 1 and not self._may_pad(rows):
            raise UsageError(
                "these inputs differ in size, and what would fill them up to one size would change their features: "
                "make a batch of each size. layerzoo.extract does so by itself"
            )
        return self.collate(rows)

    def _may_pad(self, rows: Sequence[Row]) -> bool:
        """Whether rows of several buckets may share a batch, though it is not the fastest way to run them."""
        return False


class ImagePreprocessor(Preprocessor):
    modality: Modality = "vision"

    def __init__(self, declared: ImagePreprocess, transform: Callable[..., Any] | None = None) -> None:
        self.declared = declared
        self._transform = transform

    def rows(self, source: Any) -> Prepared:
        if is_tensor(source):
            return Prepared([Row({"pixels": self._ready(source)})])
        with needs("image"):
            from layerzoo.media import image
        return Prepared([self.row_of(image.decode(source))])

    def row_of(self, picture: Any) -> Row:
        """picture: an RGB PIL.Image."""
        from layerzoo.media import image

        made = self._transform(picture) if self._transform else image.to_array(picture, self.declared)
        return Row({"pixels": np.asarray(made, dtype=np.float32)})

    def bucket(self, row: Row) -> Any:
        return row.inputs["pixels"].shape  # preprocessed tensors may differ in size

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        height, width = self.declared.size_px
        if stretch not in (None, "all", "height", "width"):
            return None
        shape = (
            3,
            height * (2 if stretch in ("all", "height") else 1),
            width * (2 if stretch in ("all", "width") else 1),
        )
        return collate([Row({"pixels": np.zeros(shape, np.float32)})] * count)

    def _ready(self, tensor: Any) -> NDArray[np.float32]:
        """A tensor of the caller is taken as preprocessed, so its shape must be right."""
        array = _numbers(tensor)
        if array.ndim != 3 or array.shape[0] != 3:
            raise SampleError("tensor", f"a preprocessed picture is (3, height, width), and this is {array.shape}")
        return array


class AudioPreprocessor(Preprocessor):
    modality: Modality = "audio"
    variable_length = True
    sequence_axis = "time"

    def __init__(
        self, declared: AudioPreprocess, transform: Callable[..., Any] | None = None, *, filled_up: bool = False
    ) -> None:
        self.declared = declared
        self._transform = transform
        self._filled_up = filled_up
        self._frame = (declared.frame_hop_samples or (1, 1))[0]
        seconds = declared.window_s
        self._window = None if seconds is None else round(seconds * declared.sample_rate_hz)
        self.uneven_rows = declared.pad != "window"

    def filled_up(self) -> AudioPreprocessor:
        """The same, with each sound filled up to one of few lengths, so that more of them share a batch."""
        return AudioPreprocessor(self.declared, self._transform, filled_up=True)

    def rows(self, source: Any) -> Prepared:
        if is_tensor(source):
            sound = _numbers(source)
            whole = (self._window or 1) if self.declared.pad == "window" else max(1, sound.size)
            return Prepared([Row({"sound": sound}, valid=whole, total=whole)])
        with needs("audio"):
            from layerzoo.media import audio
        samples = audio.decode(source, self.declared.sample_rate_hz)
        windows = [samples] if self._window is None else audio.windows(samples, self._window)
        return Prepared([self._row(window) for window in windows])

    def _row(self, window: NDArray[np.float32]) -> Row:
        true = len(window)
        padded = self.declared.pad == "window" and self._window is not None
        if padded and self._transform is None:
            window = np.pad(window, (0, (self._window or 0) - true))
        made = self._transformed(window) if self._transform else window
        if isinstance(made, Mapping):
            mask = np.asarray(made["attention_mask"])
            row = Row({**made, "attention_mask": mask}, valid=true * int(mask.sum()) // len(mask), total=true)
            return _filled(row) if self._filled_up and true >= self._frame else row
        sound = np.asarray(made, dtype=np.float32)
        return Row({"sound": sound}, valid=true, total=(self._window or true) if padded else true)

    def _transformed(self, window: NDArray[np.float32]) -> Any:
        assert self._transform is not None
        try:
            return self._transform(window)
        except Exception as error:
            if len(window) < self._least_transformed:
                raise too_short("sound", len(window), self._least_transformed, self.declared.sample_rate_hz) from error
            raise

    @cached_property
    def _least_transformed(self) -> int:
        """Samples that the transformation needs."""

        def works(samples: int) -> bool:
            assert self._transform is not None
            try:
                self._transform(np.zeros(samples, np.float32))
            except Exception:  # noqa: BLE001 - that it fails is the answer
                return False
            return True

        return least(works, self.usual_samples)

    @property
    def usual_samples(self) -> int:
        """Samples of an example, which are enough for any network."""
        return min(EXAMPLE_SECONDS * self.declared.sample_rate_hz, self._window or _ANY)

    def silence(self, samples: int) -> Batch:
        """A batch of one silent sound."""
        return self.collate([self._row(np.zeros(samples, np.float32))])

    def collate(self, rows: Sequence[Row]) -> Batch:
        """On a `token` axis stand the patches of a spectrogram, band by band: true and padded ones take turns there,
        and all count, as they do in the network's own pooled vector."""
        if len({row.total for row in rows}) == 1 and all(_hides_nothing(row) for row in rows):
            rows = [_without_mask(row) for row in rows]
        masked = self.declared.pad == "window" or "attention_mask" in rows[0].inputs
        pad = dict.fromkeys(rows[0].inputs, 0) if self.declared.batching == "tolerance" else None
        batch = collate(rows, pad=pad, masked=masked, sequence_axes=SEQUENCE_AXES - {"token"})
        return replace(batch, frame_hop=self.declared.frame_hop_samples)

    def bucket(self, row: Row) -> Any:
        """Sounds of one length: each is as long as it is, or was filled up before."""
        return tuple((name, array.shape) for name, array in row.inputs.items())

    def _may_pad(self, rows: Sequence[Row]) -> bool:
        return self.declared.batching == "tolerance" and all("attention_mask" in row.inputs for row in rows)

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        if stretch not in (None, "all", "length"):
            return None
        times = 2 if stretch else 1
        if self._window is None:
            return self.collate([self._row(np.zeros(self.usual_samples * times, np.float32))] * count)
        row = self._row(np.zeros(self.usual_samples, np.float32))
        sound = row.inputs["sound"]  # of a fixed window, whose frames are more than its bands
        return self.collate([replace(row, inputs={"sound": sound.repeat(times, axis=np.argmax(sound.shape))})] * count)


_LENGTHS = 8
"""To how many lengths an octave sounds are filled up: 4 % longer in the mean, 12 % at most."""


def _filled(row: Row) -> Row:
    """A sound with zeros behind it, and a mask that says so: one of few lengths, whatever stands beside it."""
    step = max(1, (1 << (row.total.bit_length() - 1)) // _LENGTHS)
    total = -(-row.total // step) * step
    inputs = {
        name: np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, total - row.total)])
        for name, array in row.inputs.items()
    }
    return replace(row, inputs=inputs, total=total)


def _hides_nothing(row: Row) -> bool:
    return "attention_mask" in row.inputs and bool(row.inputs["attention_mask"].all())


def _without_mask(row: Row) -> Row:
    """A row for a network to run without a mask, which is faster."""
    return replace(row, inputs={name: array for name, array in row.inputs.items() if name != "attention_mask"})


_ANY = 1 << 62


def least(works: Callable[[int], bool], enough: int) -> int:
    """The least length that works, found by halving. enough: one that does."""
    fails = 0
    while enough - fails > 1:
        middle = (fails + enough) // 2
        fails, enough = (fails, middle) if works(middle) else (middle, enough)
    return enough


def too_short(id: str, samples: int, needed: int, rate_hz: int) -> SampleError:
    """The error of a sound that is shorter than its network takes."""
    return SampleError(
        id,
        f"too short: {samples} samples at {rate_hz} Hz ({1000 * samples / rate_hz:.3g} ms), and this network needs "
        f"{needed} ({1000 * needed / rate_hz:.3g} ms)",
    )


class TextPreprocessor(Preprocessor):
    modality: Modality = "text"
    variable_length = True

    def __init__(self, declared: TextPreprocess, tokenizer: text.Tokenizer, *, overlap: int | None = None) -> None:
        self.declared = declared
        self.cls_token = declared.cls_token
        self.uneven_rows = declared.batching != "exact"
        self._tokenizer = tokenizer
        self.overlap = overlap

    def chunked(self, overlap: int | None = None) -> TextPreprocessor:
        """The same, with long texts split into chunks rather than truncated.

        overlap: how many tokens neighbours share; else an eighth of a chunk. Raises: UsageError where none are left.
        """
        room = text.room_for(self._tokenizer, self.declared.max_tokens, overlap or 0)
        shared = int(room * text.OVERLAP_SHARE) if overlap is None else overlap
        return TextPreprocessor(self.declared, self._tokenizer, overlap=shared)

    def rows(self, source: Any) -> Prepared:
        if is_tensor(source):
            return Prepared([self._row(self._ready(source))])
        checked = text.decode(source)
        tokens = text.tokenise(checked, self._tokenizer, self.declared.max_tokens, overlap=self.overlap)
        whole = len(tokens.chunks) == 1
        rows = [self._row(chunk.ids, None if whole else chunk.span) for chunk in tokens.chunks]
        return Prepared(rows, text.counts(checked, tokens))

    def unknown_words(self, source: str | bytes) -> list[str]:
        """The words of a text that the vocabulary lacks as they stand, in their order. Raises: SampleError."""
        return text.unknown_words(text.decode(source), self._tokenizer)

    def _ready(self, tensor: Any) -> Sequence[int]:
        if tensor.ndim != 1 or len(tensor) == 0 or tensor.is_floating_point() or tensor.is_complex():
            raise SampleError(
                "tensor",
                f"a tokenised text is (token,) of integers, and this is {tuple(tensor.shape)} of {tensor.dtype}",
            )
        ids: list[int] = tensor.tolist()
        return ids

    def _row(self, ids: Sequence[int], span: tuple[int, int] | None = None) -> Row:
        if self.declared.batching != "exact":
            return _token_row(ids, span)
        if len(ids) > self.declared.max_tokens:
            raise SampleError("tensor", f"{len(ids)} tokens, and this network takes {self.declared.max_tokens}")
        filled = [*ids, *[self._tokenizer.pad] * (self.declared.max_tokens - len(ids))]
        return Row({"input_ids": np.array(filled, dtype=np.int64)}, valid=len(ids), total=len(filled), span=span)

    def collate(self, rows: Sequence[Row]) -> Batch:
        return collate(rows, pad={"input_ids": self._tokenizer.pad, "attention_mask": 0}, masked=True)

    def bucket(self, row: Row) -> Any:
        """Where padding is not known to change nothing, rows of one length."""
        return None if self.declared.batching in ("exact", "tolerance") else row.total

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        if stretch not in (None, "all", "length"):
            return None
        length = min(EXAMPLE_TOKENS, self.declared.max_tokens // 2) * (2 if stretch else 1)
        ids = [*self._tokenizer.prefix, *self._tokenizer.suffix] or [self._tokenizer.pad]
        return self.collate([_token_row((ids * length)[:length])] * count)


class VideoPreprocessor(Preprocessor):
    modality: Modality = "video"

    def __init__(self, declared: VideoPreprocess) -> None:
        self.declared = declared
        self.rows_are_samples = not declared.joint
        self._image = ImagePreprocessor(declared.image)

    def rows(self, source: Any) -> Prepared:
        with needs("video"):
            from layerzoo.media import video
        frames = video.sample_frames(source, self.declared.frames)
        rows = [replace(self._image.row_of(frame.image), time_s=frame.time_s) for frame in frames]
        return Prepared([_clip(rows)] if self.declared.joint else rows)

    def example(self, count: int, stretch: Stretch | None = None) -> Batch | None:
        frame = self._image.example(1, stretch)
        if frame is None or not self.declared.joint:
            return self._image.example(count, stretch)
        row = Row({"pixels": frame.inputs["pixels"][0].numpy()})
        return collate([_clip([row] * self.declared.frames)] * count)


def _clip(frames: Sequence[Row]) -> Row:
    """Pictures as one input: (frame, channel, height, width)."""
    return Row({name: np.stack([frame.inputs[name] for frame in frames]) for name in frames[0].inputs})


def preprocessor(spec: ModelSpec, plugin_part: Any) -> Preprocessor:
    """The preprocessor of a model. plugin_part: what its plugin's layerzoo_preprocess hook gave, if anything.

    Raises: PluginError when declaration and plugin together do not say how: a guess would give wrong numbers silently.
    """
    declared = spec.preprocess
    if not (plugin_part is None or callable(plugin_part) or isinstance(plugin_part, text.Tokenizer)):
        raise PluginError(
            f"the hook layerzoo_preprocess answers {type(plugin_part).__name__} for {spec.id}: "
            "it takes a callable, or a tokenizer for text",
            plugin=spec.builder,
        )
    if isinstance(declared, ImagePreprocess):
        return ImagePreprocessor(declared, plugin_part)
    if isinstance(declared, AudioPreprocess):
        return AudioPreprocessor(declared, plugin_part)
    if isinstance(declared, VideoPreprocess):
        return VideoPreprocessor(declared)
    if isinstance(declared, TextPreprocess) and isinstance(plugin_part, text.Tokenizer):
        return TextPreprocessor(declared, plugin_part)
    lacks = (
        "declares no `preprocess`, and its library knows none"
        if declared is None
        else "has no tokenizer: the hook layerzoo_preprocess of its plugin gave none"
    )
    raise PluginError(f"{spec.id} {lacks}, so that its numbers would be a guess", plugin=spec.builder)


def is_tensor(source: Any) -> bool:
    import torch

    return isinstance(source, torch.Tensor)


def _numbers(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().cpu().float(), dtype=np.float32)


def _token_row(ids: Sequence[int], span: tuple[int, int] | None = None) -> Row:
    array = np.array(ids, dtype=np.int64)
    inputs = {"input_ids": array, "attention_mask": np.ones_like(array)}
    return Row(inputs, valid=len(array), total=len(array), span=span)
