"""Measure the start-up time of the command line: ``python -m benchmarks.startup``.

Whole processes with a warm index and all installed plugins take turns with a bare interpreter, with
``import click, sqlite3`` and with ``timm.list_models()``, so that load on the machine slows all of them. Prints medians
in milliseconds, and each verb's ratio to these. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Measured, measured, own_folder, print_table, process

MOST_OF_IMPORTS = 1.6
"""The target ratio of each verb to ``import click, sqlite3``: most of the time goes to the two libraries."""
FASTER_THAN_TIMM = 40
"""The target ratio of ``timm.list_models()`` to each verb."""
COLD_S = 3.0
"""The target of the first ``zoo list`` after an installation, which indexes all installed plugins."""
_ROUNDS = 20
_TIMM_ROUNDS = 3
_COLD_ROUNDS = 3
_BARE, _IMPORTS, _TIMM = "python -c pass", "import click, sqlite3", "timm.list_models()"
_VERBS = (
    "list --format ids",
    "list --modality vision --max-params 30M --sort -params --format ids",
    "search speech --format ids",
    "show starter/minilm-l6 --format json",
    "layers starter/minilm-l6 --format ids",
    "completion bash",
)


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs; a checkout compiles at first use
    zoo = str(Path(sys.executable).with_name("zoo"))
    with own_folder() as folder:
        cold = measured("zoo list, cold index", [_cold(zoo, folder / "cache")] * _COLD_ROUNDS, COLD_S)
        rows = _in_turns(zoo)
    print_table([*rows.values(), cold])
    are_reached = [_is_reached(verb, rows) for verb in _VERBS]
    sys.exit(0 if all(are_reached) and not cold.is_missed else 1)


def _cold(zoo: str, cache: Path) -> Callable[[], None]:
    listing = process([zoo, "list", "--format", "ids"], stderr=subprocess.DEVNULL)

    def run() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        listing()

    return run


def _in_turns(zoo: str) -> dict[str, Measured]:
    calls: dict[str, Callable[[], None]] = {
        _BARE: process([sys.executable, "-c", "pass"]),
        _IMPORTS: process([sys.executable, "-c", _IMPORTS]),
        **{verb: process([zoo, *verb.split()], stderr=subprocess.DEVNULL) for verb in _VERBS},
    }
    for call in calls.values():
        call()  # warms the index and compiles bytecode
    calls[_TIMM] = process([sys.executable, "-c", "import timm; timm.list_models()"])
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_ROUNDS):
        for name, call in calls.items():
            if name != _TIMM or turn % (_ROUNDS // _TIMM_ROUNDS) == 1:
                seconds[name] += measured(name, [call]).seconds
    return {name: Measured(f"zoo {name}" if name in _VERBS else name, tuple(s)) for name, s in seconds.items()}


def _is_reached(verb: str, rows: dict[str, Measured]) -> bool:
    """Print the ratios of a verb, and return whether both reach their targets."""
    to_imports = rows[verb].median_s / rows[_IMPORTS].median_s
    to_timm = rows[_TIMM].median_s / rows[verb].median_s
    is_reached = to_imports <= MOST_OF_IMPORTS and to_timm >= FASTER_THAN_TIMM
    print(
        f"zoo {verb}: {to_imports:.2f} × import click, sqlite3 (target: ≤ {MOST_OF_IMPORTS}); "
        f"{to_timm:.0f} times faster than timm (target: ≥ {FASTER_THAN_TIMM}){'' if is_reached else '  MISSED'}"
    )
    return is_reached


if __name__ == "__main__":
    main()
