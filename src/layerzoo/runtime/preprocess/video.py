"""Video: from a file to sampled frames, which are preprocessed one by one or in clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any, TypeVar

import numpy as np

from layerzoo.errors import PluginError, SampleError
from layerzoo.frame_sampling import FrameSampling
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.limits import limits
from layerzoo.media.operations import Part
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor
from layerzoo.runtime.preprocess.image import ImagePreprocessor, enlarged, example_image, row_of, shapes_of
from layerzoo.spec import Modality, VideoPreprocess

Item = TypeVar("Item")


class VideoPreprocessor(Preprocessor):
    """Sample the frames of a video and preprocess them.

    Args:
        declared: how many frames are sampled, and how they are preprocessed.
        transform: the answer of the hook ``layerzoo_preprocess``: for a joint clip, applied to the list of frames; else
            to each frame, as for images.
        model: the model's id, for the message.
        plugin: the plugin named in the message.
    Raises: PluginError if the preprocessing of frames is unknown.
    """

    modality: Modality = "video"

    def __init__(
        self, declared: VideoPreprocess, transform: Callable[..., Any] | None = None, *, model: str, plugin: str
    ) -> None:
        if declared.image is None:
            raise PluginError(
                f"{model} does not declare how its frames are preprocessed, and its library does not say either. "
                "Next: declare `preprocess: {image: …}`",
                plugin=plugin,
            )
        self.declared = declared
        self.sampling = FrameSampling.of(declared)
        self.takes_images = not declared.joint
        self.rows_are_samples = self.splits_samples = not declared.joint or declared.clips > 1
        self.temporal_pool = declared.temporal_pool if self.splits_samples else None
        self._model, self._plugin, self._transform = model, plugin, transform
        self._image = ImagePreprocessor(declared.image, None if declared.joint else transform)
        self._clip = transform if declared.joint else None

    def sampled(self, **changes: Any) -> VideoPreprocessor:
        """Return the same preprocessing of other frames.

        Args:
            changes: other values for `sampling`, `start_s`, `end_s` or `clips` of the declaration.
        Raises: UsageError for values that are impossible, or do not fit the network.
        """
        declared = replace(self.declared, **changes)
        FrameSampling.of(declared)
        return VideoPreprocessor(declared, self._transform, model=self._model, plugin=self._plugin)

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        self._image.check_usable()
        applied = None if self._clip else self._image.applied
        options = {"sampling": self.sampling.to_plain(), "preprocess": applied}
        return decoder.result("video", source, options, self._prepared)

    def _prepared(self, parts: Iterator[Part]) -> Prepared:
        """Return the rows of a video: a list, or an iterator where they are many, so that few are in memory."""
        first = next(parts)
        rows = self._rows(chain([first], parts))
        size = self.declared.frames if self.declared.joint else 1
        at_once = max(1, _FRAMES_AT_ONCE // size)
        if first.facts["of"] <= size * at_once:
            return Prepared(list(rows))
        ready = list(islice(rows, at_once))
        return Prepared(chain(ready, read_ahead(rows, at_once)))

    def _rows(self, parts: Iterator[Part]) -> Iterator[InputRow]:
        if not self.declared.joint:
            for part in parts:
                row = replace(
                    self._image.row_of_part(part), time_s=part.facts["time_s"], frame_number=part.facts["number"]
                )
                yield from repeat(row, part.facts["times"])
            return
        frames = chain.from_iterable(repeat(part, part.facts["times"]) for part in parts)
        for first in frames:
            numbers: list[int] = []
            clip = _noted(chain([first], islice(frames, self.declared.frames - 1)), numbers)
            if self._clip is not None:
                row = self._clip_of(part.data for part in clip)
            else:
                row = _stacked([self._image.row_of_part(part) for part in clip])
            if self.declared.clips > 1:
                row = replace(row, time_s=first.facts["time_s"], frame_number=first.facts["number"])
            else:
                row = replace(row, clip_frames=tuple(numbers))
            yield row

    def _clip_of(self, images: Iterable[Any]) -> InputRow:
        """Apply the processor to the frames of a clip, each an RGB ``PIL.Image``."""
        assert self._clip is not None
        return clip_row(self._clip, images)

    def bucket(self, row: InputRow) -> Any:
        return shapes_of(row)

    def example(self, count: int, enlargement: Enlargement | None = None) -> Batch | None:
        if not self.declared.joint:
            return self._image.example(count, enlargement)
        row = enlarged(self._example, enlargement)
        return None if row is None else collate([row] * count)

    @cached_property
    def _example(self) -> InputRow:
        assert self._image.declared is not None
        if self._clip is None or self._image.declared.refused is not None:
            pixels = np.zeros((3, *self._image.declared.size_px), np.float32)
            return _stacked([InputRow({"pixels": pixels})] * self.declared.frames)
        return self._clip_of([example_image(self._image.declared.size_px)] * self.declared.frames)


def _noted(clip: Iterable[Part], numbers: list[int]) -> Iterator[Part]:
    """Yield the frames of a clip, and add their numbers to a list."""
    for part in clip:
        numbers.append(part.facts["number"])
        yield part


_FRAMES_AT_ONCE = 64
"""Frames of one video that are ready for the network at once: 39 MB at 224 pixels."""
_END: Any = object()


def read_ahead(items: Iterator[Item], count: int) -> Generator[Item]:
    """Yield the items of an iterator, up to ``count`` of which are read ahead in a thread.

    However the iteration ends, the thread has ended.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="layerzoo") as thread:
        pending = deque(thread.submit(next, items, _END) for _ in range(count))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(thread.submit(next, items, _END))
                yield item
        finally:
            for future in pending:
                future.cancel()


def clip_row(clip: Callable[..., Any], images: Iterable[Any]) -> InputRow:
    """Apply a library's processor to a clip.

    If the frames are large together, they are processed one by one, provided that the processor gives the same result
    for the first two alone as for both together. Then not all frames need to be in memory at full size.

    Args:
        clip: the processor, applied to a list of RGB ``PIL.Image``.
        images: the frames.
    Raises: SampleError for a clip that is too large for a processor that needs all of its frames together.
    """
    frames = iter(images)
    frames_read: list[Any] = []
    most = limits().clip_bytes
    for image in frames:
        frames_read.append(image)
        if (
            sum({id(frame): 4 * frame.width * frame.height for frame in frames_read}.values()) > most
            and len(frames_read) > 1
        ):
            break
    else:
        return row_of(clip(frames_read))
    if not _takes_frames_alone(clip, frames_read[0], frames_read[1]):
        width, height = frames_read[0].size
        raise SampleError(
            "video",
            f"its frames of {width} × {height} pixels take more than {most >> 20} MiB, which is the limit for a "
            "processor that takes all of them together. Next: convert it, for example with "
            "`ffmpeg -i INPUT -vf scale=1280:-2 OUTPUT.mp4`",
        )
    rows = [row_of(clip([frames_read.pop(0)])) for _ in range(len(frames_read))]
    rows += [row_of(clip([image])) for image in frames]
    return _joined(rows)


def _takes_frames_alone(clip: Callable[..., Any], first: Any, second: Any) -> bool:
    """Return whether a processor gives the same result for two frames alone as for both together."""
    together = row_of(clip([first, second]))
    try:
        alone = _joined([row_of(clip([first])), row_of(clip([second]))])
    except ValueError:
        return False
    return (
        together.image_mask is None
        and together.inputs.keys() == alone.inputs.keys()
        and all(np.array_equal(array, alone.inputs[name]) for name, array in together.inputs.items())
    )


def _joined(rows: Sequence[InputRow]) -> InputRow:
    """Join clips of one frame to one clip. Raises: ValueError for a row that is not a clip of one frame."""
    if any(array.ndim != 4 or array.shape[0] != 1 for row in rows for array in row.inputs.values()):
        raise ValueError("not a clip of one frame")
    return InputRow({name: np.concatenate([row.inputs[name] for row in rows]) for name in rows[0].inputs})


def _stacked(frames: Sequence[InputRow]) -> InputRow:
    """Stack images to one input: (frame, channel, height, width)."""
    return InputRow({name: np.stack([frame.inputs[name] for frame in frames]) for name in frames[0].inputs})
