"""Find out whether the features of a sample are random, or depend on the other samples of its batch.

Two methods complement each other. A trace shows the operations: batch norms with statistics of the batch, and random
numbers, which are followed to the layers that are computed from them. Values show the rest, such as a mean over the
batch or a generator of numpy: two rows are run alone, one of them twice, and then together; and the first and the last
row of each batch that is larger than those before are run alone. See docs/decisions/0017.
"""

from __future__ import annotations

import contextlib
import math
import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerzoo.runtime.batch import Batch
from layerzoo.runtime.trace import Trace
from layerzoo.spec import Layer

SEED = 0
"""Seed of the random numbers that a network draws for each sample."""
RANDOM_TOLERANCE = 1e-5
"""Of a vector's length: how far two passes over one row may be apart. On a CPU they are equal to the bit."""
BATCH_TOLERANCE = 1e-3
"""Of a vector's length: how far a row alone may be from the row in a batch. Padding under a mask changes 1e-5, and a
batch norm by the statistics of two images 0.3 to 1.2."""
ROUNDING = 3e-5
"""Of a vector's length: a difference above this is examined. It is rounding where the batches are of one size: those of
other sizes are computed by other kernels."""

COMPARED = (0, 1, 0, 0)
"""The rows of the batch that :func:`compare` runs."""

Values = Mapping[str, Sequence[NDArray[np.float32]]]
"""The values of each row of a batch, by layer name."""

_ONE_SEED_AT_A_TIME = threading.RLock()  # the generators are global


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results of running a few rows in several batches, by name of the layer."""

    random: frozenset[str]
    by_batch: frozenset[str]
    unrepeatable: frozenset[str] = frozenset()
    """Of random layers, those that differ after the same seed of torch, numpy and Python."""


@dataclass(slots=True)
class Observed:
    """Layers of one network that comparisons found to be random or batch-dependent, by address."""

    checked: set[str] = field(default_factory=set)
    random: set[str] = field(default_factory=set)
    by_batch: set[str] = field(default_factory=set)
    unrepeatable: set[str] = field(default_factory=set)
    """Of random layers, those whose features differ even after the same seed."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Of each layer, the number of rows of the largest batch that was compared with its rows alone."""

    def to_plain(self) -> dict[str, Any]:
        return {
            entry.name: self.sizes if entry.name == "sizes" else sorted(getattr(self, entry.name))
            for entry in fields(self)
        }

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> Observed:
        stored: dict[str, Any] = {
            name: dict(values) if name == "sizes" else set(values) for name, values in data.items()
        }
        return cls(**stored)

    def note_size(self, layers: Sequence[Layer], rows: int, by_batch: Collection[str]) -> None:
        """Add the result of :func:`compare_ends` for a batch of some rows."""
        self.sizes |= {layer.address: max(rows, self.sizes.get(layer.address, 0)) for layer in layers}
        self.by_batch |= {layer.address for layer in layers if layer.name in by_batch}

    def note(self, layers: Sequence[Layer], comparison: Comparison) -> None:
        """Add the result of a comparison of some layers."""
        self.checked |= {layer.address for layer in layers}
        self.random |= {layer.address for layer in layers if layer.name in comparison.random}
        self.by_batch |= {layer.address for layer in layers if layer.name in comparison.by_batch}
        self.unrepeatable |= {layer.address for layer in layers if layer.name in comparison.unrepeatable}


@dataclass(frozen=True, slots=True)
class Variation:
    """The dependence of some layers' features on random numbers, or on other samples."""

    random: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Layer name → paths of the modules that draw the random numbers; empty where a trace does not show them."""
    by_batch: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Layer name → paths of the modules that compute batch statistics; empty where a trace does not show them."""
    unrepeatable: frozenset[str] = frozenset()
    """Names of the random layers whose features no seed repeats."""
    is_measured: bool = False
    """Whether it was measured that a seed repeats the features of the other random layers."""

    @classmethod
    def of(cls, layers: Sequence[Layer], trace: Trace | None, observed: Observed) -> Variation:
        """Collect the results for some layers. trace: one that reaches them; None: nothing was traced yet."""
        drawn = {layer: trace.draws_before(layer) if trace else () for layer in layers}
        mixed = {layer: trace.mixes_before(layer) if trace else () for layer in layers}
        random = {layer: paths for layer, paths in drawn.items() if paths or layer.address in observed.random}
        return cls(
            {layer.name: paths for layer, paths in random.items()},
            {layer.name: paths for layer, paths in mixed.items() if paths or layer.address in observed.by_batch},
            frozenset(layer.name for layer in random if layer.address in observed.unrepeatable),
            all(layer.address in observed.checked for layer in random),
        )

    def __bool__(self) -> bool:
        return bool(self.random or self.by_batch)

    def notices(self, model: str) -> Iterator[str]:
        """Yield warnings for users."""
        if self.by_batch:
            yield (
                f"{model}: features at {_listed(self.by_batch)} depend on the other samples of a batch"
                f"{_by(self.by_batch, 'statistics of the batch in')}. Each sample runs in a separate batch"
            )
        once = {name: paths for name, paths in self.random.items() if name in self.unrepeatable}
        seeded = {name: paths for name, paths in self.random.items() if name not in once}
        if once:
            yield (
                f"{model}: features at {_listed(once)} are random{_by(once, 'random numbers drawn in')}, and differ in "
                "every run: the network keeps a private generator, which torch.manual_seed does not set. Each "
                "sample runs in a separate batch"
            )
        if seeded:
            repeats = (
                ", which repeats them" if self.is_measured else ". It is not known yet whether this seed repeats them"
            )
            yield (
                f"{model}: features at {_listed(seeded)} are random{_by(seeded, 'random numbers drawn in')}. "
                f"Each sample runs in a separate batch, after torch.manual_seed({SEED}){repeats}"
            )

    def to_plain(self) -> dict[str, Any]:
        """Serialize for provenance; empty where features depend on nothing but the sample."""
        return {
            "batch_dependent": {name: list(paths) for name, paths in self.by_batch.items()},
            "random": {name: list(paths) for name, paths in self.random.items()},
            "seed": SEED if self.random.keys() - self.unrepeatable else None,
        }


def compare(
    read: Callable[[Batch], Values], batches: Callable[[Sequence[int]], Batch], known_random: Collection[str] = ()
) -> Comparison:
    """Run two rows alone, and together.

    In the batch the first row occurs again, twice, after the second. Then networks that reorder rows are detected, and
    an extreme value over the batch is in another row for at least one of them.

    Args:
        read: runs a batch, and returns the values of its rows.
        batches: makes a batch from the numbers of its rows, 0 or 1.
        known_random: names of layers that are known to be random.
    Returns: the names of the layers that are random, and of those that depend on the batch. Random layers are not
        examined for a dependence on the batch.
    """

    def rows(*numbers: int, seed: int = SEED) -> Values:
        with seeded(seed=seed):
            return read(batches(numbers))

    order = COMPARED
    reseeded, alone = rows(0, seed=SEED + 1), {0: rows(0), 1: rows(1)}
    random = {name for name in reseeded if _differ(reseeded[name][0], alone[0][name][0]) > RANDOM_TOLERANCE}
    repeated = rows(0) if random or known_random else alone[0]
    unrepeatable = {name for name in repeated if _differ(repeated[name][0], alone[0][name][0]) > RANDOM_TOLERANCE}
    together = rows(*order)
    changes = {
        name: max(_differ(alone[row][name][0], values[at]) for at, row in enumerate(order))
        for name, values in together.items()
        if name not in random and name not in known_random
    }
    changed = _changed(rows, together, changes, tuple(enumerate(order)))
    return Comparison(frozenset(random | unrepeatable), frozenset(changed - unrepeatable), frozenset(unrepeatable))


def compare_ends(
    read: Callable[[Batch], Values], batches: Callable[[Sequence[int]], Batch], together: Values, rows: int
) -> frozenset[str]:
    """Compare the first and the last row of a batch that was run with the same rows alone.

    A network may mix rows in large batches only, where :func:`compare` shows nothing.

    Args:
        read, batches: as of :func:`compare`.
        together: the values of the batch.
        rows: the number of its rows.
    Returns: the names of the layers that depend on the batch.
    """
    ends = (0, rows - 1)
    alone = {row: read(batches((row,))) for row in ends}
    changes = {
        name: max(_differ(alone[row][name][0], values[row]) for row in ends) for name, values in together.items()
    }
    return frozenset(
        _changed(lambda *numbers: read(batches(numbers)), together, changes, tuple((row, row) for row in ends))
    )


def _changed(
    run: Callable[..., Values], together: Values, changes: Mapping[str, float], places: Sequence[tuple[int, int]]
) -> set[str]:
    """Return the names of the layers that a batch changes by more than rounding.

    Args:
        run: runs a batch of some rows, by their numbers.
        together: the values of the batch.
        changes: layer name → largest difference of a row from the same row alone.
        places: (place, row) of rows of the batch.
    """
    changed = {name for name, change in changes.items() if change > BATCH_TOLERANCE}
    if unsure := {name for name, change in changes.items() if ROUNDING < change <= BATCH_TOLERANCE}:
        size = len(next(iter(together.values())))
        alike = {row: run(*[row] * size) for row in {row for _, row in places}}
        changed |= {
            name
            for name in unsure
            if any(_differ(alike[row][name][at], together[name][at]) > ROUNDING for at, row in places)
        }
    return changed


def example_batches(example: Batch) -> Callable[[Sequence[int]], Batch]:
    """Return a function that makes batches of two rows of an example, with different values in each row."""
    generator = torch.Generator().manual_seed(SEED)
    inputs = {name: _two_rows(name, tensor, generator) for name, tensor in example.inputs.items()}
    return partial(_rows, replace(example, inputs=inputs))


@contextlib.contextmanager
def seeded(device: torch.device | None = None, seed: int = SEED) -> Iterator[None]:
    """Draw the same random numbers of torch, numpy and Python each time, and restore their generators afterwards."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with _ONE_SEED_AT_A_TIME, torch.random.fork_rng(devices=devices):
        states = random.getstate(), np.random.get_state()
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


_LOUDER = 4.0
"""Factor by which the values of the added row are larger."""


def _two_rows(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    row = tensor[:1]
    if tensor.is_floating_point():
        rows = torch.randn((2, *tensor.shape[1:]), generator=generator)
        rows[1] *= _LOUDER  # so that an extreme over the batch is in the row that is added
        return rows.to(tensor.dtype)
    if "mask" in name or tensor.ndim < 2:
        return torch.cat([row, row])
    reversed_row = row.flip(-1)  # of the same tokens
    return torch.cat(
        [row, reversed_row if not torch.equal(reversed_row, row) else torch.where(row == 0, 1, 0).to(row.dtype)]
    )


def _rows(batch: Batch, numbers: Sequence[int]) -> Batch:
    at = torch.tensor(numbers)

    def chosen(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[at]

    return replace(
        batch,
        inputs={name: tensor[at] for name, tensor in batch.inputs.items()},
        valid=chosen(batch.valid),
        spans=chosen(batch.spans),
        offsets=chosen(batch.offsets),
        image_mask=chosen(batch.image_mask),
        times_s=None if batch.times_s is None else tuple(batch.times_s[number] for number in numbers),
    )


def _differ(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the distance of two vectors, relative to the longer one's length; 0 for vectors without values."""
    if first.shape != second.shape:
        return math.inf
    first, second = first.astype(np.float64), second.astype(np.float64)
    if not np.isfinite(first).all():
        return 0.0  # reported as an error elsewhere
    if not np.isfinite(second).all():
        return math.inf
    longer = max(np.linalg.norm(first), np.linalg.norm(second))
    return float(np.linalg.norm(first - second) / longer) if longer else 0.0


def _listed(names: Mapping[str, Any], limit: int = 4) -> str:
    shortened = list(names)[:limit]
    return ", ".join(shortened) + (f" and {len(names) - limit} more layers" if len(names) > limit else "")


def _by(by_layer: Mapping[str, tuple[str, ...]], phrase: str) -> str:
    paths = {path or "the network's own forward": None for modules in by_layer.values() for path in modules}
    return f" ({phrase} {_listed(paths)})".replace("more layers", "more modules") if paths else ""
