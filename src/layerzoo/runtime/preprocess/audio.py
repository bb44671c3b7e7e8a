"""Audio: from any form of a recording to windows of samples, or to the output of a feature extractor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SampleError
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.inputs import AudioInputs
from layerzoo.media.operations import Part, array_of
from layerzoo.pooling import SEQUENCE_AXES
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor, as_float32, is_tensor
from layerzoo.spec import EXAMPLE_SECONDS, AudioPreprocess, Modality


class AudioPreprocessor(Preprocessor):
    modality: Modality = "audio"
    variable_length = True
    sequence_axis = "time"

    def __init__(
        self, declared: AudioPreprocess, transform: Callable[..., Any] | None = None, *, padded_to_buckets: bool = False
    ) -> None:
        self.declared = declared
        self._transform = transform
        self._padded_to_buckets = padded_to_buckets
        self._frame = (declared.frame_hop_samples or (1, 1))[0]
        seconds = declared.window_s
        self._window = None if seconds is None else round(seconds * declared.sample_rate_hz)
        self.uneven_rows = declared.pad != "window"

    def padded_to_buckets(self) -> AudioPreprocessor:
        """Return the same preprocessing, with each clip padded to one of few lengths, so that more clips share a
        batch."""
        return AudioPreprocessor(self.declared, self._transform, padded_to_buckets=True)

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        if is_tensor(source):
            waveform = as_float32(source)
            whole = (self._window or 1) if self.declared.pad == "window" else max(1, waveform.size)
            return Prepared([InputRow({"waveform": waveform}, valid=whole, total=whole)])
        options = {
            "sample_rate_hz": self.declared.sample_rate_hz,
            "channels": self.declared.channels,
            "window": self._window,
        }
        return decoder.result("audio", source, options, self._prepared)

    def _prepared(self, parts: Iterator[Part]) -> Prepared:
        """Return a recording without windows as one row; one of few windows as a list; a long one as an iterator, so
        that only a few of its windows are in memory."""
        first = next(parts)
        if self._window is None:
            pieces = [array_of(part) for part in chain([first], parts) if part.data is not None]
            return Prepared([self._row(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))])
        if "streamed" in first.facts:
            return Prepared(self._row(array_of(part)) for part in parts)
        windows = [array_of(part) for part in chain([first], parts)]
        if len(windows) > _WINDOWS_AT_ONCE:
            return Prepared(map(self._row, windows))
        return Prepared([self._row(window) for window in windows])

    def _row(self, window: NDArray[np.float32]) -> InputRow:
        """Preprocess a window: (time,), or (time, channel) for a network that takes several channels."""
        true = len(window)
        padded = self.declared.pad == "window" and self._window is not None
        if padded and self._transform is None:
            window = np.pad(window, [(0, (self._window or 0) - true), *[(0, 0)] * (window.ndim - 1)])
        made = self._transformed(window) if self._transform else AudioInputs({"waveform": window.T})
        row = InputRow(made.inputs, valid=true, total=true, mask=made.mask, mask_is_optional=made.mask_is_optional)
        if padded:
            return replace(row, total=self._window or true)
        if (mask := _mask(row)) is None:
            return row
        row = replace(row, valid=true * int(mask.sum()) // len(mask))
        return _padded(row) if self._padded_to_buckets and true >= self._frame else row

    def _transformed(self, window: NDArray[np.float32]) -> AudioInputs:
        assert self._transform is not None
        try:
            return self._made(window)
        except Exception as error:
            if len(window) < self._least_transformed:
                raise too_short(
                    "waveform", len(window), self._least_transformed, self.declared.sample_rate_hz
                ) from error
            raise

    def _made(self, window: NDArray[np.float32]) -> AudioInputs:
        """Apply the plugin's transformation. Raises: ValueError where it returns no position."""
        assert self._transform is not None
        made = self._transform(window.T)
        if not isinstance(made, AudioInputs):
            made = AudioInputs({"waveform": np.asarray(made, dtype=np.float32)})
        mask = _mask(made)
        if next(iter(made.inputs.values())).size == 0 or (mask is not None and not mask.any()):
            raise ValueError("the feature extractor returns nothing")
        return made

    @cached_property
    def _least_transformed(self) -> int:
        """The number of samples that the transformation requires."""

        def works(samples: int) -> bool:
            assert self._transform is not None
            try:
                self._made(self._zeros(samples))
            except Exception:  # noqa: BLE001 - a failure is the answer
                return False
            return True

        return least(works, self.usual_samples)

    @property
    def usual_samples(self) -> int:
        """The number of samples of an example, which suffices for any network."""
        return min(EXAMPLE_SECONDS * self.declared.sample_rate_hz, self._window or _ANY)

    def silence(self, samples: int) -> Batch:
        """Return a batch of one silent clip."""
        return self.collate([self._row(self._zeros(samples))])

    def _zeros(self, samples: int) -> NDArray[np.float32]:
        """Return silence, (time,) or (time, channel)."""
        channels = self.declared.channels
        return np.zeros(samples if channels == 1 else (samples, channels), np.float32)

    def collate(self, rows: Sequence[InputRow]) -> Batch:
        """Stack rows to a batch.

        A `token` axis holds the patches of a spectrogram, band by band. Valid and padded patches alternate there,
        and all of them are pooled, as in the network's own pooled vector.
        """
        if len({row.total for row in rows}) == 1 and all(_is_all_ones(row) for row in rows):
            rows = [_without_mask(row) for row in rows]
        masked = self.declared.pad == "window" or _mask(rows[0]) is not None
        pad = dict.fromkeys(rows[0].inputs, 0) if self.declared.batching == "tolerance" else None
        batch = collate(rows, pad=pad, masked=masked, sequence_axes=SEQUENCE_AXES - {"token"})
        return replace(batch, frame_hop=self.declared.frame_hop_samples)

    def bucket(self, row: InputRow) -> Any:
        """Return the shapes of a row. Clips of one length share a batch; they may have been padded before."""
        return tuple((name, array.shape) for name, array in row.inputs.items())

    def _may_pad(self, rows: Sequence[InputRow]) -> bool:
        have_masks = all(row.mask is not None and row.mask_is_optional for row in rows)
        return self.declared.batching == "tolerance" and have_masks

    def example(self, count: int, enlargement: Enlargement | None = None) -> Batch | None:
        if enlargement not in (None, "all", "length"):
            return None
        times = 2 if enlargement else 1
        if self._window is None:
            return self.collate([self._row(self._zeros(self.usual_samples * times))] * count)
        row = self._row(self._zeros(self.usual_samples))
        main, array = next(iter(row.inputs.items()))  # a fixed window has more frames than frequency bands
        longer = {**row.inputs, main: array.repeat(times, axis=np.argmax(array.shape))}
        return self.collate([replace(row, inputs=longer)] * count)


_WINDOWS_AT_ONCE = 16
_LENGTHS = 8
"""Number of lengths per octave to which clips are padded: 4 % longer on average, 12 % at most."""


def _padded(row: InputRow) -> InputRow:
    """Pad a clip with zeros, under a mask, to one of few lengths that do not depend on the rest of the batch."""
    step = max(1, (1 << (row.total.bit_length() - 1)) // _LENGTHS)
    total = -(-row.total // step) * step
    inputs = {
        name: np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, total - row.total)])
        for name, array in row.inputs.items()
    }
    return replace(row, inputs=inputs, total=total)


def _mask(row: InputRow | AudioInputs) -> NDArray[Any] | None:
    """Return the attention mask of a row, if it has one."""
    return None if row.mask is None else row.inputs[row.mask]


def _is_all_ones(row: InputRow) -> bool:
    """Return whether a row has a mask that can be omitted."""
    mask = _mask(row)
    return mask is not None and row.mask_is_optional and bool(mask.all())


def _without_mask(row: InputRow) -> InputRow:
    """Return a row without its mask, so that the network runs faster."""
    return replace(row, inputs={name: array for name, array in row.inputs.items() if name != row.mask}, mask=None)


_ANY = 1 << 62


def least(works: Callable[[int], bool], enough: int) -> int:
    """Find the smallest length that works by bisection. enough: a length that works."""
    fails = 0
    while enough - fails > 1:
        middle = (fails + enough) // 2
        fails, enough = (fails, middle) if works(middle) else (middle, enough)
    return enough


def too_short(id: str, samples: int, needed: int, rate_hz: int) -> SampleError:
    """Return the error for a clip that is shorter than its network requires."""
    return SampleError(
        id,
        f"too short: {samples} samples at {rate_hz} Hz ({1000 * samples / rate_hz:.3g} ms), and this network needs "
        f"{needed} ({1000 * needed / rate_hz:.3g} ms)",
    )
