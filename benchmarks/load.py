"""What loading a part of a network costs: ``python -m benchmarks.load [ROUNDS]``.

ViT-L/16 with random weights, in a safetensors file on the disk (and in the system's cache of it), is loaded up to
block.5, to its end, and by timm alone: each time in a fresh process, in turns. The clock starts when the libraries are
imported; what that took is shown beside. Memory is what the process has resident at its peak, and how much of it came
after the imports. layerzoo loads with a trace of the network in its cache, as from the second load on, and without.
What it reads is hashed for the provenance, which timm does not do.

Shown are medians. Exits with 1 where the part takes more than a third of what the whole takes.
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
from rich.console import Console
from rich.table import Table

_NETWORK, _PART, _WHOLE = "vit_large_patch16_224", "block.5", "head"
_ROUNDS = 5
_SHARE = 1 / 3
_SEED = 5


@dataclass(frozen=True, slots=True)
class Loading:
    """What one load took, in a process of its own."""

    import_s: float
    load_s: float
    peak_mb: float
    growth_mb: float
    """The peak without what was resident after the imports."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    with own_folder() as folder:
        found = _in_turns(folder, rounds)
    _print_table(found)
    verdicts = [verdict for trace in ("traced", "untraced") for verdict in _shares(found, trace)]
    for told, _ in verdicts:
        print(told)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _in_turns(folder: Path, rounds: int) -> dict[str, list[Loading]]:
    """By what was loaded, and how. The first round warms the caches, and is not counted."""
    weights = folder / "vit.safetensors"
    _alone(_write_weights, weights)
    loads: dict[str, Callable[[], Any]] = {
        "timm": partial(_by_timm, weights),
        **{
            f"layerzoo {layer}, {trace}": partial(_by_layerzoo, weights, layer)
            for trace in ("traced", "untraced")
            for layer in (_PART, _WHOLE)
        },
    }
    found: dict[str, list[Loading]] = {name: [] for name in loads}
    for turn in range(rounds + 1):
        for name, load in loads.items():
            if name.endswith("untraced"):
                shutil.rmtree(folder / "cache" / "traces", ignore_errors=True)
            loading = _alone(_loading, load)
            if turn > 0:
                found[name].append(loading)
    return found


def _alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """What some work gives in a fresh process."""
    with fresh_process() as process:
        return process.submit(work, *arguments).result()


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
    import layerzoo_timm  # noqa: F401 - and with it timm

    imported = perf_counter()
    resident = resident_bytes()
    forget_peak()
    loaded = load()
    done = perf_counter()
    peak = peak_bytes()
    del loaded  # until here it is needed, as by any user
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


def _print_table(found: dict[str, list[Loading]]) -> None:
    table = Table(box=None)
    table.add_column("load", no_wrap=True)
    for heading in ("seconds", "best", "worst", "peak, MB", "since the imports", "imports, seconds"):
        table.add_column(heading, justify="right")
    for name, loadings in found.items():
        times = [loading.load_s for loading in loadings]
        shown = (statistics.median(times), min(times), max(times))
        memory = (_median(loadings, "peak_mb"), _median(loadings, "growth_mb"))
        imports = _median(loadings, "import_s")
        table.add_row(name, *(f"{time:.2f}" for time in shown), *(f"{size:,.0f}" for size in memory), f"{imports:.1f}")
    Console(highlight=False, width=140).print(table)


def _shares(found: dict[str, list[Loading]], trace: str) -> list[tuple[str, bool]]:
    """What the part takes of the whole, in words, and whether it is little enough."""
    part, whole = found[f"layerzoo {_PART}, {trace}"], found[f"layerzoo {_WHOLE}, {trace}"]
    told = []
    for what, field in (("of the time", "load_s"), ("of the memory since the imports", "growth_mb")):
        share = _median(part, field) / _median(whole, field)
        reached = share <= _SHARE
        words = f"{_PART} takes {share:.0%} {what} of the whole, {trace} (target: at most {_SHARE:.0%})"
        told.append((words if reached else f"{words}  MISSED", reached))
    return told


def _median(loadings: Sequence[Loading], field: str) -> float:
    return float(statistics.median(getattr(loading, field) for loading in loadings))


if __name__ == "__main__":
    main()
