"""From inputs to features: decode beside the network, batch, cut, pool, and give every sample back in its place."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from layerzoo.errors import EmptySampleError, LayerzooError, PluginError, SampleError, UsageError
from layerzoo.features import Features
from layerzoo.media import text
from layerzoo.media.decoder import Workers
from layerzoo.media.limits import limits
from layerzoo.media.samples import Sample, Samples, samples
from layerzoo.plugins.failure import summary
from layerzoo.plugins.source_line import line_of
from layerzoo.pooling import width
from layerzoo.runtime.backbone import Backbone, with_preprocess
from layerzoo.runtime.batch import Batch, Row
from layerzoo.runtime.lanes import in_lanes
from layerzoo.runtime.load import load
from layerzoo.runtime.pool import Summary, frames_of, merge, sequence_axis
from layerzoo.runtime.precision import Precision
from layerzoo.runtime.prefetch import prefetch
from layerzoo.runtime.preprocess import AudioPreprocessor, Prepared, Preprocessor, TextPreprocessor, prompted
from layerzoo.runtime.request import LayerChoice, PoolChoice, choose_pools
from layerzoo.runtime.shortest import too_short_for
from layerzoo.runtime.variation import compare
from layerzoo.spec import Layer, ModelSpec

FloatArray = NDArray[np.float32]


class Limit(NamedTuple):
    """How much goes through the network at once."""

    rows: int
    positions: int | None = None
    """Of all rows together, padding included. None: as many as the rows have."""
    stretch: int = 16
    """Where rows differ in size, those of so many batches are sorted by length, so that little is padded."""
    bytes: int | None = None
    """Of the inputs of all rows together; twice as many wait to be sorted. None: as many as the rows have."""


BATCHES = {"vision": Limit(32), "text": Limit(256, 2048, stretch=64), "audio": Limit(8, 4_000_000), "video": Limit(32)}
"""Large enough to keep two cores busy, small enough for the activations of a large network. The positions of a
sound are its samples: those of a whole stretch wait in memory, 256 MB of them at most."""
_ENOUGH = 1 / 4
"""Of the positions of a batch, how many fill it well enough to end it where the next row would need padding. 2,100
tweets are 0.6 % larger then than without padding, in 55 batches; of 35 full ones 2.8 %."""


@dataclass(slots=True)
class _Open:
    """A sample some of whose rows have not been through the network yet; one that cannot be decoded has none."""

    id: str
    rows: int | None
    """How many rows it has; None while there may be more."""
    report: Mapping[str, int]
    done: int = 0
    """How many of its rows have been through the network."""
    summaries: dict[str, dict[int, Summary]] = field(default_factory=dict)
    """By layer name and number of the row; with how much each row counts among its siblings."""
    times_s: dict[int, float] = field(default_factory=dict)
    """By number of the row, when the frame of a video is shown."""
    error: SampleError | None = None

    @property
    def is_whole(self) -> bool:
        return self.done == self.rows


def extract(
    model: str | ModelSpec | Backbone,
    inputs: Any,
    *,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    batch_size: int | None = None,
    errors: Literal["raise", "skip"] = "raise",
    column: str | None = None,
    chunks: bool = False,
    overlap: int | None = None,
    special_tokens: bool = True,
    trust_declaration: bool = False,
    prompt: str | None = None,
    normalize: bool = False,
) -> Features:
    """Turn samples into a feature matrix for each layer asked for.

    model: an id, a spec, or a loaded :class:`Backbone`.
    inputs: a path, folder, glob or ``"-"``; a list of paths (of texts, for a text model), pictures, arrays, sounds with
        their rate or bytes; a torch Dataset or DataLoader.
    layer, pool, weights, device, precision: see :func:`load`.
    batch_size: rows (pictures, windows, frames, chunks) in one forward pass; else what suits the modality, and for
        texts as many of about one length as make up a number of tokens.
    errors: ``"raise"`` stops at the first sample that cannot be used and names it; ``"skip"`` goes on, and lists every
        such sample in ``Features.errors``.
    column: which column of a table holds the text.
    chunks: split a text that is longer than the model takes into chunks and pool over all of them, rather than
        truncate it (``Features.report`` counts either).
    overlap: how many tokens neighbouring chunks share, so that each token is read with what stands around it; it is
        pooled from one of them. Else an eighth of a chunk.
    special_tokens: whether the special tokens of a text, such as [CLS] and [SEP], are pooled with its other tokens, as
        sentence-transformers does. False leaves them out of all poolings but ``cls``.
    trust_declaration: see :func:`load`.
    prompt: what is put before every text: the name of one of the model's prompts, or a text, with the space that
        separates it from the text. Else the model's default; an empty text: none.
    normalize: divide every vector by its length, so that the dot product of two is their cosine. With ``pool="none"``
        that is the vector at each position.
    Returns: :class:`Features`, one row a sample, in the order of the inputs.
    Raises: what :func:`load` does; InputError for inputs that cannot be used as a whole; SampleError for the first
        sample that cannot be used, where errors is ``"raise"``.
    """
    return Features.join(
        stream(
            model, inputs, layer=layer, pool=pool, weights=weights, device=device, precision=precision,
            batch_size=batch_size, errors=errors, column=column, chunks=chunks, overlap=overlap,
            special_tokens=special_tokens, trust_declaration=trust_declaration,
            prompt=prompt, normalize=normalize,
        )
    )  # fmt: skip


def stream(
    model: str | ModelSpec | Backbone,
    inputs: Any,
    *,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    batch_size: int | None = None,
    errors: Literal["raise", "skip"] = "raise",
    column: str | None = None,
    chunks: bool = False,
    overlap: int | None = None,
    special_tokens: bool = True,
    trust_declaration: bool = False,
    prompt: str | None = None,
    normalize: bool = False,
) -> Iterator[Features]:
    """As :func:`extract`, in pieces as they are done and in bounded memory: at least one, in the order of the inputs.

    The model is loaded, and every mistake in the request raised, before the first piece is asked for. Arguments and
    errors are those of :func:`extract`.
    """
    if errors not in ("raise", "skip"):
        raise UsageError(f"errors={errors!r} is neither 'raise' nor 'skip'")
    if batch_size is not None and not (hasattr(batch_size, "__index__") and batch_size >= 1):
        raise UsageError(f"batch_size={batch_size!r} is not a number of rows, 1 or more")
    if isinstance(model, Backbone):
        is_other_place = str(device) not in ("cpu", str(model.device))
        if weights is not None or is_other_place or precision not in ("float32", model.precision) or trust_declaration:
            raise UsageError(
                "weights=, device=, precision= and trust_declaration= belong to load(): this backbone is loaded already"
            )
        backbone = model
        pools = backbone.narrowed(layer, pool)
    else:
        backbone = load(
            model, layer=layer, pool=pool, weights=weights, device=device, precision=precision,
            trust_declaration=trust_declaration,
        )  # fmt: skip
        pools = dict(backbone.pools)
    if prompt is not None:
        backbone = with_preprocess(backbone, prompted(backbone.preprocess, prompt, model=backbone.spec.id))
    if normalize:
        _require_channels(backbone, pools)
    if chunks or overlap is not None:
        backbone = _chunked(backbone, chunks, overlap)
    decoder = Workers()
    found = samples(inputs, backbone.preprocess.modality, column=column, decoder=decoder)
    limit = Limit(batch_size) if batch_size else BATCHES[backbone.preprocess.modality]
    if not batch_size:
        limit = limit._replace(bytes=limits().batch_bytes)
    if not (special_tokens or isinstance(backbone.preprocess, TextPreprocessor)):
        raise UsageError(
            f"special_tokens=False is for text, and {backbone.spec.id} takes {backbone.preprocess.modality}. Class and "
            "register tokens of an image are never pooled"
        )
    backbone = _filled_up(backbone)
    run = _Run(backbone, pools, _image_pools(backbone, pools), special_tokens, normalize, decoder)
    return _pieces(run, found, limit, errors == "raise")


@dataclass(frozen=True, slots=True)
class _Run:
    """How samples become features, for one extraction."""

    backbone: Backbone
    pools: Mapping[str, str]
    """Pooling by layer name, as asked for."""
    row_pools: Mapping[str, str]
    """Pooling by layer name, as applied to each row: of frames that stay a sequence, the pooling of each image."""
    special_tokens: bool
    """Whether the special tokens of a text are pooled."""
    normalize: bool
    """Whether vectors are divided by their length."""
    decoder: Workers
    """Decodes samples that are files or bytes."""

    @property
    def keeps_frames(self) -> bool:
        """Whether the frames of a video stay a sequence at some layer."""
        return self.pools != self.row_pools


def _image_pools(backbone: Backbone, pools: Mapping[str, str]) -> dict[str, str]:
    """Choose the pooling of each row. Frames that go through the network one by one are images.

    ``none`` keeps the sequence of their vectors; each image is pooled as if no pooling were asked for.
    Raises: PoolingError when that does not fit the layer.
    """
    sequences = [layer for layer in backbone.layers if pools.get(layer.name) == "none"]
    if not sequences or not backbone.preprocess.rows_are_samples:
        return dict(pools)
    usual = backbone.spec.default.pool != "none"
    return {**pools, **choose_pools(backbone.blueprint, sequences, None if usual else "mean")}


def _pieces(run: _Run, found: Samples, limit: Limit, strict: bool) -> Iterator[Features]:
    backbone = run.backbone
    waiting: dict[int, _Open] = {}
    report: Counter[str] = Counter()
    any_good = False
    rows = _rows(run, found, waiting, limit.rows, strict)
    batches = _checked(run, _batches(rows, backbone.preprocess, limit))
    work = partial(_run_batch, pools=run.row_pools, waiting=waiting)
    done = in_lanes(backbone, batches, work) if _runs_in_lanes(backbone) else (work(backbone, each) for each in batches)
    with contextlib.closing(rows), run.decoder:
        for rows_done in done:
            _note(rows_done, waiting)
            if ready := _take_ready(waiting):
                piece = _piece(run, ready, strict)
                any_good = any_good or len(piece) > 0
                report.update(piece.report)
                yield piece
    last = _piece(run, _take_ready(waiting), strict)
    report.update(last.report)
    if warning := text.warning(report, backbone.spec.id):
        logging.getLogger("layerzoo").warning("%s. Which words: zoo tokens %s INPUT", warning, backbone.spec.id)
    if not (any_good or len(last)):
        last = replace(last, by_layer={name: _nothing(backbone, name, pool) for name, pool in run.pools.items()})
    yield replace(last, passed_over=tuple(found.passed_over))


def _run_batch(
    backbone: Backbone, batch: list[Place], pools: Mapping[str, str], waiting: Mapping[int, _Open]
) -> list[tuple[Place, Outcome]]:
    """Send one batch through the network: what each of its rows has become. Several threads may do so at once.

    A batch that the network fails on is sent in halves, down to the row that it fails on: its sample has failed.
    """
    if len(batch) > 1 and backbone.variation:
        return [outcome for place in batch for outcome in _run_batch(backbone, [place], pools, waiting)]
    try:
        summaries = backbone.counted_summaries(backbone.preprocess.collate([row for _, _, row in batch]), pools)
    except LayerzooError:
        raise
    except Exception as error:  # noqa: BLE001 - the network and what feeds it are foreign code
        _check_network(backbone, error)
        if len(batch) > 1:
            halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
            return [outcome for half in halves for outcome in _run_batch(backbone, half, pools, waiting)]
        ((index, _, row),) = batch
        failed = waiting[index].id
        reason = too_short_for(backbone, row, failed) or _failure(failed, "the network fails on it", error)
        return [(batch[0], reason)]
    return [(place, {name: rows[at] for name, rows in summaries.items()}) for at, place in enumerate(batch)]


def _checked(run: _Run, batches: Iterator[list[Place]]) -> Iterator[list[Place]]:
    """Pass batches on. On the first with two unlike rows, see whether features are random, or depend on the batch.

    What was found stays with the model's trace, and is not looked for again.
    """
    backbone = run.backbone
    layers = [layer for layer in backbone.layers if layer.name in run.pools]
    checked = backbone.blueprint.observed.checked
    is_due = backbone.precision == "float32" and any(layer.address not in checked for layer in layers)
    for batch in batches:
        if is_due and (mate := _mate(batch)) is not None:
            is_due = False
            _check_variation(run, layers, batch[0][2], mate)
        yield batch


def _mate(batch: list[Place]) -> Row | None:
    """A row of a batch that differs from its first."""
    first = batch[0][2]

    def is_equal(row: Row) -> bool:
        return all(np.array_equal(array, row.inputs[name]) for name, array in first.inputs.items())

    return next((row for _, _, row in batch[1:] if not is_equal(row)), None)


def _check_variation(run: _Run, layers: list[Layer], row: Row, mate: Row) -> None:
    backbone, before = run.backbone, run.backbone.variation
    collate_rows = backbone.preprocess.collate

    def read(batch: Batch) -> Mapping[str, Sequence[FloatArray]]:
        return backbone.summaries(batch, run.row_pools)

    def batches(numbers: Sequence[int]) -> Batch:
        return collate_rows([(row, mate)[number] for number in numbers])

    with contextlib.suppress(Exception):  # a sample that the network fails on is reported when it is run
        backbone.blueprint.note_observed(layers, compare(read, batches, before.random))
    if replace(backbone.variation, is_measured=before.is_measured) != before:
        for notice in backbone.variation.notices(backbone.spec.id):
            logging.getLogger("layerzoo").warning("%s", notice)


def _note(outcomes: list[tuple[Place, Outcome]], waiting: Mapping[int, _Open]) -> None:
    """Give each sample what its rows have become."""
    for (index, number, row), outcome in outcomes:
        sample = waiting[index]
        sample.done += 1
        if row.time_s is not None:
            sample.times_s[number] = row.time_s
        if isinstance(outcome, SampleError):
            sample.error = outcome
            continue
        for name, (values, positions) in outcome.items():
            weight = row.weight if positions is None else positions
            sample.summaries.setdefault(name, {})[number] = Summary(values, weight)


def _check_network(backbone: Backbone, failure: Exception) -> None:
    """Whether a failure is the samples' own. Raises: PluginError when the network fails on its example input too."""
    example = backbone.preprocess.example(1)
    if example is None:
        return
    try:
        backbone.activations(example)
    except Exception as error:
        if backbone.variation.by_batch:
            raise PluginError(
                f"the network of {backbone.spec.id} computes statistics over the batch, and does not run on one sample "
                f"alone: {summary(failure)}. Next: give its batch norms running statistics, or take an earlier layer",
                plugin=backbone.spec.builder,
            ) from error
        line = line_of(failure, backbone.blueprint.hooks.folders if backbone.blueprint else ())
        where = f" (at {line})" if line else ""
        raise PluginError(
            f"the network of {backbone.spec.id} fails on any input: {summary(failure)}{where}. If backbone.module was "
            "converted: load() takes precision=",
            plugin=backbone.spec.builder,
        ) from error


def _failure(id: str, what: str, error: Exception) -> SampleError:
    failure = SampleError(id, f"{what}: {summary(error)}")
    failure.__cause__ = error
    return failure


Place = tuple[int, int, Row]
"""A row with the number of its sample and its number in the sample."""
Outcome = Mapping[str, Summary] | SampleError
"""What a row has become: its summary by layer, or why there is none."""


def _rows(
    run: _Run,
    found: Iterable[Sample | SampleError],
    waiting: dict[int, _Open],
    ahead: int,
    strict: bool,
) -> Generator[Place]:
    """Every sample's rows, decoded ahead of the network. Opens each sample in ``waiting``.

    Raises: SampleError for the first sample that cannot be decoded, if ``strict``.
    """
    preprocess, decoder = run.backbone.preprocess, run.decoder

    def prepare(sample: Sample | SampleError) -> tuple[str, Prepared | SampleError]:
        if isinstance(sample, SampleError):
            return sample.id, sample
        try:
            return sample.id, preprocess.rows(sample.source, decoder)
        except Exception as error:  # noqa: BLE001 - a plugin's preprocessing is foreign code
            return sample.id, _own_failure(sample.id, error)

    ahead = 4 if preprocess.modality in ("audio", "video") else ahead
    prepared_samples = prefetch(
        found,
        prepare,
        ahead=ahead,
        size=_size,
        most=limits().prepared_bytes,
        late=decoder.want_more,
        stop=decoder.close,
    )
    with contextlib.closing(prepared_samples):
        yield from _opened(run, prepared_samples, waiting, strict)


def _opened(
    run: _Run,
    prepared_samples: Iterable[tuple[str, Prepared | SampleError]],
    waiting: dict[int, _Open],
    strict: bool,
) -> Iterator[Place]:
    for index, (sample_id, prepared) in enumerate(prepared_samples):
        if isinstance(prepared, SampleError):
            if strict:
                raise prepared
            empty = {"empty": 1} if isinstance(prepared, EmptySampleError) else {}
            waiting[index] = _Open(sample_id, 0, empty, error=prepared)
            continue
        rows = prepared.rows
        sample = waiting[index] = _Open(sample_id, len(rows) if isinstance(rows, Sequence) else None, prepared.report)
        number = 0
        try:
            for number, row in enumerate(rows, start=1):
                yield index, number - 1, row if run.special_tokens else row.without_special()
        except Exception as error:
            if isinstance(rows, Sequence):
                raise
            sample.error = _own_failure(sample_id, error)
            if strict:
                raise sample.error from error.__cause__
        sample.rows = number


def _own_failure(id: str, error: Exception) -> SampleError:
    """The failure of one sample. Raises: an error that is not that of one sample."""
    if isinstance(error, EmptySampleError):
        return EmptySampleError(id, error.reason)
    if isinstance(error, SampleError):
        return SampleError(id, error.reason)
    if isinstance(error, LayerzooError):
        raise error
    return _failure(id, "its preprocessing fails", error)


def _size(prepared: tuple[str, Prepared | SampleError]) -> int:
    """The bytes of a prepared sample; those of an iterator are not there yet."""
    _, made = prepared
    if isinstance(made, SampleError) or not isinstance(made.rows, Sequence):
        return 0
    return sum(map(_row_bytes, made.rows))


def _row_bytes(row: Row) -> int:
    return sum(array.nbytes for array in row.inputs.values())


def _batches(rows: Iterator[Place], preprocess: Preprocessor, limit: Limit) -> Iterator[list[Place]]:
    """Rows in batches: as they come; or, where they differ in size, sorted by length within a bounded stretch."""
    batches = limit.stretch if preprocess.uneven_rows else 1
    held: list[Place] = []
    positions = size = 0
    for place in rows:
        held.append(place)
        positions += place[2].total
        size += _row_bytes(place[2])
        is_full = limit.bytes is not None and size >= min(batches, 2) * limit.bytes
        if is_full or len(held) == batches * limit.rows or (limit.positions and positions >= batches * limit.positions):
            yield from _by_length(held, preprocess, limit)
            held, positions, size = [], 0, 0
    yield from _by_length(held, preprocess, limit)


def _by_length(held: list[Place], preprocess: Preprocessor, limit: Limit) -> Iterator[list[Place]]:
    """The longest first, in batches that pad each row to their own longest."""
    buckets: dict[Any, list[Place]] = {}
    for place in held:
        buckets.setdefault(preprocess.bucket(place[2]), []).append(place)
    for bucket in buckets.values():
        ordered = sorted(bucket, key=lambda place: place[2].total, reverse=True)
        while ordered:
            most = limit.rows if limit.bytes is None else max(1, limit.bytes // max(1, _row_bytes(ordered[0][2])))
            size = _next_size([row.total for _, _, row in ordered[: min(most, limit.rows)]], limit)
            yield ordered[:size]
            ordered = ordered[size:]


def _next_size(lengths: list[int], limit: Limit) -> int:
    """How many rows, of which the longest come first, make a batch."""
    if limit.positions is None:
        return len(lengths)
    longest = lengths[0]
    most = max(1, min(len(lengths), limit.positions // longest))
    enough = range(max(1, math.ceil(_ENOUGH * limit.positions / longest)), most)
    return next((size for size in enough if lengths[size] < lengths[size - 1]), most)


def _take_ready(waiting: dict[int, _Open]) -> list[_Open]:
    """The samples that are whole, up to the first that is not."""
    ready = []
    for index in list(waiting):
        if not waiting[index].is_whole:
            break
        ready.append(waiting.pop(index))
    return ready


def _piece(run: _Run, ready: list[_Open], strict: bool) -> Features:
    """What has become of some samples. Raises: SampleError for the first that failed, if ``strict``."""
    vectors = [_vectors(run, one) for one in ready]
    failed = tuple(one.error for one in ready if one.error is not None)
    if failed and strict:
        raise failed[0]
    good = [(one, found) for one, found in zip(ready, vectors, strict=True) if one.error is None]
    report: Counter[str] = Counter()
    for one in ready:
        if one.error is None or one.rows == 0:  # what failed on the way through the network is not counted
            report.update(one.report)
    return Features(
        ids=tuple(one.id for one, _ in good),
        by_layer={name: _matrix([found[name] for _, found in good]) for name in run.pools} if good else {},
        errors=failed,
        provenance=_provenance(run),
        report=dict(report),
        times_s=tuple(_times(one) for one, _ in good) if run.keeps_frames else (),
    )


def _times(one: _Open) -> tuple[float, ...]:
    return tuple(one.times_s.get(number, math.nan) for number in range(one.done))


def _provenance(run: _Run) -> dict[str, Any]:
    backbone = run.backbone
    text_inputs = backbone.preprocess if isinstance(backbone.preprocess, TextPreprocessor) else None
    read = {name: address for name, address in backbone.provenance["layers"].items() if name in run.pools}
    return {
        **backbone.provenance,
        "layers": read,
        "pooling": dict(run.pools),
        "normalize": run.normalize,
        "image_pooling": dict(run.row_pools) if run.keeps_frames else None,
        **backbone.variation.to_plain(),
        "special_tokens": run.special_tokens if text_inputs else None,
        "overlap": backbone.preprocess.overlap,
        "prompt": text_inputs.prompt.text if text_inputs else None,
    }


def _vectors(run: _Run, one: _Open) -> dict[str, FloatArray]:
    """What a whole sample has become, by layer. A sample that became nan or inf has failed, and says so."""
    if one.error is not None:
        return {}
    found = {}
    for name in run.pools:
        rows = [one.summaries[name][number] for number in range(one.done)]
        vector = _vector(run, name, rows)
        if vector is None:
            one.error = SampleError(one.id, _nothing_left(run, name))
            break
        if run.normalize:
            vector = _unit(vector, _channel_axis(run.backbone, name, run.pools[name]))
        found[name] = vector
        if not np.isfinite(vector).all():
            one.error = SampleError(
                one.id, f"its features at layer {name} are not finite (nan or inf) in {run.backbone.precision}"
            )
    return found


def _vector(run: _Run, name: str, rows: list[Summary]) -> FloatArray | None:
    """Merge the rows of one sample at one layer; None where none of them has a position to pool."""
    pool, row_pool = run.pools[name], run.row_pools[name]
    if run.backbone.preprocess.rows_are_samples:
        frames = np.stack([merge([values], [1], row_pool) for values, _ in rows])
        return frames if pool == "none" else frames.mean(axis=0, dtype=np.float64).astype(np.float32)
    if pool != "cls":
        rows = [row for row in rows if row.positions]
    if not rows:
        return None
    axis = sequence_axis(_layer(run.backbone, name)) or 0
    return merge([row.values for row in rows], [row.positions or 0 for row in rows], pool, axis=axis)


def _nothing_left(run: _Run, name: str) -> str:
    layer = _layer(run.backbone, name)
    left_out = [
        f"{count} {kind} tokens" for kind in ("prefix", "suffix") if (count := getattr(layer, f"{kind}_tokens") or 0)
    ]
    if not run.special_tokens:
        left_out.append("its special tokens")
    return f"no positions are left to pool at layer {name} without {' and '.join(left_out) or 'padding'}"


_SHORTEST = 1e-12
"""A vector is divided by this at least, so that a vector of zeros stays one, as in torch.nn.functional.normalize."""


def _unit(vectors: FloatArray, axis: int) -> FloatArray:
    """Vectors of unit length along an axis."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=axis, keepdims=True)
    unit: FloatArray = (vectors / np.maximum(lengths, _SHORTEST)).astype(np.float32)
    return unit


def _channel_axis(backbone: Backbone, name: str, pool: str) -> int:
    """The axis of a sample's features that is a vector: its channels."""
    axes = _layer(backbone, name).axes
    if pool != "none" or axes is None or backbone.preprocess.rows_are_samples:
        return -1
    behind = [axis for axis in axes if axis != "batch"]
    return behind.index("channel") - len(behind)


def _require_channels(backbone: Backbone, pools: Mapping[str, str]) -> None:
    """Raises: UsageError for a layer that is not pooled, and whose channel axis is unknown."""
    if backbone.preprocess.rows_are_samples:
        return
    for name, pool in pools.items():
        if pool == "none" and "channel" not in (_layer(backbone, name).axes or ()):
            raise UsageError(
                f"{backbone.spec.id}, layer {name}: normalize=True with pool='none' needs a channel axis, and the axes "
                f"are '{' '.join(_layer(backbone, name).axes or ('unknown',))}'. Pool the layer, or declare its axes"
            )


def _matrix(vectors: list[FloatArray]) -> Any:
    """(n, …) where all samples have one shape, else an object array of n arrays."""
    if len({vector.shape for vector in vectors}) == 1:
        return np.stack(vectors)
    ragged = np.empty(len(vectors), dtype=object)
    ragged[:] = vectors
    return ragged


def _nothing(backbone: Backbone, name: str, pool: str) -> FloatArray:
    return np.empty((0, width(pool, _layer(backbone, name)) or 0), np.float32)


def _layer(backbone: Backbone, name: str) -> Layer:
    return next(layer for layer in backbone.layers if layer.name == name)


def _chunked(backbone: Backbone, chunks: bool, overlap: int | None) -> Backbone:
    if not chunks:
        raise UsageError(f"overlap={overlap} is what chunks share: give chunks=True too")
    if not isinstance(backbone.preprocess, TextPreprocessor):
        raise UsageError(f"chunks=True is for text, and {backbone.spec.id} takes {backbone.preprocess.modality}")
    return with_preprocess(backbone, backbone.preprocess.chunked(overlap))


def _filled_up(backbone: Backbone) -> Backbone:
    """Where a device wants rows side by side, sounds are filled up to few lengths. A CPU is as fast with each as long
    as it is."""
    preprocess = backbone.preprocess
    if not isinstance(preprocess, AudioPreprocessor) or preprocess.declared.frame_hop_samples is None:
        return backbone
    frames = frames_of(preprocess.usual_samples, preprocess.declared.frame_hop_samples)
    if backbone.device.type == "cpu" or any(_positions(layer) != frames for layer in backbone.layers):
        return backbone  # what stands along a layer's time axis may not be what the declaration speaks of
    return with_preprocess(backbone, preprocess.filled_up())


def _runs_in_lanes(backbone: Backbone) -> bool:
    """In float32 two clips at once gain 5 %, and would no longer be the library's own numbers to the bit, which
    ``library`` promises too. A network that draws random numbers runs alone: there is one generator."""
    if backbone.precision in ("float32", "library") or backbone.variation.random:
        return False
    return backbone.device.type == "cpu" and isinstance(backbone.preprocess, AudioPreprocessor)


def _positions(layer: Layer) -> int | None:
    """How many positions of a sequence there are at a layer, for the example input."""
    axis = sequence_axis(layer)
    return None if axis is None or layer.shape is None else layer.shape[axis]
