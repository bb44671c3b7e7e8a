"""Start a run, or continue it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

from layerzoo.environment import environment
from layerzoo.errors import UnidentifiedModelError, UsageError
from layerzoo.features.features import Features
from layerzoo.features.part import shard_of
from layerzoo.media.count import count_listed_files
from layerzoo.notices import warn
from layerzoo.progress import ProgressChoice, metered
from layerzoo.registry.lookup import registry
from layerzoo.runs.call import RunCall
from layerzoo.runs.creation import (
    Creation,
    check_inputs,
    creation_lock,
    description_of,
    named_inputs,
    read_description,
    write_inputs,
)
from layerzoo.runs.description import RunDescription
from layerzoo.runs.driver import Crew
from layerzoo.runs.loading import load, own_facts
from layerzoo.runs.manifest import FoundInputs
from layerzoo.runs.request import arguments_of, divided, prepared
from layerzoo.runs.status import status
from layerzoo.runs.storage import RunStorage, storage
from layerzoo.runs.worker import Share, work
from layerzoo.spec import Modality, ModelSpec

if TYPE_CHECKING:
    from layerzoo.runtime import Backbone
    from layerzoo.runtime.extraction import PreparedExtraction
    from layerzoo.runtime.preprocess.image import DecodeChoice
    from layerzoo.runtime.request import LayerChoice, PoolChoice

_DECODE_SECONDS = "LAYERZOO_DECODE_SECONDS"


@dataclass(frozen=True, slots=True)
class RunResult:
    """The state of a run when a call of :func:`run` has ended."""

    folder: str
    """The folder of the run, or its URL."""
    samples: int
    """The number of samples that were computed, failed ones included, by this call and by all before."""
    failed: int
    """The number of samples without features. Their rows have the reason in the column ``error``."""
    left: int
    """The number of samples of other shards, which are still to be computed."""

    def load(self) -> Features:
        """Return the features of all samples: see :meth:`Features.load`. Raises: UnfinishedRunError."""
        return load(self.folder)


def run(
    model: str | ModelSpec | Backbone | None = None,
    inputs: Any = None,
    *,
    out: str | os.PathLike[str],
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: Any = "cpu",
    precision: str = "float32",
    batch_size: int | Literal["auto"] | None = None,
    column: str | None = None,
    chunks: bool = False,
    overlap: int | None = None,
    special_tokens: bool = True,
    trust_declaration: bool = False,
    prompt: str | None = None,
    normalize: bool = False,
    window: float | str | None = None,
    hop: float | str | None = None,
    temporal_pool: str | None = None,
    decode: DecodeChoice = "exact",
    ids: str | Iterable[str] | None = None,
    sampling: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    clips: int | None = None,
    partial: bool = False,
    allow_pickle: bool = False,
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    shard_size: int | None = None,
    sample_timeout_s: float | None = None,
    retry_failed: bool = False,
    accept_versions: bool = False,
    engine: Literal["processes", "ray"] = "processes",
    address: str | None = None,
    progress: ProgressChoice = None,
) -> RunResult:
    """Extract features into a folder of parts. It can be stopped at any time, and continued by the same call.

    Args:
        model: as for :func:`extract`. None: that of the run in the folder, with all its settings.
        inputs: as for :func:`extract`, and URLs of files that fsspec can read, such as ``s3://bucket/photos/``. Samples
            in memory are texts, bytes, or rows of a table. They are listed once, when the run begins. None: those of
            the run in the folder.
        out: the folder, or its URL.
        layer: see :func:`load`.
        pool: see :func:`load`.
        weights: see :func:`load`.
        device: see :func:`load`. Several devices are divided among the workers.
        precision: see :func:`load`.
        batch_size: see :func:`extract`.
        column: see :func:`extract`.
        chunks: see :func:`extract`.
        overlap: see :func:`extract`.
        special_tokens: see :func:`extract`.
        trust_declaration: see :func:`load`.
        prompt: see :func:`extract`.
        normalize: see :func:`extract`.
        window: see :func:`extract`.
        hop: see :func:`extract`.
        temporal_pool: see :func:`extract`.
        decode: see :func:`extract`.
        ids: see :func:`extract`.
        sampling: see :func:`extract`.
        start_s: see :func:`extract`.
        end_s: see :func:`extract`.
        clips: see :func:`extract`.
        partial: see :func:`load`.
        allow_pickle: see :func:`load`.
        workers: processes on this machine, which divide its cores and devices. None: this process computes.
        shard: (I, N) computes the shards whose number is I modulo N, from 0. Other machines compute the others.
        shard_size: samples in a shard. None: chosen when the run begins, from the time of some samples, so that a shard
            takes one to two minutes.
        sample_timeout_s: seconds that decoding one sample may take.
        retry_failed: compute failed samples of earlier calls again, with their files as they are now.
        accept_versions: continue a run that began with other versions of the libraries.
        engine: ``"ray"`` has Ray Data distribute the shards over a cluster.
        address: of the Ray cluster. None: one on this machine.
        progress: see :func:`extract`.
    Returns: the state of the run.
    Raises: RunMismatchError for a folder with a run of another request; InputError for a part that is damaged, or not
        that of its shard; OutputError where the folder cannot be written; the errors of :func:`extract` for the
        request as a whole. Samples that fail raise nothing.

    >>> result = layerzoo.run("toy/next-word", ["the cat", "milk"], out="words", shard_size=1)
    >>> result.samples, result.failed, result.load().values.shape
    (2, 0, (2, 3))
    """
    options = {
        "layer": layer, "pool": pool, "weights": weights, "device": device, "precision": precision,
        "trust_declaration": trust_declaration, "partial": partial, "allow_pickle": allow_pickle,
        "batch_size": batch_size, "chunks": chunks, "overlap": overlap, "special_tokens": special_tokens,
        "prompt": prompt, "normalize": normalize, "window": window, "hop": hop, "temporal_pool": temporal_pool,
        "decode": decode, "sampling": sampling, "start_s": start_s, "end_s": end_s, "clips": clips,
    }  # fmt: skip
    _check(workers, shard, shard_size, sample_timeout_s, engine)
    files, share = storage(out), Share(*(shard or (0, 1)))
    files.prepare()
    with ExitStack() as stack:
        if sample_timeout_s is not None:
            stack.enter_context(environment(_DECODE_SECONDS, str(sample_timeout_s)))
        turn = stack.enter_context(ExitStack())
        turn.enter_context(creation_lock(files.lease_folder))
        request = _requested(files, model, inputs, options, column=column, ids=ids)
        creation = None
        if request.listed is not None:
            names = named_inputs(inputs, request.modality)
            creation = Creation(
                names, request.arguments, request.listed.passed_over, shard_size, workers or 1, column=column,
                files=None if names is None else count_listed_files(names, request.modality),
            )  # fmt: skip
        else:
            _tell_added_files(files, request.modality)
        initial_status = status(files.label)
        _check_parts(files, initial_status.damaged, share)
        total = request.rows - initial_status.done
        meter = stack.enter_context(metered(progress, unit="samples", label=request.label, total=total))
        call = RunCall(
            files, request.arguments, creation, share, shard_size, retry_failed, accept_versions,
            report=lambda done, failed: meter.advance(done), joined=turn.close,
        )  # fmt: skip
        if engine == "ray":
            from layerzoo.runs.on_ray import run_on_ray

            run_on_ray(call, address=address, workers=workers)
        elif workers is not None:
            Crew(call, workers).run()
        else:
            extraction = request.prepared()
            opened = call.opened(extraction)
            turn.close()
            work(opened, extraction, share=call.share, retry_failed=retry_failed, report=call.report)
    final_status = status(files.label)
    _check_parts(files, final_status.damaged, share)
    return RunResult(files.label, final_status.done, final_status.failed, final_status.left)


def _tell_added_files(files: RunStorage, modality: Modality) -> None:
    """Warn of files that were added to the inputs since the run began. They are counted, and not read."""
    description = read_description(files)
    if description is None or description.inputs is None or description.files is None:
        return
    added = count_listed_files(description.inputs, modality) - description.files
    if added > 0:
        subject = "1 file was" if added == 1 else f"{added:,} files were"
        pronoun, verb = ("it", "is") if added == 1 else ("them", "are")
        warn(
            f"{files.label}: {subject} added since the run began, and {verb} not in it. Next: name a new folder with "
            f"--out to include {pronoun}"
        )


def _check_parts(files: RunStorage, damaged: Iterable[str], share: Share) -> None:
    """Refuse the parts of a share that are damaged, or not those of their shards. No worker would compute them again.

    damaged: their names. Raises: InputError with the reason of the first.
    """
    description = None
    for name in damaged:
        shard = shard_of(name)
        if shard is not None and shard % share.count == share.index:
            description = description or description_of(files)
            own_facts(files, description, shard)


@dataclass(frozen=True, slots=True)
class _Requested:
    """The request of one call."""

    label: str
    """The id of the model."""
    modality: Modality
    arguments: Mapping[str, Any] | None
    """For another process; None where they hold objects of this one."""
    rows: int
    """The number of samples."""
    listed: FoundInputs | None
    """The inputs that were listed for a new run; None for a run that exists."""
    prepared: Callable[[], PreparedExtraction]
    """Loads the model."""


def _requested(
    files: RunStorage,
    model: str | ModelSpec | Backbone | None,
    inputs: Any,
    options: Mapping[str, Any],
    *,
    column: str | None,
    ids: Any,
) -> _Requested:
    """Resolve the model and the inputs, and list the inputs of a new run. Raises: as :func:`run`."""
    description = read_description(files)
    if model is None:
        return _continued(files, description, inputs, {**options, "column": column})
    arguments = None
    if isinstance(model, str):
        spec = _spec_of(model)
        label, modality, arguments = spec.id, spec.modality, arguments_of(spec.id, options)
        prepare = partial(prepared, arguments)
    else:
        spec = model if isinstance(model, ModelSpec) else model.spec
        label, modality = spec.id, spec.modality if isinstance(model, ModelSpec) else model.preprocess.modality
        prepare = partial(_prepared, model, options)
    if description is not None:
        if inputs is not None:
            check_inputs(files, description, inputs, modality, column=column, ids=ids)
        return _Requested(label, modality, arguments, description.rows, None, prepare)
    if inputs is None:
        raise UsageError(f"there is no run in {files.label} to continue: give inputs, too")
    listed = write_inputs(files, inputs, modality, column=column, ids=ids)
    return _Requested(label, modality, arguments, listed.rows, listed, prepare)


def _continued(
    files: RunStorage, description: RunDescription | None, inputs: Any, options: Mapping[str, Any]
) -> _Requested:
    """Return the request of the run in a folder. Raises: UsageError where there is none that can be repeated."""
    parameters = signature(run).parameters
    if changed := [name for name, value in options.items() if value != parameters[name].default]:
        raise UsageError(
            f"{'=, '.join(changed)}=: give a model and inputs, too. Without them, a run is continued as it began"
        )
    if description is None:
        raise UsageError(f"there is no run in {files.label} to continue: give a model and inputs")
    if inputs is not None:
        raise UsageError("give a model next to the inputs, or neither of them to continue the run in the folder")
    if description.arguments is None:
        raise UsageError(
            f"the run in {files.label} began with a backbone of a program: call layerzoo.run with that backbone"
        )
    label = str(description.arguments["model"])
    modality = _spec_of(label).modality
    return _Requested(
        label, modality, description.arguments, description.rows, None, partial(prepared, description.arguments)
    )


def _spec_of(model: str) -> ModelSpec:
    """Return the declaration of a model; a repository of the hub that is new to this machine is inspected."""
    try:
        return registry().model(model)
    except UnidentifiedModelError:
        from layerzoo.runtime.identify import find_model

        return find_model(model, registry())


def _prepared(model: ModelSpec | Backbone, options: Mapping[str, Any]) -> PreparedExtraction:
    """Prepare the extraction with objects of this process."""
    from layerzoo.runtime import load
    from layerzoo.runtime.extraction import prepare

    of_load, of_extract = divided(options)
    if isinstance(model, ModelSpec):
        return prepare(load(model, **of_load), errors="skip", **of_extract)
    for name in ("partial", "allow_pickle"):
        if of_load.pop(name, False):
            raise UsageError(f"{name}= belongs to load(): this backbone is loaded already")
    return prepare(model, errors="skip", **of_load, **of_extract)


def _check(
    workers: int | None,
    shard: tuple[int, int] | None,
    shard_size: int | None,
    sample_timeout_s: float | None,
    engine: str,
) -> None:
    """Raises: UsageError for values that are out of range, or exclude each other."""
    if workers is not None and workers < 1:
        raise UsageError(f"workers={workers}: at least one process computes. None: this process")
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise UsageError(f"shard={shard[0]}/{shard[1]}: give I/N with I from 0 to N - 1")
    if shard_size is not None and shard_size < 1:
        raise UsageError(f"shard_size={shard_size}: a shard has at least one sample")
    if sample_timeout_s is not None and not sample_timeout_s > 0:
        raise UsageError(f"sample_timeout_s={sample_timeout_s}: give a number of seconds above 0")
    if engine not in ("processes", "ray"):
        raise UsageError(f"engine={engine!r} is neither 'processes' nor 'ray'")
    if engine == "ray" and shard is not None:
        raise UsageError(
            "shard= is for machines that know nothing of each other, and Ray distributes the shards itself"
        )
