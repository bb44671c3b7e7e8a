"""The operations of a decode process: each turns one encoded sample into parts that processes can exchange.

The same operations run in the main process where no other one can be started, and for samples in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import LayerzooError, SampleError
from layerzoo.extras import needs
from layerzoo.frame_sampling import FrameSampling
from layerzoo.media.limits import limits, variable_of
from layerzoo.media.plugin_formats import decoded_by_plugin
from layerzoo.media.sample import UnusableError, failing_as, name_of
from layerzoo.media.source import encoded_bytes, is_encoded
from layerzoo.spec import ImagePreprocess


class Part(NamedTuple):
    """A part of a decoded sample.

    facts: JSON-able. data: an array, an RGB ``PIL.Image``, bytes, or nothing.
    """

    facts: Mapping[str, Any]
    data: Any = None


Operation = Callable[[Any, Mapping[str, Any]], Iterator[Part]]


def run(operation: str, source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
    """Decode a sample.

    Args:
        operation: a name of OPERATIONS.
        source: the input of the operation, such as a path, bytes or an open file.
        options: of the operation. ``decoder``: the namespace of the plugin that reads the file.
    Raises: SampleError for any exception of a decoder; UnusableError for a table; other errors of the caller's.
    """
    try:
        if decoder := options.get("decoder"):
            source = decoded_by_plugin(decoder, Path(source), operation)
        yield from OPERATIONS[operation](source, options)
    except (LayerzooError, UnusableError):
        raise
    except MemoryError as error:
        raise SampleError(name_of(source), out_of_memory()) from error
    except Exception as error:  # libraries raise exceptions of any type for damaged bytes
        message = (str(error).strip().splitlines() or [""])[0][:200]
        by = f" in the plugin '{options['decoder']}'" if options.get("decoder") else ""
        raise SampleError(name_of(source), f"its decoding fails{by}: {type(error).__name__}: {message}") from error


def out_of_memory() -> str:
    """Return the reason for a sample that cannot be decoded in the memory that it may take."""
    return (
        f"decoding it takes more than {limits().memory_bytes >> 20} MiB of memory, which is the limit. Next: make it "
        f"smaller, or raise the limit with {variable_of('memory_bytes')}"
    )


def portable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that can be passed to another process as JSON: of a preprocessing, the values that change pixels.

    Args:
        options: of an operation.
    """
    return {name: _values_of(value) if isinstance(value, ImagePreprocess) else value for name, value in options.items()}


def _values_of(declared: ImagePreprocess) -> dict[str, Any]:
    return {name: getattr(declared, name) for name in ("size_px", "resize", "crop", "fit", "mean", "std")}


def _image(source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the pixels that a network takes, with the option ``preprocess``; else the image in RGB.

    Both options are an ImagePreprocess, or its values as another process receives them. With ``reduce``, a large JPEG
    is decoded at a reduced scale.
    """
    image = _image_module()
    reduced = None
    if options.get("reduce") and is_encoded(source):
        source = source if isinstance(source, str | os.PathLike) else _in_memory(source)
        reduced = image.decode_reduced(source, _declared(options["reduce"]))
    decoded, extent = (image.decode(source), None) if reduced is None else reduced
    declared = options.get("preprocess")
    yield Part({}, image.to_array(decoded, _declared(declared), extent) if declared else decoded)


@cache
def _image_module() -> ModuleType:
    with needs("image"):
        from layerzoo.media import image
    return image


def _in_memory(source: Any) -> Any:
    """Return the bytes of an open file, so that they can be read twice."""
    with failing_as(name_of(source)):
        return encoded_bytes(source)


def _declared(values: ImagePreprocess | Mapping[str, Any]) -> ImagePreprocess:
    if isinstance(values, ImagePreprocess):
        return values
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return ImagePreprocess(**fields)


def _video(source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the sampled frames, each as :func:`_image` returns it.

    ``sampling``: the fields of a FrameSampling. Each part states the number of times that its frame is sampled in a
    row, and the total number of sampled frames.
    """
    with needs("video"):
        from layerzoo.media import image, video
    declared = options.get("preprocess")
    for frame, times, of in video.sampled(source, FrameSampling(**options["sampling"])):
        facts = {"time_s": frame.time_s, "number": frame.number, "times": times, "of": of}
        pixels = image.to_array(frame.image, _declared(declared)) if declared else frame.image
        yield Part(facts, pixels)


def _audio(source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
    """Yield samples at ``sample_rate_hz``, in windows of ``window`` samples, or in one piece if that is None.

    ``hop``: from the start of a window to the start of the next; None for consecutive windows.

    Long audio is sent window by window, after a part that announces it.
    """
    with needs("audio"):
        from layerzoo.media import audio
    yield from (
        Part({"streamed": True}) if samples is None else Part({}, samples)
        for samples in audio.decoded_windows(
            source, options["sample_rate_hz"], options["channels"], options.get("window"), options.get("hop")
        )
    )


def _texts(source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the cells of a text column, up to a thousand in a part: their bytes, and the length or error of each."""
    from layerzoo.media.text_file import cells

    batch = _Cells()
    try:
        for cell in cells(Path(source), options.get("column")):
            batch.add(cell)
            if batch.is_full:
                yield batch.take()
    except UnusableError:
        yield batch.take()
        raise
    yield batch.take()


class _Cells:
    """Cells on their way to another process."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._lengths: list[int | str] = []
        self._size = 0

    def add(self, cell: str | bytes | UnusableError) -> None:
        if isinstance(cell, UnusableError):
            self._lengths.append(str(cell))
            return
        text = cell if isinstance(cell, bytes) else cell.encode("utf-8", "surrogateescape")
        self._texts.append(text)
        self._lengths.append(len(text))
        self._size += len(text)

    @property
    def is_full(self) -> bool:
        return len(self._lengths) == 1000 or self._size > 1 << 20

    def take(self) -> Part:
        """Remove all of them, and return them as a part."""
        part = Part({"lengths": self._lengths}, b"".join(self._texts))
        self._texts, self._lengths, self._size = [], [], 0
        return part


OPERATIONS: Mapping[str, Operation] = {"image": _image, "video": _video, "audio": _audio, "texts": _texts}


def array_of(part: Part) -> NDArray[np.float32]:
    """Return the array of a part.

    Args:
        part: a result of a decoder; its array is (time,) or (time, channel) for audio.
    Raises: ValueError where the part holds something else.
    """
    if not isinstance(part.data, np.ndarray):
        raise ValueError(f"a part of a decoded sample holds {type(part.data).__name__}, not an array")
    return part.data
