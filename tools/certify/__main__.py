"""``python -m tools.certify LIBRARY``: runs what was not run yet, then writes docs/certified/LIBRARY.jsonl and .md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

from tools.certify.findings import Findings
from tools.certify.table import page as timm_page
from tools.certify.transformers_table import page as transformers_page

from layerzoo.jobs.ledger import Ledger, Result
from layerzoo.jobs.workers import Limits, Work, results

_ROOT = Path(__file__).parents[2]
_PAGES = _ROOT / "docs" / "certified"
_LEDGERS = _ROOT / ".certify"
_WRITERS = {"timm": timm_page, "transformers": transformers_page}
"""By library, what writes its page."""
_MEMORY_BYTES = 10 << 30
"""A network of 60 million parameters takes less than 3 GB, with its copies and what it gives at its layers."""


def main() -> None:
    """Run, keep, write."""
    asked = _arguments()
    library = import_module(f"tools.certify.{asked.library}")
    ledger = Ledger(_LEDGERS / f"{asked.library}.jsonl", library.versions())
    rows, written = _PAGES / f"{asked.library}.jsonl", _PAGES / f"{asked.library}.md"
    if not asked.table:
        names = [name for name in library.architectures() if any(fnmatchcase(name, each) for each in asked.only)]
        _run(library.certify, names if asked.again else ledger.open_jobs(names), ledger, asked)
    if found := ledger.results():
        _merged(library, found, rows).write(rows)
    written.write_text(_WRITERS[asked.library](Findings.read(rows)), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.certify", description=__doc__)
    parser.add_argument("library", choices=list(_WRITERS))
    parser.add_argument("--only", nargs="+", metavar="PATTERN", default=["*"], help="networks, as in 'vit_tiny*'")
    parser.add_argument("--again", action="store_true", help="run also what has a result")
    parser.add_argument("--jobs", type=int, metavar="N", default=os.cpu_count(), help="processes; else one a core")
    parser.add_argument("--seconds", type=float, metavar="N", default=300, help="what one network may take")
    parser.add_argument("--table", action="store_true", help="run nothing; write the page from the results there are")
    return parser.parse_args()


def _run(work: Work, names: Sequence[str], ledger: Ledger, asked: argparse.Namespace) -> None:
    """Every result is kept the moment it is there."""
    with tempfile.TemporaryDirectory(prefix="certify-") as cache:
        os.environ |= {"LAYERZOO_CACHE": cache, "OMP_NUM_THREADS": "1"}  # for the processes: traces are made anew
        limits = Limits(asked.seconds, _MEMORY_BYTES)
        for count, (name, result) in enumerate(results(names, work, limits, processes=asked.jobs), start=1):
            ledger.add(name, result)
            sys.stderr.write(f"{count}/{len(names)} {name} {result.get('failed', '')}\n")


def _merged(library: Any, found: Mapping[str, Result], kept: Path) -> Findings:
    """What was found on this machine, over what is kept of the same versions, for every architecture there is."""
    versions: dict[str, str] = library.versions()
    earlier = Findings.read(kept) if kept.exists() else None
    known = {row["name"]: row for row in earlier.rows} if earlier and earlier.versions == versions else {}
    rows = (
        {"name": name, **library.known(name), **(found.get(name) or known.get(name) or {})}
        for name in library.architectures()
    )
    return Findings.of(versions, library.MAX_PARAMS, rows)


if __name__ == "__main__":
    main()
