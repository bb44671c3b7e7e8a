"""``python -m tools.torture``: run the attacks, then write docs/torture.md.

Exits with 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.torture.outcome import Family

_DOCS = Path(__file__).parents[2] / "docs"
_ROWS = _DOCS / "torture.jsonl"
FAMILIES = ("repositories", "folders", "media", "features", "kills")
"""The modules of this package with a family of attacks: a function ``attacks``."""


def main() -> int:
    """Run every family, report each outcome on stderr, write the page.

    Each family has a separate process: some fork, which is safe only in a process in which torch has not computed.
    """
    asked = _arguments()
    if len(asked.only) > 1:
        same = ["--seed", str(asked.seed), "--count", str(asked.count)]
        commands = [[sys.executable, "-m", "tools.torture", "--only", name, *same] for name in asked.only]
        codes = [subprocess.run(command, check=False).returncode for command in commands]
        return int(any(codes))
    (name,) = asked.only
    _run(name, asked.seed, asked.count)
    return int(any(one["held"] < one["tried"] for one in _read(_ROWS)[name]["outcomes"]))


def _run(name: str, seed: int, count: int) -> None:
    """Run one family, and write its results."""
    started = time.monotonic()
    family: Family = importlib.import_module(f"tools.torture.{name}").attacks
    outcomes = []
    with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as scratch:
        for outcome in family(random.Random(f"{seed} {name}"), Path(scratch), count):
            sys.stderr.write(f"{name}: {outcome.attack}: held {outcome.held} of {outcome.tried}\n")
            outcomes.append(outcome)
    results = _read(_ROWS)
    results[name] = {"seconds": round(time.monotonic() - started), "outcomes": [asdict(one) for one in outcomes]}
    _write(_ROWS, results, seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.torture", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="keep the others' results")
    parser.add_argument("--seed", type=int, default=0, help="the seed of every random number")
    parser.add_argument("--count", type=int, default=40, help="how many attacks of each kind to run")
    return parser.parse_args()


def _read(rows: Path) -> dict[str, Any]:
    """Return the results of earlier runs, by family."""
    if not rows.is_file():
        return {}
    lines = (json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines())
    return {line.pop("family"): line for line in lines}


def _write(rows: Path, results: dict[str, Any], seed: int) -> None:
    """Write the results, and the page that shows them."""
    ordered = {name: results[name] for name in FAMILIES if name in results}
    rows.write_text(
        "".join(json.dumps({"family": name, **result}) + "\n" for name, result in ordered.items()), encoding="utf-8"
    )
    (_DOCS / "torture.md").write_text(page(ordered, seed), encoding="utf-8")


def page(results: dict[str, Any], seed: int) -> str:
    """Return the page of the results, as Markdown."""
    lines = [
        "# Attacks, and what came of them",
        "",
        f"Written by `make torture` (seed {seed}). Each row is a kind of attack, how many were run, and the",
        "promise that must hold after each. `make test` runs a small sample of each kind.",
    ]
    for name, result in results.items():
        lines += ["", f"## {name.capitalize()}", "", "| attack | tried | held | promise |", "|---|---|---|---|"]
        outcomes = result["outcomes"]
        lines += [f"| {one['attack']} | {one['tried']} | {one['held']} | {one['promise']} |" for one in outcomes]
        lines += [f"\n- {failure}" for one in outcomes for failure in one["failures"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
