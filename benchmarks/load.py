"""Measure the time and memory of loading a part of a network: ``python -m benchmarks.load [ROUNDS]``.

ViT-L/16 with random weights, from a safetensors file in the system's file cache, is loaded up to block.5, as a whole,
and by timm. Each load runs in a fresh process, in turns. The clock starts after the imports; their time is printed in a
separate column. Memory is the peak of resident memory, and its growth since the imports. layerzoo loads with a cached
trace, as from the second load on, and without one. It hashes the tensors it reads for the provenance; timm does not.

The medians are printed. Exits with 1 if loading the part takes more of timm's time than the targets below, or more than
a third of the memory of the whole. Its share of the time of the whole is printed without a target: both build the same
network, so a faster reading of the file raises it.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measure import forget_peak, fresh_process, own_folder, peak_bytes, resident_bytes
from benchmarks.turns import verdict
from rich.console import Console
from rich.table import Table

_NETWORK, _PART, _WHOLE = "vit_large_patch16_224", "block.5", "head"
_ROUNDS = 5
_SHARE_OF_TIMM = {"traced": 0.12, "untraced": 0.2}
"""Largest time of the part, as a share of the time in which timm loads the whole network."""
_SHARE_OF_MEMORY = 1 / 3
"""Largest memory of the part, as a share of that of the whole. It holds 6 of 24 blocks."""
_SEED = 5


@dataclass(frozen=True, slots=True)
class Loading:
    """The cost of one load in a separate process."""

    import_s: float
    load_s: float
    peak_mb: float
    growth_mb: float
    """The peak minus the resident memory after the imports."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    with own_folder() as folder:
        loadings = _in_turns(folder, rounds)
    _print_table(loadings)
    verdicts = [verdict for trace in ("traced", "untraced") for verdict in _shares(loadings, trace)]
    for message, _ in verdicts:
        print(message)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _in_turns(folder: Path, rounds: int) -> dict[str, list[Loading]]:
    """Return the measured loads by name. The first round warms the caches and is not counted."""
    weights = folder / "vit.safetensors"
    _in_fresh_process(_write_weights, weights)
    loads: dict[str, Callable[[], Any]] = {
        "timm": partial(_by_timm, weights),
        **{
            f"layerzoo {layer}, {trace}": partial(_by_layerzoo, weights, layer)
            for trace in ("traced", "untraced")
            for layer in (_PART, _WHOLE)
        },
    }
    loadings: dict[str, list[Loading]] = {name: [] for name in loads}
    for turn in range(rounds + 1):
        for name, load in loads.items():
            if name.endswith("untraced"):
                shutil.rmtree(folder / "cache" / "traces", ignore_errors=True)
            loading = _in_fresh_process(_loading, load)
            if turn > 0:
                loadings[name].append(loading)
    return loadings


def _in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function in a fresh process."""
    with fresh_process() as process:
        return process.submit(function, *arguments).result()


def _write_weights(path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(_SEED)
    save_file(timm.create_model(_NETWORK).state_dict(), path)


def _loading(load: Callable[[], Any]) -> Loading:
    started = perf_counter()
    import safetensors.torch  # noqa: F401

    import layerzoo.runtime  # noqa: F401
    import layerzoo_timm  # noqa: F401 - imports timm

    imported = perf_counter()
    resident = resident_bytes()
    forget_peak()
    loaded = load()
    done = perf_counter()
    peak = peak_bytes()
    del loaded  # kept alive until the peak is measured
    return Loading(imported - started, done - imported, peak / 1e6, (peak - resident) / 1e6)


def _by_layerzoo(weights: Path, layer: str) -> Any:
    import layerzoo

    return layerzoo.load(f"timm/{_NETWORK}", layer=layer, weights=weights)


def _by_timm(weights: Path) -> Any:
    import timm
    from safetensors.torch import load_file

    network = timm.create_model(_NETWORK).eval()
    network.load_state_dict(load_file(weights))
    return network


def _print_table(loadings_of: dict[str, list[Loading]]) -> None:
    table = Table(box=None)
    table.add_column("load", no_wrap=True)
    for heading in ("seconds", "best", "worst", "peak, MB", "since the imports", "imports, seconds"):
        table.add_column(heading, justify="right")
    for name, loadings in loadings_of.items():
        times = [loading.load_s for loading in loadings]
        shown = (statistics.median(times), min(times), max(times))
        memory = (_median(loadings, "peak_mb"), _median(loadings, "growth_mb"))
        imports = _median(loadings, "import_s")
        table.add_row(name, *(f"{time:.2f}" for time in shown), *(f"{size:,.0f}" for size in memory), f"{imports:.1f}")
    Console(highlight=False, width=140).print(table)


def _shares(loadings: dict[str, list[Loading]], trace: str) -> list[tuple[str, bool]]:
    """Compare the part with the whole, and with timm. Returns: messages, and whether the target is reached."""
    part, whole = loadings[f"layerzoo {_PART}, {trace}"], loadings[f"layerzoo {_WHOLE}, {trace}"]
    of_timm, of_memory = _ratio(part, loadings["timm"], "load_s"), _ratio(part, whole, "growth_mb")
    return [
        verdict(
            f"{_PART} takes {of_timm:.1%} of the time of timm's whole load, {trace}",
            f"at most {_SHARE_OF_TIMM[trace]:.0%}",
            of_timm <= _SHARE_OF_TIMM[trace],
        ),
        (f"{_PART} takes {_ratio(part, whole, 'load_s'):.0%} of the time of the whole, {trace}", True),
        verdict(
            f"{_PART} takes {of_memory:.0%} of the memory since the imports of the whole, {trace}",
            f"at most {_SHARE_OF_MEMORY:.0%}",
            of_memory <= _SHARE_OF_MEMORY,
        ),
    ]


def _ratio(loadings: Sequence[Loading], others: Sequence[Loading], field: str) -> float:
    """Return the median of the ratios within each round: load on the machine slows all loads of a round."""
    pairs = zip(loadings, others, strict=True)
    return float(statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs))


def _median(loadings: Sequence[Loading], field: str) -> float:
    return float(statistics.median(getattr(loading, field) for loading in loadings))


if __name__ == "__main__":
    main()
