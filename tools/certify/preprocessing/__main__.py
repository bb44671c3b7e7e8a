"""``python -m tools.certify.preprocessing``: compare every class, then write docs/certified/preprocessing.{jsonl,md}.

Exits with 1 where something is unequal.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tools.certify.preprocessing.page import page, read, write
from tools.certify.preprocessing.record import Record

_PAGES = Path(__file__).parents[3] / "docs" / "certified"
_MODULES = ("images", "audio", "text")
"""The modules of this package that have ``records()``."""
_LIBRARIES = ("layerzoo", "layerzoo-transformers", "transformers", "torchvision", "pillow", "torch")


def main() -> int:
    """Compare, report every record on stderr, write."""
    asked = _arguments()
    rows = _PAGES / "preprocessing.jsonl"
    if not asked.table:
        with tempfile.TemporaryDirectory(prefix="certify-") as cache:
            os.environ |= {"LAYERZOO_CACHE": cache}
            records = list(_reported(_modules()))
        write(rows, records, {name: version(name) for name in _LIBRARIES})
    records, versions = read(rows)
    (_PAGES / "preprocessing.md").write_text(page(records, versions), encoding="utf-8")
    return int(any(record.verdict == "unequal" for record in records))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.certify.preprocessing", description=__doc__)
    parser.add_argument("--table", action="store_true", help="run nothing; write the page from the results there are")
    return parser.parse_args()


def _modules() -> Iterator[Callable[[], Iterator[Record]]]:
    for name in _MODULES:
        module = f"{__package__}.{name}"
        if find_spec(module) is not None:
            yield import_module(module).records


def _reported(modules: Iterator[Callable[[], Iterator[Record]]]) -> Iterator[Record]:
    for records in modules:
        for record in records():
            sys.stderr.write(f"{record.verdict} {record.name} {record.configuration}\n")
            yield record


if __name__ == "__main__":
    sys.exit(main())
