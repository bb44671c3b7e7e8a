"""Measure the start-up time of the command line: ``python -m benchmarks.startup``.

Whole processes with a warm index and all installed plugins take turns with a bare interpreter and with
``timm.list_models()``. Prints milliseconds. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Measured, measured, print_table, process

LIST_S = 0.12
"""On two quiet cores."""
FASTER = 30
"""The target ratio of ``timm.list_models()`` to ``zoo list``."""
_ROUNDS = 20
_TIMM_ROUNDS = 3
_VERBS = (
    "list --format ids",
    "list --format json",
    "search speech --format ids",
    "show starter/minilm-l6 --format json",
    "layers starter/minilm-l6 --format ids",
    "plugin list --format json",
    "completion bash",
)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="layerzoo-benchmark-") as cache:
        os.environ["LAYERZOO_CACHE"] = cache
        os.chdir(cache)  # without the user's files
        rows = _in_turns()
    print_table(rows.values())
    ratio = rows["timm"].median_s / rows[_VERBS[0]].median_s
    print(f"zoo {_VERBS[0]}: {ratio:.0f} times faster than timm.list_models() (target: {FASTER})")
    sys.exit(1 if ratio < FASTER or any(row.is_missed for row in rows.values()) else 0)


def _in_turns() -> dict[str, Measured]:
    """Measure all commands in turns, so that load on the machine slows all of them."""
    zoo = str(Path(sys.executable).with_name("zoo"))
    calls: dict[str, Callable[[], None]] = {verb: process([zoo, *verb.split()]) for verb in _VERBS}
    calls["python"] = process([sys.executable, "-c", "pass"])
    for call in calls.values():
        call()  # warms the index and compiles bytecode
    calls["timm"] = process([sys.executable, "-c", "import timm; timm.list_models()"])
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_ROUNDS):
        for name, call in calls.items():
            if name != "timm" or turn % (_ROUNDS // _TIMM_ROUNDS) == 1:
                seconds[name] += measured(name, [call]).seconds
    return {name: Measured(_label(name), tuple(times), _target(name)) for name, times in seconds.items()}


def _label(name: str) -> str:
    return {"python": "python -c pass", "timm": "timm.list_models()"}.get(name, f"zoo {name}")


def _target(name: str) -> float | None:
    return LIST_S if name == _VERBS[0] else None


if __name__ == "__main__":
    main()
