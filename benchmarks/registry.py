"""Measure look-ups with 100,000 installed models: ``python -m benchmarks.registry [MODELS]``.

A synthetic catalogue is installed into a temporary folder, compiled once, and queried in this process and from a shell.
Prints milliseconds. Exits with 1 if a median misses its target.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.catalogue import NAMESPACE, write_plugin
from benchmarks.measure import Measured, measured, print_table, process

from layerzoo.errors import UnknownModelError
from layerzoo.registry import Registry

MODELS = 100_000
LOOKUP_S, SEARCH_S = 0.005, 0.050
_SEED = 20
_PAGE = 100
_SEARCHES: tuple[dict[str, Any], ...] = (
    {"modality": "vision"},
    {"plugin": NAMESPACE, "license": "MIT"},
    {"max_params": 10_000_000},
    {"modality": "text", "license": "cc-by-4.0", "max_params": 100_000_000},
    {"text": "whale"},
    {"text": "trained on"},
    {"text": "vit shel", "modality": "vision", "max_params": 50_000_000},
    {"text": "group 1234"},
    {"text": "nothing-like-it"},
    {"text": "small vision transformer"},
    {"text": "whale quantum"},
    {"text": "whale quantum shel"},
)


def main() -> None:
    models = int(sys.argv[1]) if len(sys.argv) > 1 else MODELS
    with tempfile.TemporaryDirectory(prefix="layerzoo-benchmark-") as name:
        folder = Path(name)
        _isolate(folder)
        write_plugin(folder / "site", models)
        rows = [*_opening(), *_lookups(Registry()), *_searches(Registry()), *_overviews(Registry()), *_processes()]
    print_table(rows)
    sys.exit(1 if any(row.is_missed for row in rows) else 0)


def _isolate(folder: Path) -> None:
    """Hide the user's files from this process and its children."""
    os.environ |= {
        "LAYERZOO_CACHE": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONPATH": str(folder / "site"),
    }
    sys.path.insert(0, str(folder / "site"))
    (folder / "home").mkdir()
    os.chdir(folder / "home")


def _opening() -> Iterator[Measured]:
    yield measured("compile the index", [Registry])
    yield measured("open the registry", [Registry] * 20)


def _lookups(zoo: Registry) -> Iterator[Measured]:
    draw = random.Random(_SEED)
    ids = draw.sample(zoo.ids(plugin=NAMESPACE), 1000)
    yield measured("a model by id", [partial(zoo.model, model) for model in ids], LOOKUP_S)
    misspelt = [f"{model[:-8]}x{model[-7:]}" for model in ids[:20]]
    yield measured("nearest names of an unknown id", [partial(_look_up_unknown, zoo, model) for model in misspelt])
    prefixes = [model[: draw.randrange(len(model))] for model in ids[:100]]
    yield measured("names with a prefix", [partial(zoo.names, prefix, limit=_PAGE) for prefix in prefixes])


def _look_up_unknown(zoo: Registry, model: str) -> None:
    try:
        zoo.model(model)
    except UnknownModelError:
        return
    raise AssertionError(f"there is a model {model}")


def _searches(zoo: Registry) -> Iterator[Measured]:
    for filters in _SEARCHES:

        def search(filters: dict[str, Any] = filters) -> None:
            zoo.models(**filters, limit=_PAGE)
            zoo.count(**filters)

        query = " ".join(f"{name}={value!r}" for name, value in filters.items())
        yield measured(f"first {_PAGE} and count of {query}", [search] * 10, SEARCH_S)


def _overviews(zoo: Registry) -> Iterator[Measured]:
    yield measured("all ids", [zoo.ids] * 5)
    yield measured("all plugins", [zoo.plugins] * 5)
    yield measured("all problems", [zoo.problems] * 5)


def _processes() -> Iterator[Measured]:
    program = [sys.executable, "-c", "from layerzoo.cli import main; main()"]
    yield measured("zoo list --format ids", [process([*program, "list", "--format", "ids"])] * 5)
    yield measured("zoo search whale --format ids", [process([*program, "search", "whale", "--format", "ids"])] * 5)


if __name__ == "__main__":
    main()
