"""``python -m tools.certify LIBRARY``: run networks without a result, write docs/certified/LIBRARY.jsonl and .md."""

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

from tools.certify.certificates import Certificates
from tools.certify.table import page as timm_page
from tools.certify.torchaudio_table import page as torchaudio_page
from tools.certify.torchvision_table import page as torchvision_page
from tools.certify.transformers_table import page as transformers_page

from layerzoo.jobs.ledger import Ledger, Result
from layerzoo.jobs.workers import Work, WorkerLimits, results

_ROOT = Path(__file__).parents[2]
_PAGES = _ROOT / "docs" / "certified"
_LEDGERS = _ROOT / ".certify"
_WRITERS = {
    "timm": timm_page,
    "torchaudio": torchaudio_page,
    "torchvision": torchvision_page,
    "transformers": transformers_page,
}
"""By library, the function that generates its page."""
_MEMORY_GIB = 10
"""A network of 60 million parameters takes less than 3 GB, including its copies and activations."""
_FORMAT = "2"
"""Increase when the keys or the wording of results change. Ledgers of other formats are ignored."""


def main() -> None:
    """Run networks, store their results, and write the page."""
    arguments = _arguments()
    library = import_module(f"tools.certify.{arguments.library}")
    ledger = Ledger(_LEDGERS / f"{arguments.library}.jsonl", {**library.versions(), "format": _FORMAT})
    rows, page = _PAGES / f"{arguments.library}.jsonl", _PAGES / f"{arguments.library}.md"
    if not arguments.table:
        patterns = arguments.only
        names = [name for name in library.architectures() if any(fnmatchcase(name, pattern) for pattern in patterns)]
        _run(library.certify, names if arguments.again else ledger.open_jobs(names), ledger, arguments)
    if results_here := ledger.results():
        _merged(library, results_here, rows).write(rows)
    page.write_text(_WRITERS[arguments.library](Certificates.read(rows)), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.certify", description=__doc__)
    parser.add_argument("library", choices=list(_WRITERS))
    parser.add_argument("--only", nargs="+", metavar="PATTERN", default=["*"], help="networks, as in 'vit_tiny*'")
    parser.add_argument("--again", action="store_true", help="also run networks that have a result")
    parser.add_argument(
        "--jobs", type=int, metavar="N", default=os.cpu_count(), help="processes (default: one per core)"
    )
    parser.add_argument("--seconds", type=float, metavar="N", default=300, help="time limit per network")
    parser.add_argument("--memory-gib", type=int, metavar="N", default=_MEMORY_GIB, help="memory limit per process")
    parser.add_argument("--table", action="store_true", help="run nothing; write the page from existing results")
    return parser.parse_args()


def _run(work: Work, names: Sequence[str], ledger: Ledger, arguments: argparse.Namespace) -> None:
    """Run networks and store each result at once."""
    with tempfile.TemporaryDirectory(prefix="certify-") as cache:
        os.environ |= {"LAYERZOO_CACHE": cache, "OMP_NUM_THREADS": "1"}  # for the processes, without cached traces
        limits = WorkerLimits(arguments.seconds, arguments.memory_gib << 30)
        for count, (name, result) in enumerate(results(names, work, limits, processes=arguments.jobs), start=1):
            ledger.add(name, result)
            sys.stderr.write(f"{count}/{len(names)} {name} {result.get('failed', '')}\n")


def _merged(library: Any, new: Mapping[str, Result], stored: Path) -> Certificates:
    """Merge the results of this machine with the stored ones of the same versions, for every architecture."""
    versions: dict[str, str] = library.versions()
    earlier = Certificates.read(stored) if stored.exists() else None
    known = {row["name"]: row for row in earlier.rows} if earlier and earlier.versions == versions else {}
    rows = (
        {"name": name, **library.known(name), **(new.get(name) or known.get(name) or {})}
        for name in library.architectures()
    )
    return Certificates.of(versions, library.MAX_PARAMS, rows)


if __name__ == "__main__":
    main()
