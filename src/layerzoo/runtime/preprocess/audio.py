"""Audio: from any form of a recording to windows of samples, or to the output of a feature extractor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SampleError
from layerzoo.media.audio_input import with_array
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.inputs import AudioInputs
from layerzoo.media.operations import Part, array_of
from layerzoo.media.sample import failing_as, name_of
from layerzoo.media.windows import windows
from layerzoo.pooling import SEQUENCE_AXES
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor, as_float32, is_tensor
from layerzoo.runtime.windowing import Windowing
from layerzoo.spec import EXAMPLE_SECONDS, AudioPreprocess, Modality


class AudioPreprocessor(Preprocessor):
    modality: Modality = "audio"
    variable_length = True
    sequence_axis = "time"

    def __init__(
        self,
        declared: AudioPreprocess,
        transform: Callable[..., Any] | None = None,
        *,
        padded_to_buckets: bool = False,
        windowing: Windowing | None = None,
        frame_hop: tuple[int, int] | None = None,
    ) -> None:
        """Store the settings.

        frame_hop: length and hop of a frame of the network in samples, where they were read from its convolutions. They
        place the padding that an attention mask shows.
        """
        self.declared = declared
        self._transform = transform
        self._padded_to_buckets = padded_to_buckets
        self.windowing = windowing
        self.frame_hop = frame_hop
        self._frame = (declared.frame_hop_samples or (1, 1))[0]
        seconds = declared.window_s
        self._window = None if seconds is None else round(seconds * declared.sample_rate_hz)
        self.uneven_rows = declared.pad != "window"
        self.splits_samples = self._window is not None
        self.temporal_pool = declared.temporal_pool

    def padded_to_buckets(self) -> AudioPreprocessor:
        """Return the same preprocessing, with each clip padded to one of few lengths, so that more clips share a
        batch."""
        return AudioPreprocessor(
            self.declared, self._transform, padded_to_buckets=True, windowing=self.windowing, frame_hop=self.frame_hop
        )

    def windowed(self, windowing: Windowing) -> AudioPreprocessor:
        """Return the same preprocessing, with each recording cut into windows that are samples.

        Raises: UsageError for a window or a hop of less than one sample, or a window of too many.
        """
        windowing.check(self.declared.sample_rate_hz, self.declared.channels)
        return AudioPreprocessor(
            self.declared,
            self._transform,
            padded_to_buckets=self._padded_to_buckets,
            windowing=windowing,
            frame_hop=self.frame_hop,
        )

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        with failing_as(name_of(source)):
            source = with_array(source)
        if is_tensor(source):
            if self.windowing is not None:
                raise SampleError(
                    "tensor",
                    "a tensor is a preprocessed input, and window= cuts recordings: give Audio(samples, "
                    "sample_rate_hz)",
                )
            waveform = as_float32(source)
            length = (self._window or 1) if self.declared.pad == "window" else max(1, waveform.size)
            return Prepared([InputRow({self._input_name: waveform}, valid=length, total=length)])
        options = {
            "sample_rate_hz": self.declared.sample_rate_hz,
            "channels": self.declared.channels,
            "window": self._window,
        }
        if self.windowing is not None:
            options |= self.windowing.in_samples(self.declared.sample_rate_hz)
        return decoder.result("audio", source, options, self._prepared)

    def _prepared(self, parts: Iterator[Part]) -> Prepared:
        """Return a recording without windows as one row; one of few windows as a list; a long one as an iterator, so
        that only a few of its windows are in memory."""
        if self.windowing is not None:
            return self._prepared_windows(self.windowing, parts)
        first = next(parts)
        if self._window is None:
            pieces = [array_of(part) for part in chain([first], parts) if part.data is not None]
            return Prepared([self.row_of(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))])
        if "streamed" in first.facts:
            return Prepared(self._consecutive_rows(map(array_of, parts)))
        waveforms = [array_of(part) for part in chain([first], parts)]
        rows = self._consecutive_rows(waveforms)
        return Prepared(rows if len(waveforms) > _WINDOWS_AT_ONCE else list(rows))

    def _prepared_windows(self, windowing: Windowing, parts: Iterator[Part]) -> Prepared:
        """Return the rows of all windows, as a list if they are few."""
        first = next(parts)
        waveforms = map(array_of, parts if "streamed" in first.facts else chain([first], parts))
        rows = self._rows_of_windows(windowing, waveforms)
        first_rows: list[InputRow] = []
        size = 0
        for row in rows:
            first_rows.append(row)
            size += sum(array.nbytes for array in row.inputs.values())
            if size > _BYTES_AT_ONCE:
                return Prepared(chain(first_rows, rows))
        return Prepared(first_rows)

    def _rows_of_windows(self, windowing: Windowing, waveforms: Iterable[NDArray[np.float32]]) -> Iterator[InputRow]:
        """Yield the rows of each window. One that is longer than the network takes at once has several."""
        rate_hz = self.declared.sample_rate_hz
        hop = windowing.in_samples(rate_hz)["hop"]
        for number, waveform in enumerate(waveforms):
            start_s, end_s = number * hop / rate_hz, (number * hop + len(waveform)) / rate_hz
            parts = [waveform] if self._window is None else windows(waveform, self._window)
            for row in self._consecutive_rows(parts):
                yield replace(row, start_s=start_s + row.start_s, interval_s=(start_s, end_s))

    def _consecutive_rows(self, waveforms: Iterable[NDArray[np.float32]]) -> Iterator[InputRow]:
        """Yield a row for each part of a waveform."""
        start = 0
        for waveform in waveforms:
            yield replace(self.row_of(waveform), start_s=start / self.declared.sample_rate_hz)
            start += len(waveform)

    def row_of(self, window: NDArray[np.float32]) -> InputRow:
        """Preprocess a waveform that the network takes at once.

        Args:
            window: (time,), or (time, channel) for a network that takes several channels.
        Raises: SampleError for one that is too short for the feature extractor.
        """
        length = len(window)
        padded = self.declared.pad == "window" and self._window is not None
        if padded and self._transform is None:
            window = np.pad(window, [(0, (self._window or 0) - length), *[(0, 0)] * (window.ndim - 1)])
        inputs = (
            self._transformed(window) if self._transform else AudioInputs({"waveform": np.ascontiguousarray(window.T)})
        )
        row = InputRow(
            inputs.inputs, valid=length, total=length, mask=inputs.mask, mask_is_optional=inputs.mask_is_optional
        )
        if padded:
            return replace(row, total=self._window or length)
        if (mask := _mask(row)) is None:
            return row
        if self.frame_hop is not None and len(mask) == next(iter(row.inputs.values())).shape[-1]:
            return replace(row, valid=int(mask.sum()), total=len(mask))
        row = replace(row, valid=length * int(mask.sum()) // len(mask))
        return _padded(row) if self._padded_to_buckets and length >= self._frame else row

    def _transformed(self, window: NDArray[np.float32]) -> AudioInputs:
        assert self._transform is not None
        try:
            return self._apply_transform(window)
        except SampleError:
            raise
        except Exception as error:
            if len(window) < self._least_transformed:
                raise too_short(
                    "waveform", len(window), self._least_transformed, self.declared.sample_rate_hz
                ) from error
            raise

    def _apply_transform(self, window: NDArray[np.float32]) -> AudioInputs:
        """Apply the plugin's transformation. Raises: ValueError where it returns no position."""
        assert self._transform is not None
        inputs = self._transform(np.ascontiguousarray(window.T))
        if not isinstance(inputs, AudioInputs):
            array = as_float32(inputs)
            is_waveform = array.shape[-1:] == (len(window),)
            inputs = AudioInputs({"waveform" if is_waveform else "input_features": array})
        mask = _mask(inputs)
        if next(iter(inputs.inputs.values())).size == 0 or (mask is not None and not mask.any()):
            raise ValueError("the feature extractor returns nothing")
        return inputs

    @cached_property
    def _input_name(self) -> str:
        """The name of the network's first input: ``waveform``, or ``input_features`` for spectra."""
        if self._transform is None:
            return "waveform"
        return next(iter(self._apply_transform(self._zeros(self.usual_samples)).inputs))

    @cached_property
    def _least_transformed(self) -> int:
        """The number of samples that the transformation requires."""

        def works(samples: int) -> bool:
            assert self._transform is not None
            try:
                self._apply_transform(self._zeros(samples))
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
        return self.collate([self.row_of(self._zeros(samples))])

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
        is_over_samples = _mask(rows[0]) is not None
        return replace(
            batch, frame_hop=self.declared.frame_hop_samples or (self.frame_hop if is_over_samples else None)
        )

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
            return self.collate([self.row_of(self._zeros(self.usual_samples * times))] * count)
        row = self.row_of(self._zeros(self.usual_samples))
        main, array = next(iter(row.inputs.items()))  # a fixed window has more frames than frequency bands
        longer = {**row.inputs, main: array.repeat(times, axis=np.argmax(array.shape))}
        return self.collate([replace(row, inputs=longer)] * count)


_WINDOWS_AT_ONCE = 16
_BYTES_AT_ONCE = 32 << 20
"""Size of the rows of a recording that are prepared together. More of them are prepared as the network takes them."""
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


def too_short(id: str, samples: int, required: int, rate_hz: int) -> SampleError:
    """Return the error for a clip that is shorter than its network requires."""
    return SampleError(
        id,
        f"too short: {samples} samples at {rate_hz} Hz ({1000 * samples / rate_hz:.3g} ms), and this network needs "
        f"{required} ({1000 * required / rate_hz:.3g} ms)",
    )
