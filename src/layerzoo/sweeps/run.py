"""Sweep over layers: read them all in one pass, and measure what each predicts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from threadpoolctl import threadpool_limits

from layerzoo.errors import InputError, SampleError, UsageError
from layerzoo.heads.targets import METRICS, SweepTask
from layerzoo.progress import ProgressChoice, metered
from layerzoo.runtime import Backbone
from layerzoo.runtime.loading import completed_spec
from layerzoo.spec import ModelSpec
from layerzoo.sweeps.baselines import random_weights, samples_as_features
from layerzoo.sweeps.candidates import Candidate, candidates_of, layers_by_model, load_candidates
from layerzoo.sweeps.collection import Collected, check_sweep_memory, collect
from layerzoo.sweeps.conclusions import cheapest, details_of, rank_correlation, row_of, selection_counts
from layerzoo.sweeps.evaluation import (
    CandidateFeatures,
    Measured,
    Plan,
    majority,
    paired_p,
    plan_folds,
    select,
)
from layerzoo.sweeps.labelled import LabelChoice, LabelledData, counted, find_samples, labelled
from layerzoo.sweeps.previews import Preview, previews
from layerzoo.sweeps.pruning import promising
from layerzoo.sweeps.result import Sweep, SweepBaseline
from layerzoo.sweeps.reuse import MeasurementReuse

_EXTRACTION = (
    *("temporal_pool", "chunks", "overlap", "special_tokens", "normalize", "decode", "prompt"),
    *("sampling", "start_s", "end_s", "clips"),
)
"""Arguments of an extraction that a sweep passes on."""
_MANY, _KEPT, _OF_ROWS = 20_000, 8, 5_000
"""From so many samples on, only the best candidates of each fold by LogME are measured. Estimates take some rows."""


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
        repeats: the number of repetitions of the folds, with other random splits, at most: few groups have few splits,
            and each is measured once.
        seed: of the splits.
        clusters: their number, for ``cluster``. None: the number of classes, or the best of 2 to 10 without labels.
        baselines: measure the majority class, the samples without a network, and the network with random weights.
        combine: also measure the mean over the blocks, and principal components of all blocks.
        prune: measure only the candidates with the highest LogME in the samples to fit on of each fold. None: from
            20,000 samples on.
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
    if task not in (tasks := get_args(SweepTask)):
        raise UsageError(f"task={task!r} is not one of {', '.join(tasks)}")
    for name, choice in (("temporal_pool", extraction.get("temporal_pool")), ("pool", pool)):
        if "none" in _listed(choice):
            raise UsageError(f"{name}='none' keeps sequences, and a sweep needs a vector of each sample")
    if isinstance(model, Backbone):
        raise UsageError("a sweep loads its models with all their layers: give ids or specs, and not a loaded backbone")
    models = [model] if isinstance(model, str | ModelSpec) else list(model)
    if not models:
        raise UsageError("no model is chosen")
    clock = _StepTimes()
    with clock.step("find samples"):
        found_samples, failed = find_samples(models[0], inputs, column, errors)
        data = labelled(found_samples, labels, task, groups)
    network = {"device": device, "precision": precision}
    arguments = {**extraction, "batch_size": batch_size, "errors": errors, "progress": progress, "cache": cache}
    run = _SweepRun(data, folds, repeats, seed, clusters, network, arguments, column, clock)
    return run.swept(models, _listed(layers), _listed(pool), failed, baselines=baselines, combine=combine, prune=prune)


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


class _StepTimes:
    """Measures the seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@dataclass(frozen=True, slots=True, eq=False)
class _SweepRun:
    """The settings of one sweep."""

    data: LabelledData
    folds: int
    repeats: int
    seed: int
    clusters: int | None
    network: Mapping[str, Any]
    """Device and precision."""
    arguments: Mapping[str, Any]
    """Arguments of :func:`layerzoo.extract`."""
    column: str | None
    """The column of a table that holds the samples, which are found before the run."""
    clock: _StepTimes

    @property
    def _reuse(self) -> MeasurementReuse:
        return MeasurementReuse(self.arguments["cache"])

    @property
    def extraction(self) -> dict[str, Any]:
        """The arguments that decide which features are extracted."""
        arguments = {name: value for name, value in self.arguments.items() if name in _EXTRACTION}
        if self.column is not None:
            arguments["column"] = self.column
        if self.network["precision"] != "float32":
            arguments["precision"] = self.network["precision"]
        return arguments

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
            selectors = layers_by_model(specs, layers)
            loaded = [
                load_candidates(*each, pools, self.network) for each in zip(models, specs, selectors, strict=True)
            ]
        backbones = [model.backbone for model in loaded]
        for spec, modality in ((backbone.spec, backbone.preprocess.modality) for backbone in backbones):
            if modality != self.data.modality:
                raise UsageError(f"{spec.id} takes {modality}, and {backbones[0].spec.id} takes {self.data.modality}")
        check_sweep_memory(backbones, len(self.data.samples), self.extraction.get("temporal_pool"))
        plan = None if self.data.targets.task == "cluster" else self._plan(self.data)  # errors before the work
        with self.clock.step("extract"):
            collected = [collect(backbone, self.data.samples, self.arguments) for backbone in backbones]
        is_done = np.logical_and.reduce([features.done for features in collected])
        failed += {error.id: error for features in collected for error in features.errors}.values()
        if not is_done.any():
            raise InputError(f"none of the {len(failed)} samples could be used, such as {failed[0]}")
        rows = np.flatnonzero(is_done)
        data = self.data if is_done.all() else self.data.taken(rows)
        if not is_done.all() and plan is not None:
            plan = self._plan(data)
        sources = [sample.source for sample in self.data.samples]
        with self.clock.step("measure cost"):
            candidates = [
                candidate
                for pair in zip(loaded, collected, strict=True)
                for candidate in candidates_of(*pair, rows, sources, combine=combine)
            ]
        return self._result(data, plan, candidates, collected, backbones, failed, baselines=baselines, prune=prune)

    def _plan(self, data: LabelledData) -> Plan:
        return plan_folds(
            data.targets.task, data.targets.values, data.groups, folds=self.folds, repeats=self.repeats, seed=self.seed
        )

    def _result(
        self,
        data: LabelledData,
        plan: Plan | None,
        candidates: Sequence[Candidate],
        collected: Sequence[Collected],
        backbones: Sequence[Backbone],
        failed: Sequence[SampleError],
        *,
        baselines: bool,
        prune: bool | None,
    ) -> Sweep:
        notes = list(data.notes)
        if failed:
            notes.append(f"{counted(len(failed), 'sample')} failed and left out, such as {failed[0]}")
        if plan is not None and plan.repeats < self.repeats:
            sources = "samples" if data.groups is None else "groups"
            notes.append(
                f"{counted(plan.repeats, 'repetition')} of the folds instead of {self.repeats}: so few {sources} have "
                "no other splits"
            )
        compared = None
        with self.clock.step("estimate"), threadpool_limits(1):
            if plan is not None and (prune or (prune is None and len(data.samples) >= _MANY)):
                compared = promising(plan, candidates, most=_KEPT, rows=_OF_ROWS, seed=self.seed)
                remaining = np.flatnonzero(compared.any(axis=0)).tolist()
                if dropped := len(candidates) - len(remaining):
                    notes.append(
                        f"{dropped} of {len(candidates)} candidates were left out, because their LogME is lower in the "
                        "samples to fit on of each fold"
                    )
                candidates, compared = [candidates[number] for number in remaining], compared[:, remaining]
            guesses = self._estimates(data, candidates)
        with self.clock.step("cross-validate"):
            if plan is None:
                clusterings = self._reuse.clusters(
                    [candidate.source for candidate in candidates], data.targets, self.clusters, self.folds, self.seed
                )
                measured, guesses = (
                    [clustering.measured for clustering in clusterings],
                    [dict(clustering.agreement) for clustering in clusterings],
                )
                selected_numbers: list[int] = []
                selected = max(measured, key=lambda result: result.mean)
            else:
                total = len(candidates) * len(plan.outer)
                has_bar = self.arguments["progress"] is True  # a bar of the caller counts samples
                with metered(has_bar, unit="fits", label="cross-validation", total=total) as meter:
                    measured = self._reuse.measured(plan, [candidate.source for candidate in candidates], meter.advance)
                selected, selected_numbers = select(measured, compared)
        best = int(np.argmax([result.mean for result in measured]))
        error = measured[best].standard_error(self.folds if plan is None else plan.folds)
        cheapest_of_good = cheapest(candidates, measured, measured[best].mean - error)
        default = next(
            (
                number
                for number, candidate in enumerate(candidates)
                if candidate.is_default and candidate.model == candidates[best].model
            ),
            None,
        )
        rows = tuple(map(row_of, candidates, measured, guesses))
        with self.clock.step("previews"):
            small = previews(data.samples, data.modality)
        with self.clock.step("baselines"):
            baseline_results = self._baselines(data, plan, candidates, measured, best, small) if baselines else ()
        return Sweep(
            task=data.targets.task,
            metric=METRICS[data.targets.task],
            rows=rows,
            score=selected.mean,
            spread=selected.std,
            selected=selection_counts(candidates, selected_numbers),
            best=best,
            cheapest=cheapest_of_good,
            standard_error=error,
            default=default,
            p_value=(
                None
                if default is None or plan is None or set(selected_numbers) == {default}
                else paired_p(plan, selected, measured[default])
            ),
            baselines=baseline_results,
            samples=len(data.samples),
            classes=data.targets.names,
            groups=None if data.groups is None else len(set(data.groups.tolist())),
            folds=self.folds if plan is None else plan.folds,
            repeats=1 if plan is None else plan.repeats,
            seconds={name: round(seconds, 3) for name, seconds in self.clock.seconds.items()},
            notes=(*notes, *(f"{row.model} {row.layer} {row.pool}: {note}" for row in rows for note in row.notes)),
            rank_correlation=rank_correlation(rows),
            provenance={
                backbone.spec.id: {**features.provenance, "arguments": dict(self.extraction)}
                for backbone, features in zip(backbones, collected, strict=True)
            },
            errors=tuple(failed),
            details=details_of(data, plan, selected, candidates, best, small),
        )

    def _estimates(self, data: LabelledData, candidates: Sequence[Candidate]) -> list[dict[str, float]]:
        """Return the estimates of each candidate that is a layer; empty for others and without classes."""
        if data.targets.task not in ("classify", "regress"):
            return [{} for _ in candidates]
        rows = np.random.default_rng(self.seed).permutation(len(data.samples))[:_OF_ROWS]
        rows.sort()
        layers = [number for number, candidate in enumerate(candidates) if not candidate.source.reduce]
        layer_estimates = self._reuse.estimates(
            [candidates[number].source for number in layers], rows, data.targets.values[rows], data.targets.task
        )
        by_number = dict(zip(layers, layer_estimates, strict=True))
        return [by_number.get(number, {}) for number in range(len(candidates))]

    def _baselines(
        self,
        data: LabelledData,
        plan: Plan | None,
        candidates: Sequence[Candidate],
        measured: Sequence[Measured],
        best: int,
        small: Sequence[Preview],
    ) -> tuple[SweepBaseline, ...]:
        """Measure what is possible without the pretrained network."""
        sources: dict[str, CandidateFeatures] = {}
        if raw := samples_as_features(data, small):
            sources[raw[0]] = raw[1]
        model = candidates[best].model
        layers = [
            number
            for number, candidate in enumerate(candidates)
            if candidate.model == model and len(candidate.layers) == 1
        ]
        last = max(layers, key=lambda number: (candidates[number].facts.get("depth") or 0.0, number))
        with_network = candidates[best if best in layers else last]
        if (random := random_weights(data, with_network, self.seed, self.network, self.arguments)) is not None:
            sources["random weights"] = random
        baseline_results = [] if plan is None else [_baseline("majority", majority(plan))]
        if plan is None:
            clusterings = self._reuse.clusters(
                list(sources.values()), data.targets, self.clusters, self.folds, self.seed
            )
            results = [clustering.measured for clustering in clusterings]
        else:
            results = self._reuse.measured(plan, list(sources.values()))
        baseline_results += [_baseline(name, result) for name, result in zip(sources, results, strict=True)]
        return (*baseline_results, _baseline("last layer", measured[last]))


def _baseline(name: str, measured: Measured) -> SweepBaseline:
    return SweepBaseline(name, measured.mean, measured.std)
