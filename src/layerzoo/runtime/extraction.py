"""Turn inputs into features: decode, batch, run the network, pool, and return the samples in order."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from layerzoo.errors import LayerzooError, PluginError, UsageError
from layerzoo.features import Features
from layerzoo.features.cache import FeatureCache
from layerzoo.frame_sampling import parse_strategy
from layerzoo.media import text
from layerzoo.media.array_images import ImageLayout
from layerzoo.media.count import BackgroundCount, is_counted_by_reading, is_standard_input, known_count
from layerzoo.media.decoder import Workers
from layerzoo.media.samples import Item, Samples
from layerzoo.media.sniff import NOUNS
from layerzoo.plugins.failure import summary
from layerzoo.plugins.source_line import line_of
from layerzoo.progress import ProgressChoice, check_choice, metered
from layerzoo.registry.lookup import registry
from layerzoo.runtime.backbone import Backbone, network_of, replaced_modules, resolved_model, with_preprocess
from layerzoo.runtime.batch import Batch, InputRow
from layerzoo.runtime.batch_size import BatchSize, batch_limit, check_batch_size
from layerzoo.runtime.batching import BatchLimit, PlacedRow, batches
from layerzoo.runtime.changes import digest_of_tensors
from layerzoo.runtime.clip_lengths import frames_of
from layerzoo.runtime.devices import DeviceChoice, free_cache, named_devices
from layerzoo.runtime.frame_times import frame_grids
from layerzoo.runtime.loading import load
from layerzoo.runtime.parameters import with_parameters_of
from layerzoo.runtime.pending import PendingSamples, RowResult, decoded_rows, failed_sample
from layerzoo.runtime.plan import ExtractionPlan, image_pools, temporal_pools
from layerzoo.runtime.pool import PooledRow, sequence_axis
from layerzoo.runtime.precision import RequestedPrecision
from layerzoo.runtime.preprocess import AudioPreprocessor, TextPreprocessor, VideoPreprocessor, prompted
from layerzoo.runtime.preprocess.image import DecodeChoice, with_decoding
from layerzoo.runtime.replicas import run_tasks
from layerzoo.runtime.request import LayerChoice, PoolChoice
from layerzoo.runtime.results import (
    RecordingPooler,
    empty_matrices,
    extraction_provenance,
    features_of,
    require_channel_axes,
    widths_of,
)
from layerzoo.runtime.reuse import FeatureReuse
from layerzoo.runtime.shortest import too_short_for
from layerzoo.runtime.variation import compare, compare_ends
from layerzoo.runtime.windowing import Duration, Windowing, windowing_of
from layerzoo.runtime.wrapping import recut
from layerzoo.spec import Layer, Modality, ModelSpec

FloatArray = NDArray[np.float32]


def stream(
    model: str | ModelSpec | Backbone,
    inputs: Any,
    *,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: DeviceChoice = "cpu",
    precision: RequestedPrecision = "float32",
    batch_size: BatchSize = None,
    errors: Literal["raise", "skip"] = "raise",
    column: str | None = None,
    chunks: bool = False,
    overlap: int | None = None,
    special_tokens: bool = True,
    trust_declaration: bool = False,
    prompt: str | None = None,
    normalize: bool = False,
    window: Duration | None = None,
    hop: Duration | None = None,
    temporal_pool: str | None = None,
    decode: DecodeChoice = "exact",
    ids: str | Iterable[str] | None = None,
    layout: ImageLayout | None = None,
    value_range: tuple[float, float] | None = None,
    progress: ProgressChoice = None,
    sampling: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    clips: int | None = None,
    cache: bool | FeatureCache = False,
) -> Iterator[Features]:
    """Compute features as :func:`extract` does, piece by piece in bounded memory.

    The model is loaded, and all arguments are checked, before the first piece is requested. For arguments and errors,
    see :func:`extract`.

    Returns: an iterator over at least one piece, in the order of the inputs.

    >>> pieces = layerzoo.stream("toy/next-word", ["the cat", "milk"])
    >>> sum(len(piece) for piece in pieces)
    2
    """
    check_choice(progress)
    extraction = prepare(
        model, layer=layer, pool=pool, weights=weights, device=device, precision=precision, batch_size=batch_size,
        errors=errors, chunks=chunks, overlap=overlap, special_tokens=special_tokens,
        trust_declaration=trust_declaration, prompt=prompt, normalize=normalize, window=window, hop=hop,
        temporal_pool=temporal_pool, decode=decode, sampling=sampling, start_s=start_s, end_s=end_s, clips=clips,
    )  # fmt: skip
    plan = extraction.plan
    preprocess, options = plan.backbone.preprocess, {"column": column, "layout": layout, "value_range": value_range}
    items = preprocess.samples(inputs, decoder=plan.decoder, ids=ids, **options)
    if cache is not False:
        plan = replace(plan, reuse=_reuse(plan, cache))
    pieces = _pieces(plan, items, extraction.limit)
    if progress is None or progress is False:
        return pieces
    counter = _counter(inputs, preprocess.modality, partial(preprocess.samples, inputs, **options))
    unit = "windows" if plan.windowing is not None and not plan.pools_windows else "samples"
    return _reported(pieces, counter, progress, plan.backbone.spec.id, unit)


@dataclass(frozen=True, slots=True)
class PreparedExtraction:
    """A loaded backbone with checked settings, which extracts from any number of inputs, one after the other."""

    plan: ExtractionPlan
    limit: BatchLimit

    @property
    def provenance(self) -> dict[str, Any]:
        """The provenance of the features that follow."""
        return extraction_provenance(self.plan)

    @property
    def widths(self) -> dict[str, int | None]:
        """The number of features of a sample at each layer; None where it varies, or the features are no vectors."""
        return widths_of(self.plan)

    def pieces(self, samples: Samples) -> Generator[Features]:
        """Yield the features of some samples, in order, as :func:`stream` does.

        Args:
            samples: those of :func:`layerzoo.media.samples.samples`, or any others of the modality.
        """
        return _pieces(replace(self.plan, decoder=_decoder(self.plan.backbone, self.plan.decode)), samples, self.limit)


def prepare(
    model: str | ModelSpec | Backbone,
    *,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: DeviceChoice = "cpu",
    precision: RequestedPrecision = "float32",
    batch_size: BatchSize = None,
    errors: Literal["raise", "skip"] = "raise",
    chunks: bool = False,
    overlap: int | None = None,
    special_tokens: bool = True,
    trust_declaration: bool = False,
    prompt: str | None = None,
    normalize: bool = False,
    window: Duration | None = None,
    hop: Duration | None = None,
    temporal_pool: str | None = None,
    decode: DecodeChoice = "exact",
    sampling: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    clips: int | None = None,
) -> PreparedExtraction:
    """Load a model and check all settings of an extraction. For arguments and errors, see :func:`extract`."""
    if errors not in ("raise", "skip"):
        raise UsageError(f"errors={errors!r} is neither 'raise' nor 'skip'")
    if sampling is not None:
        parse_strategy(sampling)
    check_batch_size(batch_size)
    if isinstance(model, Backbone):
        is_other_device = named_devices(device) not in (["cpu"], list(map(str, model.devices)))
        if (
            weights is not None
            or is_other_device
            or precision not in ("float32", "auto", model.precision)
            or trust_declaration
        ):
            raise UsageError(
                "weights=, device=, precision= and trust_declaration= belong to load(): this backbone is loaded already"
            )
        backbone = recut(model, layer)
        pools = backbone.select_pools(layer, pool)
    else:
        backbone = load(
            model, layer=layer, pool=pool, weights=weights, device=device, precision=precision,
            trust_declaration=trust_declaration,
        )  # fmt: skip
        pools = dict(backbone.pools)
    if prompt is not None:
        backbone = with_preprocess(backbone, prompted(backbone.preprocess, prompt, model=backbone.spec.id))
    backbone = with_preprocess(backbone, with_decoding(backbone.preprocess, decode, model=backbone.spec.id))
    if normalize:
        require_channel_axes(backbone, pools)
    windowing = windowing_of(window, hop, temporal_pool)
    if windowing is not None:
        backbone = _windowed(backbone, pools, windowing)
    if chunks or overlap is not None:
        backbone = _chunked(backbone, chunks, overlap)
    backbone = _sampling(backbone, sampling=sampling, start_s=start_s, end_s=end_s, clips=clips)
    if not (special_tokens or backbone.preprocess.knows_special_tokens):
        if backbone.preprocess.modality == "text":
            raise UsageError(
                f"special_tokens=False needs the special tokens of the tokenizer, and those of {backbone.spec.id} are "
                "not known. Next: layerzoo.wrap(module, preprocess=tokenizer)"
            )
        raise UsageError(
            f"special_tokens=False is for text, and {backbone.spec.id} takes {backbone.preprocess.modality}. Class and "
            "register tokens of an image are never pooled"
        )
    backbone = _with_padding_to_buckets(backbone)
    plan = ExtractionPlan(
        backbone=backbone,
        pools=pools,
        row_pools=image_pools(backbone, pools),
        temporal={} if windowing else temporal_pools(backbone, pools, temporal_pool),
        special_tokens=special_tokens,
        normalize=normalize,
        strict=errors == "raise",
        decoder=_decoder(backbone, decode),
        decode=decode,
        provenance=backbone.provenance,
        windowing=windowing,
        frame_grids=frame_grids(backbone, pools),
    )
    return PreparedExtraction(plan, batch_limit(backbone, plan.row_pools, batch_size))


def _decoder(backbone: Backbone, decode: DecodeChoice) -> Workers:
    return Workers(all_cores=decode == "fast" or backbone.device.type != "cpu")


@with_parameters_of(stream)
def extract(*args: Any, **kwargs: Any) -> Features:
    """Compute a feature matrix for each requested layer.

    Args:
        model: an id, a spec, or a loaded :class:`Backbone`.
        inputs: a path, folder, glob or ``"-"``; a list or generator of paths (of texts, for a text model), images,
            arrays, audio clips with their sample rate, or bytes; a frame of pandas or polars, a table of pyarrow or a
            Dataset of ``datasets`` (see ``column``); an array of images (see ``layout``); a torch Dataset or
            DataLoader.
        layer: see :func:`load`.
        pool: see :func:`load`.
        weights: see :func:`load`.
        device: see :func:`load`.
        precision: see :func:`load`.
        batch_size: rows (images, windows, frames, chunks) in one forward pass. By default it depends on the modality;
            texts of similar length are batched up to a number of tokens. ``"auto"``: as many as fit into the free
            memory of the device, up to a number from which on larger batches are not faster.
        errors: ``"raise"`` stops at the first sample that fails; ``"skip"`` continues, and lists failed samples in
            ``Features.errors``.
        column: the column of a table that holds the samples. None: of texts, the one called "text" or the only one of
            text; else the only one that may hold samples.
        chunks: split a text that is longer than the model's limit into chunks and pool over all of them, instead of
            truncating it (``Features.report`` counts both).
        overlap: how many tokens neighbouring chunks share, so that tokens at their ends have context. Each token is
            pooled once. By default an eighth of a chunk.
        special_tokens: pool the special tokens of a text, such as [CLS] and [SEP], with its other tokens, as
            sentence-transformers does. False excludes them from all poolings but ``cls``.
        trust_declaration: see :func:`load`.
        prompt: the text before every input text: the name of one of the model's prompts, or the text itself, with the
            space that separates it from the input. None: the model's default. An empty text: no prompt.
        normalize: divide every vector by its length, so that the dot product of two vectors is their cosine
            similarity. With ``pool="none"``, this applies to the vector at each position.
        window: cut each recording into windows of this length, and return a row for each: seconds, or a text such as
            ``"10s"``, ``"500ms"`` or ``"2min"``. ``Features.start_s`` and ``end_s`` have their times. For audio only.
        hop: time from the start of a window to the start of the next. None: the length of a window. The last window is
            shorter if the recording ends in it; a rest shorter than a tenth of a window belongs to the one before it.
        temporal_pool: how the vectors of the frames of a video, the windows of a recording or the chunks of a text
            become one vector: ``"mean"``, ``"max"``, ``"last"``, ``"statistics"``, ``"ema:0.2"``, ``"delta"``,
            ``"pyramid:3"``, ``"dct:4"`` or ``"rank"`` (see :mod:`layerzoo.temporal`). ``"none"`` keeps the sequence,
            (time, channel); with ``window``, each window is then a row, which is the default. None without ``window``:
            as the model declares it.
        ids: an id for each input in memory, or the name of the column of a table that has them. None: the labels of
            the rows of a pandas frame, else the position of each input.
        layout: ``"NHWC"`` or ``"NCHW"``, the axes of arrays and tensors that hold images, one or several each. A tensor
            is then not preprocessed. None: an array is (height, width, channel), a tensor is preprocessed.
        value_range: the values of black and white in arrays of images, as in ``(0, 1)``. They are rounded to 8 bits.
            None: the range of uint8 or uint16.
        progress: True shows a bar on a terminal and in a notebook, and elsewhere prints a line every 30 s on standard
            error. Or a bar of tqdm, a class of tqdm, or a function of (done, total), called after each batch; the total
            is None while it is unknown.
        sampling: the frames of a video: ``"uniform:8"``, ``"fps:2"``, ``"every:10"``, ``"keyframes"``, ``"scenes"`` or
            ``"segments:8:SEED"``. None: those that the model declares, by default 16, uniformly in time.
        start_s: the start of the sampled part of each video, in seconds after its first frame.
        end_s: the end of the sampled part. None: the end of the video.
        clips: the number of clips of a video, for a network that takes several frames at once. Their features are
            pooled, or kept with ``pool="none"``.
        cache: keep the features of each sample in the cache folder, and take them from there if the sample, the
            network, its weights and all settings are the same. For pooled features only. Or a
            :class:`layerzoo.features.cache.FeatureCache`.
        decode: ``"fast"`` decodes large JPEG files at a reduced scale, on all cores. ``"exact"`` decodes them as the
            model's library does, bit for bit. docs/performance.md has the effect on features.
    Returns: :class:`Features` with one row per sample, or per window, in the order of the inputs.
    Raises: the errors of :func:`load`; InputError for inputs that are unusable as a whole; SampleError for the first
        sample that fails, if ``errors`` is ``"raise"``.

    >>> features = layerzoo.extract("toy/next-word", ["the cat", "milk"], layer="block.0", pool="mean")
    >>> features.values.shape, features.ids
    ((2, 3), ('0', '1'))
    """
    return Features.join(stream(*args, **kwargs))


def _pieces(plan: ExtractionPlan, inputs: Samples, limit: BatchLimit) -> Generator[Features]:
    backbone = plan.backbone
    pending = PendingSamples()
    recordings = RecordingPooler(plan)
    report: Counter[str] = Counter()
    has_features = False
    rows = decoded_rows(plan, inputs, pending, limit.rows)
    checked = _check_first_batch(plan, batches(rows, backbone.preprocess, limit))
    run = partial(_run_batch, pools=plan.row_pools, pending=pending)
    results = run_tasks(backbone, checked, run)
    with contextlib.closing(rows), plan.decoder, plan.reuse or contextlib.nullcontext():
        for batch_results in results:
            pending.record(batch_results)
            if finished := pending.take_done():
                piece = features_of(plan, finished, recordings)
                has_features = has_features or len(piece) > 0
                report.update(piece.report)
                yield piece
    last = features_of(plan, pending.take_done(), recordings)
    report.update(last.report)
    if warning := text.warning(report, backbone.spec.id):
        logging.getLogger("layerzoo").warning("%s. Which words: zoo tokens %s INPUT", warning, backbone.spec.id)
    if not (has_features or len(last)):
        last = replace(last, by_layer=empty_matrices(plan))
    yield replace(last, passed_over=tuple(inputs.passed_over))


def _reuse(plan: ExtractionPlan, cache: Literal[True] | FeatureCache) -> FeatureReuse:
    """Return the cached features of an extraction.

    Raises: UsageError for features that are no vectors, and for those that the cache cannot identify.
    """
    if plan.keeps_frames or plan.windowing is not None or "none" in plan.pools.values():
        raise UsageError("cache=True keeps one vector of each sample: pool each layer, and omit window=")
    resolved, provenance = resolved_model(plan.backbone), extraction_provenance(plan)
    if resolved.facts_file is None:
        raise UsageError(
            f"cache=True: {resolved.spec.id} is a module in memory, and the cache would not notice a change of its "
            "code or its preprocessing. Next: omit cache="
        )
    weights = provenance["weights"]
    if not str(weights["source"]).startswith("random:"):
        digests = resolved.files.all_digests
        if resolved.files.checkpoint_name is None:  # made by a program
            digests["tensors"] = digest_of_tensors(network_of(plan.backbone).network)
        weights = {**weights, "sha256": digests}
    provenance |= {
        "weights": weights,
        "network": resolved.facts_file.network_state(),
        "replaced_modules": replaced_modules(plan.backbone),
    }
    return FeatureReuse(FeatureCache.on_disk() if cache is True else cache, provenance, closes=cache is True)


def _counter(inputs: Any, modality: Modality, find: Callable[..., Samples]) -> BackgroundCount:
    """Return the number of samples, or how to count them. find: returns the samples once more."""
    if not is_counted_by_reading(inputs, modality) or is_standard_input(inputs):
        return BackgroundCount(None, known_count(inputs, modality))

    def found_again() -> Iterator[Item]:
        with Workers() as decoder:
            yield from find(decoder=decoder)

    return BackgroundCount(found_again)


def _reported(
    pieces: Generator[Features], counter: BackgroundCount, progress: ProgressChoice, label: str, unit: str
) -> Iterator[Features]:
    """Pass pieces on, and report the number of their samples, or of windows, whose total is unknown."""
    is_counted = unit == "samples"
    with (
        contextlib.closing(pieces),
        counter,
        metered(progress, unit=unit, label=label, total=counter.total if is_counted else None) as meter,
    ):
        for piece in pieces:
            meter.total = counter.total if is_counted else None
            meter.advance(len(piece) + len(piece.errors))
            yield piece
        if is_counted and counter.is_in_background and meter.total is None:  # all samples were faster than the count
            meter.total = meter.done
            meter.advance(0)


def _run_batch(
    backbone: Backbone, batch: list[PlacedRow], pools: Mapping[str, str], pending: PendingSamples
) -> list[tuple[PlacedRow, RowResult]]:
    """Run the network on one batch, and return the result of each row. Several threads may do so at once.

    A batch on which the network fails is split in halves, down to the row that causes the failure.
    """
    if len(batch) > 1 and backbone.variation:
        return [result for placed in batch for result in _run_batch(backbone, [placed], pools, pending)]
    try:
        pooled: dict[str, list[PooledRow]] | None
        pooled = backbone.pool_with_counts(backbone.preprocess.collate([placed.row for placed in batch]), pools)
    except LayerzooError:
        raise
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            return [(batch[0], failed_sample(pending.id_of(batch[0]), "the device is out of memory", error))]
        pooled = None
    except Exception as error:  # noqa: BLE001 - the network and its preprocessing may raise anything
        _require_working_network(backbone, error)
        if len(batch) > 1:
            halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
            return [result for half in halves for result in _run_batch(backbone, half, pools, pending)]
        placed = batch[0]
        sample_id = pending.id_of(placed)
        failure = too_short_for(backbone, placed.row, sample_id)
        return [(placed, failure or failed_sample(sample_id, "the network fails on it", error))]
    if pooled is None:  # here, where the failure no longer holds the tensors of the forward pass
        free_cache(backbone.device)
        halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
        return [result for half in halves for result in _run_batch(backbone, half, pools, pending)]
    if len(batch) > 1 and _depends_on_batch(backbone, batch, pooled, pools):
        return [result for placed in batch for result in _run_batch(backbone, [placed], pools, pending)]
    return [(placed, {name: rows[at] for name, rows in pooled.items()}) for at, placed in enumerate(batch)]


def _depends_on_batch(
    backbone: Backbone, batch: list[PlacedRow], pooled: Mapping[str, list[PooledRow]], pools: Mapping[str, str]
) -> bool:
    """Return whether features depend on the batch. One that is larger than all before is compared with two of its rows.

    Other threads may have found it while this batch ran.
    """
    layers = [layer for layer in backbone.layers if layer.name in pooled]
    resolved, known_variation = resolved_model(backbone), backbone.variation
    is_due = not known_variation and backbone.precision == "float32" and resolved.unchecked_at(layers, len(batch))
    if not is_due or _different_row(batch) is None:
        return bool(known_variation)

    def read(rows: Batch) -> Mapping[str, Sequence[FloatArray]]:
        return backbone.pool_rows(rows, pools)

    def make_batch(numbers: Sequence[int]) -> Batch:
        return backbone.preprocess.collate([batch[number].row for number in numbers])

    together = {name: [row.values for row in rows] for name, rows in pooled.items()}
    with contextlib.suppress(Exception):  # a sample on which the network fails is reported when it is run
        resolved.record_size(layers, len(batch), compare_ends(read, make_batch, together, len(batch)))
    for notice in backbone.variation.notices(backbone.spec.id):
        logging.getLogger("layerzoo").warning("%s", notice)
    return bool(backbone.variation)


def _check_first_batch(plan: ExtractionPlan, batches: Iterator[list[PlacedRow]]) -> Iterator[list[PlacedRow]]:
    """Pass batches on. The first one with two different rows shows whether features are random or depend on the batch.

    The result is kept with the model's trace, so that each layer is checked once.
    """
    backbone = plan.backbone
    is_due = backbone.precision == "float32" and bool(resolved_model(backbone).unchecked(plan.layers))
    for batch in batches:
        if is_due and (other_row := _different_row(batch)) is not None:
            is_due = False
            _check_variation(plan, batch[0].row, other_row)
        yield batch


def _different_row(batch: list[PlacedRow]) -> InputRow | None:
    """Return a row of a batch that differs from its first one; None if all are equal."""
    first = batch[0].row

    def is_equal(row: InputRow) -> bool:
        return all(np.array_equal(array, row.inputs[name]) for name, array in first.inputs.items())

    return next((placed.row for placed in batch[1:] if not is_equal(placed.row)), None)


def _check_variation(plan: ExtractionPlan, row: InputRow, other_row: InputRow) -> None:
    backbone, known_variation = plan.backbone, plan.backbone.variation

    def read(batch: Batch) -> Mapping[str, Sequence[FloatArray]]:
        return backbone.pool_rows(batch, plan.row_pools)

    def make_batch(numbers: Sequence[int]) -> Batch:
        return backbone.preprocess.collate([(row, other_row)[number] for number in numbers])

    with contextlib.suppress(Exception):  # a sample on which the network fails is reported when it is run
        comparison = compare(read, make_batch, known_variation.random)
        resolved_model(backbone).record_comparison(plan.layers, comparison)
    if replace(backbone.variation, is_measured=known_variation.is_measured) != known_variation:
        for notice in backbone.variation.notices(backbone.spec.id):
            logging.getLogger("layerzoo").warning("%s", notice)


def _require_working_network(backbone: Backbone, failure: Exception) -> None:
    """Raises: PluginError when the network fails on its example input, too, so that no sample causes the failure."""
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
        line = line_of(failure, resolved_model(backbone).hooks.folders)
        location = f" (at {line})" if line else ""
        raise PluginError(
            f"the network of {backbone.spec.id} fails on any input: {summary(failure)}{location}. If backbone.module "
            "was converted: load() takes precision=",
            plugin=backbone.spec.builder,
        ) from error


def _sampling(backbone: Backbone, **changes: Any) -> Backbone:
    """Return the backbone with another sampling of frames. Raises: UsageError for another modality than video."""
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        return backbone
    if not isinstance(backbone.preprocess, VideoPreprocessor):
        names = ", ".join(f"{name}=" for name in changes)
        frames_model = registry().frames_id(backbone.spec.id) if backbone.preprocess.modality == "vision" else None
        advice = f". Next: {frames_model}" if frames_model else ""
        raise UsageError(
            f"{names} is for videos, and {backbone.spec.id} takes {NOUNS[backbone.preprocess.modality]}{advice}"
        )
    return with_preprocess(backbone, backbone.preprocess.sampled(**changes))


def _chunked(backbone: Backbone, chunks: bool, overlap: int | None) -> Backbone:
    if not chunks:
        raise UsageError(f"overlap={overlap} is the overlap of chunks: pass chunks=True, too")
    if not isinstance(backbone.preprocess, TextPreprocessor):
        raise UsageError(f"chunks=True is for text, and {backbone.spec.id} takes {backbone.preprocess.modality}")
    return with_preprocess(backbone, backbone.preprocess.chunked(overlap))


def _windowed(backbone: Backbone, pools: Mapping[str, str], windowing: Windowing) -> Backbone:
    """Return the backbone with recordings cut into windows.

    Raises: UsageError for another modality than audio, and for a pooling of windows at unpooled layers.
    """
    preprocess = backbone.preprocess
    if not isinstance(preprocess, AudioPreprocessor):
        raise UsageError(f"window= is for audio, and {backbone.spec.id} takes {NOUNS[preprocess.modality]}")
    unpooled = [name for name, pool in pools.items() if pool == "none"]
    if unpooled and windowing.temporal_pool != "none":
        raise UsageError(
            f"temporal_pool='{windowing.temporal_pool}' pools the vectors of windows, and {', '.join(unpooled)} is not "
            "pooled to a vector: leave temporal_pool= out, or choose another pool="
        )
    return with_preprocess(backbone, preprocess.windowed(windowing))


def _with_padding_to_buckets(backbone: Backbone) -> Backbone:
    """Pad audio to a few lengths on a device that is faster with batches. A CPU is as fast without padding."""
    preprocess = backbone.preprocess
    if not isinstance(preprocess, AudioPreprocessor) or preprocess.declared.frame_hop_samples is None:
        return backbone
    frames = frames_of(preprocess.usual_samples, preprocess.declared.frame_hop_samples)
    if backbone.device.type == "cpu" or any(_positions(layer) != frames for layer in backbone.layers):
        return backbone  # positions along the layer's time axis may not be the declared frames
    return with_preprocess(backbone, preprocess.padded_to_buckets())


def _positions(layer: Layer) -> int | None:
    """Return the number of sequence positions at a layer, for the example input."""
    axis = sequence_axis(layer)
    return None if axis is None or layer.shape is None else layer.shape[axis]
