"""Sweep over layers: read them all in one pass, and measure what each predicts."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from layerzoo.errors import InputError, LayerError, LayerzooError, SampleError, UnknownLayerError, UsageError
from layerzoo.heads.labels import Labels
from layerzoo.layers import select_all
from layerzoo.media.sample import Sample
from layerzoo.modalities import Modality
from layerzoo.progress import ProgressChoice, metered
from layerzoo.runtime import Backbone
from layerzoo.runtime.fine import FINE, FINE_NAME
from layerzoo.runtime.loading import completed_spec, load_preprocess
from layerzoo.runtime.several import bytes_to_load, load_several, milliseconds_per_sample, usual_layers
from layerzoo.spec import Layer, ModelSpec
from layerzoo.sweeps.clustering import measure_clusters
from layerzoo.sweeps.collection import Collected, check_sweep_memory, collect
from layerzoo.sweeps.duplicates import groups_with_duplicates
from layerzoo.sweeps.estimates import estimates, linear_cka
from layerzoo.sweeps.evaluation import (
    METRICS,
    CandidateFeatures,
    Measured,
    Plan,
    Vectors,
    Words,
    majority,
    measure,
    paired_p,
    plan_folds,
    select,
)
from layerzoo.sweeps.previews import Preview, previews, text_of
from layerzoo.sweeps.result import Sweep, SweepBaseline, SweepDetails, SweepRow
from layerzoo.sweeps.targets import SweepTask, Targets, targets_of

_REPEATED = re.compile(r"(?:block|stage)\.\d+")
_EXTRACTION = (
    *("temporal_pool", "chunks", "overlap", "special_tokens", "normalize", "decode", "prompt"),
    *("sampling", "start_s", "end_s", "clips"),
)
"""Arguments of an extraction that a sweep passes on."""
_TIMED = 8
"""Samples whose forward pass is timed."""
_MANY, _KEPT, _OF_ROWS = 20_000, 8, 5_000
"""From so many samples on, only the best candidates by an estimate are measured. It is computed from some rows."""
_SIMILAR_ROWS = 2_000
"""Rows for the similarity of layers."""

LabelChoice = Callable[[Sequence[str]], Labels] | Sequence[Any] | None


def sweep(
    model: str | ModelSpec | Sequence[str | ModelSpec],
    inputs: Any,
    labels: LabelChoice = None,
    *,
    layers: str | Sequence[str] | None = None,
    pool: str | Sequence[str] | None = None,
    task: SweepTask = "auto",
    groups: Sequence[Any] | None = None,
    folds: int = 5,
    repeats: int = 2,
    seed: int = 0,
    clusters: int | None = None,
    baselines: bool = True,
    combine: bool = True,
    prune: bool | None = None,
    device: str = "cpu",
    precision: Literal["float32", "auto", "bfloat16", "float16", "library"] = "float32",
    batch_size: int | Literal["auto"] | None = None,
    errors: Literal["raise", "skip"] = "raise",
    column: str | None = None,
    progress: ProgressChoice = None,
    cache: bool = False,
    **extraction: Any,
) -> Sweep:
    """Find the layer whose features predict the labels best.

    All layers are read in one pass for each model. For each layer, a linear model on standardized features is
    cross-validated: logistic regression for classes, one for each of several labels, ridge regression for numbers. Its
    regularization is chosen inside the folds. The reported score is that of selecting the layer inside the folds, too.

    Args:
        model: one or several ids or specs.
        inputs: as for :func:`layerzoo.extract`.
        labels: a class, a number, or a list of labels for each input; or a function from the ids of the samples to
            their labels, such as :func:`layerzoo.heads.labels_of_folders`. None: clustering.
        layers: names or selectors; of several models, each uses those that select a layer of it. None: stem, blocks,
            stages, norm and pooled vector, of those that the model has. ``fine``: these, and two activations inside
            each block, ``block.I.attn`` and ``block.I.mlp``.
        pool: one or several poolings, each of them for all layers that it fits. None: the default of each layer.
        task: ``classify``, ``multilabel``, ``regress``, ``cluster``, or ``auto`` according to the labels.
        groups: the source of each input; the samples of one source are in one fold. Of labels from a function, its own
            groups are used.
        folds: the number of folds, at most: fewer if a class has fewer samples or groups.
        repeats: the number of repetitions of the folds, with other random splits.
        seed: of the splits.
        clusters: their number, for ``cluster``. None: the number of classes, or the best of 2 to 10 without labels.
        baselines: measure the majority class, the samples without a network, and the network with random weights.
        combine: also measure the mean over the blocks, and principal components of all blocks.
        prune: measure only the best candidates according to an estimate. None: from 20,000 samples on.
        device: a torch device for the network.
        precision: as for :func:`layerzoo.load`.
        batch_size: as for :func:`layerzoo.extract`.
        errors: ``"raise"`` stops at the first sample that fails; ``"skip"`` leaves it out.
        column: the column of a table that holds the samples.
        progress: as for :func:`layerzoo.extract`.
        cache: as for :func:`layerzoo.extract`.
        **extraction: ``temporal_pool``, ``chunks``, ``overlap``, ``special_tokens``, ``normalize``, ``decode``,
            ``prompt``, ``sampling``, ``start_s``, ``end_s`` and ``clips``, as for :func:`layerzoo.extract`.
    Returns: a :class:`Sweep`, with a row for each candidate.
    Raises: the errors of :func:`layerzoo.extract`; InputError for labels that do not fit, and for features that do not
        fit in memory; UsageError.

    >>> texts = ["the cat", "cat drinks", "the dog", "dog eats", "milk", "meat", "milk meat", "meat meat"]
    >>> found = layerzoo.sweep("toy/next-word", texts, ["animal"] * 4 + ["food"] * 4, folds=3)
    >>> found.rows[found.best].layer, found.metric
    ('block.0', 'accuracy')
    """
    if unknown := sorted(set(extraction) - set(_EXTRACTION)):
        raise UsageError(f"{', '.join(unknown)}: a sweep takes only the arguments {', '.join(_EXTRACTION)}")
    for name, value, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if value < least:
            raise UsageError(f"{name}={value} is less than {least}")
    if task not in (known := get_args(SweepTask)):
        raise UsageError(f"task={task!r} is not one of {', '.join(known)}")
    for name, chosen in (("temporal_pool", extraction.get("temporal_pool")), ("pool", pool)):
        if "none" in _listed(chosen):
            raise UsageError(f"{name}='none' keeps sequences, and a sweep needs a vector of each sample")
    if isinstance(model, Backbone):
        raise UsageError("a sweep loads its models with all their layers: give ids or specs, and not a loaded backbone")
    models = [model] if isinstance(model, str | ModelSpec) else list(model)
    if not models:
        raise UsageError("no model is chosen")
    clock = _StepTimes()
    with clock.step("find samples"):
        found, failed = _samples(models[0], inputs, column, errors)
        data = _data(found, labels, task, groups)
    network = {"device": device, "precision": precision}
    how = {**extraction, "batch_size": batch_size, "errors": errors, "progress": progress, "cache": cache}
    run = _SweepRun(data, folds, repeats, seed, clusters, network, how, clock)
    return run.swept(models, _listed(layers), _listed(pool), failed, baselines=baselines, combine=combine, prune=prune)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


class _StepTimes:
    """Measures the seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Any:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """The labelled samples."""

    samples: Sequence[Sample]
    modality: Modality
    targets: Targets
    groups: NDArray[Any] | None
    notes: Sequence[str]

    def taken(self, rows: NDArray[np.intp]) -> _Data:
        """Return some of the samples."""
        values = self.targets.values
        return replace(
            self,
            samples=[self.samples[row] for row in rows],
            targets=replace(self.targets, values=values[rows] if len(values) else values),
            groups=None if self.groups is None else self.groups[rows],
        )


def _samples(
    model: str | ModelSpec, inputs: Any, column: str | None, errors: str
) -> tuple[tuple[list[Sample], Modality], list[SampleError]]:
    """Return the samples of the inputs, and the failures to find them. Raises: SampleError, InputError."""
    preprocess = load_preprocess(model)
    items = list(preprocess.samples(inputs, column=column))
    failed = [item for item in items if isinstance(item, SampleError)]
    if failed and errors == "raise":
        raise failed[0]
    return ([item for item in items if isinstance(item, Sample)], preprocess.modality), failed


def _data(
    found: tuple[list[Sample], Modality], labels: LabelChoice, task: SweepTask, groups: Sequence[Any] | None
) -> _Data:
    """Return the samples with their labels and groups. Raises: InputError."""
    samples, modality = found
    notes: list[str] = []
    ids = [sample.id for sample in samples]
    if not samples:
        raise InputError("none of the samples can be used")
    if labels is None:
        rows: Sequence[int] = range(len(samples))
        values: Sequence[Any] = ()
    elif callable(labels):
        chosen = labels(ids)
        rows, values, groups = chosen.rows, chosen.values, chosen.groups or groups
        if chosen.unlabelled:
            shown = ", ".join(chosen.unlabelled[:3])
            notes.append(f"{_counted(len(chosen.unlabelled), 'sample')} without a label left out, such as {shown}")
        if chosen.unused:
            shown = ", ".join(chosen.unused[:3])
            notes.append(f"{_counted(len(chosen.unused), 'row')} of the labels for no sample, such as {shown}")
    else:
        if len(labels) != len(samples):
            raise InputError(f"{len(labels)} labels for {len(samples)} samples")
        rows, values = range(len(samples)), list(labels)
    if groups is not None and len(groups) != len(rows):
        raise InputError(f"{len(groups)} groups for {len(rows)} samples")
    kept = [samples[row] for row in rows]
    targets = targets_of(values, task)
    if targets.note:
        notes.append(targets.note)
    joined, note = groups_with_duplicates(kept, groups or None)
    if note:
        logging.getLogger("layerzoo").warning("%s", note)
        notes.append(note)
    return _Data(kept, modality, targets, joined, notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A candidate before it is measured."""

    model: str
    layer: str
    pool: str
    layers: tuple[str, ...]
    source: Vectors
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_default: bool = False

    def matrix(self) -> NDArray[np.float32]:
        return self.source.matrices[0] if len(self.source.matrices) == 1 else np.concatenate(self.source.matrices, 1)


@dataclass(frozen=True, slots=True, eq=False)
class _SweepRun:
    """The settings of one sweep."""

    data: _Data
    folds: int
    repeats: int
    seed: int
    clusters: int | None
    network: Mapping[str, Any]
    """Device and precision."""
    how: Mapping[str, Any]
    """Arguments of :func:`layerzoo.extract`."""
    clock: _StepTimes

    @property
    def extraction(self) -> dict[str, Any]:
        """The arguments that decide which features are extracted."""
        return {name: value for name, value in self.how.items() if name in _EXTRACTION}

    def swept(
        self,
        models: Sequence[str | ModelSpec],
        layers: Sequence[str],
        pools: Sequence[str],
        failed: list[SampleError],
        *,
        baselines: bool,
        combine: bool,
        prune: bool | None,
    ) -> Sweep:
        """Run the sweep: see :func:`sweep`."""
        with self.clock.step("load"):
            specs = [completed_spec(model) for model in models]
            chosen = _layers_by_model(specs, layers)
            loaded = [self._loaded(*each, pools) for each in zip(models, specs, chosen, strict=True)]
        backbones = [backbone for backbone, *_ in loaded]
        for spec, modality in ((each.spec, each.preprocess.modality) for each in backbones):
            if modality != self.data.modality:
                raise UsageError(f"{spec.id} takes {modality}, and {backbones[0].spec.id} takes {self.data.modality}")
        check_sweep_memory(backbones, len(self.data.samples), self.extraction.get("temporal_pool"))
        plan = None if self.data.targets.task == "cluster" else self._plan(self.data)  # errors before the work
        with self.clock.step("extract"):
            collected = [self._collected(backbone) for backbone in backbones]
        done = np.logical_and.reduce([each.done for each in collected])
        failed += [error for each in collected for error in each.errors]
        if not done.any():
            raise InputError(f"none of the {len(failed)} samples could be used, such as {failed[0]}")
        rows = np.flatnonzero(done)
        data = self.data if done.all() else self.data.taken(rows)
        if not done.all() and plan is not None:
            plan = self._plan(data)
        candidates = [
            candidate
            for (backbone, meanings, default), each in zip(loaded, collected, strict=True)
            for candidate in self._candidates(backbone, meanings, default, each, rows, combine=combine)
        ]
        return self._result(data, plan, candidates, collected, backbones, failed, baselines=baselines, prune=prune)

    def _plan(self, data: _Data) -> Plan:
        return plan_folds(
            data.targets.task, data.targets.values, data.groups, folds=self.folds, repeats=self.repeats, seed=self.seed
        )

    def _loaded(
        self, model: str | ModelSpec, spec: ModelSpec, layers: Sequence[str], pools: Sequence[str]
    ) -> tuple[Backbone, dict[str, tuple[str, str]], str]:
        """Load a model with the layers to compare. Returns: it, the meanings of its layers, and the default layer."""
        chosen = usual_layers(spec) if not layers else list(layers)
        if FINE in chosen:
            chosen = [*usual_layers(spec), *chosen]
        default = select_all(spec.layers, [spec.default.layer], model=spec.id)[0].name
        backbone, meanings = load_several(model, chosen, pools, **self.network)
        return backbone, meanings, default

    def _collected(self, backbone: Backbone) -> Collected:
        return collect(backbone, self.data.samples, self.how)

    def _candidates(
        self,
        backbone: Backbone,
        meanings: Mapping[str, tuple[str, str]],
        default: str,
        collected: Collected,
        rows: NDArray[np.intp],
        *,
        combine: bool,
    ) -> list[_Candidate]:
        with self.clock.step("measure cost"):
            sources = [self.data.samples[row].source for row in rows[:_TIMED]]
            milliseconds = milliseconds_per_sample(backbone, sources)
            sizes = bytes_to_load(backbone)
        is_whole = len(rows) == len(self.data.samples)
        found = []
        for layer in backbone.layers:
            name, pool = meanings[layer.name]
            matrix = collected.by_layer[layer.name]
            facts = _facts(layer, milliseconds.get(layer.name), sizes[layer.name])
            found.append(
                _Candidate(
                    backbone.spec.id,
                    name,
                    pool,
                    (name,),
                    Vectors([matrix if is_whole else matrix[rows]]),
                    facts,
                    name == default,
                )
            )
        return found + (_combined(found) if combine else [])

    def _result(
        self,
        data: _Data,
        plan: Plan | None,
        candidates: Sequence[_Candidate],
        collected: Sequence[Collected],
        backbones: Sequence[Backbone],
        failed: Sequence[SampleError],
        *,
        baselines: bool,
        prune: bool | None,
    ) -> Sweep:
        notes = list(data.notes)
        if failed:
            notes.append(f"{_counted(len(failed), 'sample')} failed and left out, such as {failed[0]}")
        with self.clock.step("estimate"), threadpool_limits(1):
            guesses = self._estimates(data, candidates)
        if prune or (prune is None and len(data.samples) >= _MANY):
            candidates, guesses, note = _pruned(candidates, guesses)
            notes += [note] if note else []
        with self.clock.step("cross-validate"):
            if plan is None:
                measured, guesses, assigned = measure_clusters(
                    [candidate.source for candidate in candidates], data.targets, self.clusters, self.folds, self.seed
                )
                chosen: list[int] = []
                selected = max(measured, key=lambda each: each.mean)
            else:
                total = len(candidates) * len(plan.outer)
                shown = self.how["progress"] is True  # a bar of the caller counts samples
                with metered(shown, unit="fits", label="cross-validation", total=total) as meter:
                    measured = measure(plan, [candidate.source for candidate in candidates], meter.advance)
                selected, chosen = select(measured)
                assigned = None
        best = int(np.argmax([each.mean for each in measured]))
        error = measured[best].std / float(np.sqrt(self.folds if plan is None else plan.folds))
        cheapest = _cheapest(candidates, measured, measured[best].mean - error)
        default = next(
            (
                number
                for number, candidate in enumerate(candidates)
                if candidate.is_default and candidate.model == candidates[best].model
            ),
            None,
        )
        rows = tuple(map(_row, candidates, measured, guesses))
        with self.clock.step("previews"):
            small = previews(data.samples, data.modality)
        with self.clock.step("baselines"):
            others = self._baselines(data, plan, candidates, measured, best, small) if baselines else ()
        return Sweep(
            task=data.targets.task,
            metric=METRICS[data.targets.task],
            rows=rows,
            score=selected.mean,
            spread=selected.std,
            selected=_counts(candidates, chosen),
            best=best,
            cheapest=cheapest,
            standard_error=error,
            default=default,
            p_value=None if default is None or plan is None else paired_p(plan, selected, measured[default]),
            baselines=others,
            samples=len(data.samples),
            classes=data.targets.names,
            groups=None if data.groups is None else len(set(data.groups.tolist())),
            folds=self.folds if plan is None else plan.folds,
            repeats=1 if plan is None else plan.repeats,
            seconds={name: round(seconds, 3) for name, seconds in self.clock.seconds.items()},
            notes=tuple(notes + _constant(rows)),
            rank_correlation=_rank_correlation(rows),
            provenance={
                backbone.spec.id: {**each.provenance, "arguments": dict(self.extraction)}
                for backbone, each in zip(backbones, collected, strict=True)
            },
            details=_details(data, plan, selected, candidates, best, small, assigned),
        )

    def _estimates(self, data: _Data, candidates: Sequence[_Candidate]) -> list[dict[str, float]]:
        """Return the estimates of each candidate that is a layer; empty for others and without classes."""
        if data.targets.task not in ("classify", "regress"):
            return [{} for _ in candidates]
        rows = np.random.default_rng(self.seed).permutation(len(data.samples))[:_OF_ROWS]
        rows.sort()
        targets = data.targets.values[rows]
        return [
            estimates(candidate.matrix()[rows], targets, data.targets.task) if not candidate.source.reduce else {}
            for candidate in candidates
        ]

    def _baselines(
        self,
        data: _Data,
        plan: Plan | None,
        candidates: Sequence[_Candidate],
        measured: Sequence[Measured],
        best: int,
        small: Sequence[Preview],
    ) -> tuple[SweepBaseline, ...]:
        """Measure what is possible without the pretrained network."""
        sources: dict[str, CandidateFeatures] = {}
        if raw := _raw(data, small):
            sources[raw[0]] = raw[1]
        layers = [candidate for candidate in candidates if len(candidate.layers) == 1]
        with_network = candidates[best] if len(candidates[best].layers) == 1 else layers[-1]
        if (random := self._random(data, with_network)) is not None:
            sources["random weights"] = random
        found = [] if plan is None else [_baseline("majority", majority(plan))]
        if plan is None:
            results = measure_clusters(list(sources.values()), data.targets, self.clusters, self.folds, self.seed)[0]
        else:
            results = measure(plan, list(sources.values()))
        found += [_baseline(name, each) for name, each in zip(sources, results, strict=True)]
        last = max(
            (number for number, candidate in enumerate(candidates) if candidate.model == candidates[best].model
             and len(candidate.layers) == 1),
            key=lambda number: (candidates[number].facts.get("depth") or 0.0, number),
        )  # fmt: skip
        return (*found, _baseline("last layer", measured[last]))

    def _random(self, data: _Data, candidate: _Candidate) -> Vectors | None:
        """Return the features of a layer with random weights; None where the network cannot be initialised so."""
        try:
            backbone, _ = load_several(
                candidate.model,
                list(candidate.layers),
                [candidate.pool],
                weights=f"random:{self.seed}",
                **self.network,
            )
            collected = collect(backbone, data.samples, {**self.how, "progress": None})
        except LayerzooError as error:
            logging.getLogger("layerzoo").warning("no baseline with random weights: %s", error)
            return None
        return Vectors(list(collected.by_layer.values())) if collected.done.all() else None


def _layers_by_model(specs: Sequence[ModelSpec], layers: Sequence[str]) -> list[list[str]]:
    """Return the selectors for each model. Of several models, each gets those that select a layer of it.

    Raises: UnknownLayerError, LayerError for a selector without a layer in any model, and for a model without any.
    """
    if len(specs) == 1 or not layers:
        return [list(layers) for _ in specs]
    failures: dict[str, LayerError | UnknownLayerError] = {}
    chosen = []
    for spec in specs:
        fitting = []
        for selector in layers:
            try:
                if selector != FINE and not FINE_NAME.fullmatch(selector):
                    select_all(spec.layers, [selector], model=spec.id)
                fitting.append(selector)
            except (LayerError, UnknownLayerError) as error:
                failures[selector] = error
        if not fitting:
            raise next(iter(failures.values()))
        chosen.append(fitting)
    selected = {selector for selectors in chosen for selector in selectors}
    if (unknown := next((selector for selector in layers if selector not in selected), None)) is not None:
        raise failures[unknown]
    return chosen


def _facts(layer: Layer, milliseconds: float | None, size: int) -> dict[str, Any]:
    return {
        "depth": layer.depth,
        "params": layer.params,
        "flops": layer.flops,
        "milliseconds": milliseconds,
        "bytes": size,
    }


def _combined(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the mean over the blocks, and the principal components of all blocks, for each pooling."""
    combined = []
    for pool in dict.fromkeys(candidate.pool for candidate in candidates):
        blocks = [each for each in candidates if each.pool == pool and _REPEATED.fullmatch(each.layer)]
        if len(blocks) < 2:
            continue
        names = tuple(name for block in blocks for name in block.layers)
        deepest = max(blocks, key=lambda block: block.facts.get("depth") or 0.0).facts
        matrices = [block.source.matrices[0] for block in blocks]
        parts = [(f"PCA of {len(blocks)} layers", Vectors(matrices, reduce=True))]
        if len({matrix.shape[1] for matrix in matrices}) == 1:
            parts.insert(0, (f"mean of {len(blocks)} layers", Vectors([np.mean(matrices, axis=0)])))
        combined += [_Candidate(blocks[0].model, name, pool, names, source, deepest) for name, source in parts]
    return combined


def _pruned(
    candidates: Sequence[_Candidate], guesses: Sequence[dict[str, float]]
) -> tuple[list[_Candidate], list[dict[str, float]], str | None]:
    """Return the candidates with the highest estimates, those without one, and the default layers."""
    known = sorted(
        (number for number, guess in enumerate(guesses) if "logme" in guess),
        key=lambda number: guesses[number]["logme"],
        reverse=True,
    )
    dropped = {number for number in known[_KEPT:] if not candidates[number].is_default}
    kept = [number for number in range(len(candidates)) if number not in dropped]
    note = f"{len(dropped)} of {len(candidates)} candidates were left out, because their LogME is lower"
    return [candidates[number] for number in kept], [guesses[number] for number in kept], note if dropped else None


def _row(candidate: _Candidate, measured: Measured, guess: Mapping[str, float]) -> SweepRow:
    matrix = candidate.source.matrices[0]
    width = sum(each.shape[1] for each in candidate.source.matrices)
    constant = 0 if candidate.source.reduce else int((np.ptp(matrix, axis=0) == 0).sum())
    notes = (f"{constant} of {width} features are constant",) if constant else ()
    return SweepRow(
        model=candidate.model,
        layer=candidate.layer,
        pool=candidate.pool,
        layers=candidate.layers,
        score=measured.mean,
        spread=measured.std,
        scores=tuple(measured.scores.tolist()),
        width=width,
        is_default=candidate.is_default,
        estimates=dict(guess),
        notes=notes,
        **candidate.facts,
    )


def _constant(rows: Iterable[SweepRow]) -> list[str]:
    return [f"{row.model} {row.layer} {row.pool}: {note}" for row in rows for note in row.notes]


def _cheapest(candidates: Sequence[_Candidate], measured: Sequence[Measured], least: float) -> int:
    """Return the candidate with the fewest FLOPs of those with at least a score; of equal ones, the best."""
    good = [number for number, each in enumerate(measured) if each.mean >= least]
    return min(
        good,
        key=lambda number: (
            candidates[number].facts.get("flops") or 0,
            len(candidates[number].layers),
            -measured[number].mean,
        ),
    )


def _counts(candidates: Sequence[_Candidate], chosen: Sequence[int]) -> dict[str, int]:
    names = [f"{candidates[number].model} {candidates[number].layer} {candidates[number].pool}" for number in chosen]
    return dict(Counter(names).most_common())


def _rank_correlation(rows: Sequence[SweepRow]) -> dict[str, float]:
    found = {}
    for name in ("logme", "h_score", "nearest_centroid"):
        pairs = [(row.estimates[name], row.score) for row in rows if name in row.estimates]
        if len(pairs) > 2 and all(len(set(side)) > 1 for side in zip(*pairs, strict=True)):
            found[name] = round(float(spearmanr(*zip(*pairs, strict=True)).statistic), 4)
    return found


def _baseline(name: str, measured: Measured) -> SweepBaseline:
    return SweepBaseline(name, measured.mean, measured.std)


def _raw(data: _Data, small: Sequence[Preview]) -> tuple[str, CandidateFeatures] | None:
    """Return the samples as features without a network, with their name; None where some have none."""
    if data.modality == "text":
        texts = [text_of(sample.source) for sample in data.samples]
        return None if None in texts else ("words", Words([text for text in texts if text is not None]))
    arrays = [preview.features for preview in small]
    if any(array is None for array in arrays) or len({array.shape for array in arrays if array is not None}) != 1:
        return None
    name = "log-mel" if data.modality == "audio" else "pixels"
    return name, Vectors([np.stack([array for array in arrays if array is not None])])


def _details(
    data: _Data,
    plan: Plan | None,
    selected: Measured,
    candidates: Sequence[_Candidate],
    best: int,
    small: Sequence[Preview],
    assigned: NDArray[Any] | None,
) -> SweepDetails:
    targets, predictions = data.targets.values, None
    confidence: NDArray[np.float64] | None = None
    if plan is None:
        targets = assigned if not len(targets) and assigned is not None else targets
    else:
        predictions = np.zeros_like(targets, dtype=float if plan.task == "regress" else None)
        for (_, score), part in zip(plan.outer[: plan.folds], selected.predictions, strict=False):
            predictions[score] = part
        if selected.confidence:
            confidence = np.zeros(len(targets))
            for (_, score), part in zip(plan.outer[: plan.folds], selected.confidence, strict=False):
                confidence[score] = part
    layers = [each for each in candidates if each.model == candidates[best].model and len(each.layers) == 1]
    rows = np.linspace(0, len(data.samples) - 1, min(len(data.samples), _SIMILAR_ROWS)).astype(int)
    similarity = linear_cka([each.matrix()[rows] for each in layers])
    return SweepDetails(
        ids=tuple(sample.id for sample in data.samples),
        targets=targets,
        predictions=predictions,
        features=candidates[best].matrix(),
        confidence=confidence,
        previews=small,
        similarity=similarity,
        similar=tuple(f"{each.layer} {each.pool}" for each in layers),
    )
