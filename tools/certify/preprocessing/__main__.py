"""``python -m tools.certify.preprocessing``: compare every class, then write docs/certified/preprocessing.{jsonl,md}.

Exits with 1 if any result is unequal.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from tools.certify.preprocessing import audio, images, text
from tools.certify.preprocessing.page import page, read, write
from tools.certify.preprocessing.record import Record

_PAGES = Path(__file__).parents[3] / "docs" / "certified"
_PARTS: dict[str, tuple[Callable[[], Iterator[Record]], tuple[str, ...]]] = {
    "images": (images.records, ("image processor", "video processor")),
    "audio": (audio.records, ("feature extractor",)),
    "text": (text.records, ("tokenizer",)),
}
"""The comparison of each modality by name, and the kinds of its records."""
_LIBRARIES = ("layerzoo", "layerzoo-hf", "transformers", "torchvision", "pillow", "torch")


def main() -> int:
    """Compare, report every record on stderr, write."""
    asked = _arguments()
    rows = _PAGES / "preprocessing.jsonl"
    if not asked.table:
        with tempfile.TemporaryDirectory(prefix="certify-") as cache:
            os.environ |= {"LAYERZOO_CACHE": cache}
            records = [record for name in _PARTS for record in _records(name, rows, run=name in asked.only)]
        write(rows, records, {name: version(name) for name in _LIBRARIES})
    records, versions = read(rows)
    (_PAGES / "preprocessing.md").write_text(page(records, versions), encoding="utf-8")
    return int(any(record.verdict == "unequal" for record in records))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.certify.preprocessing", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=list(_PARTS), default=list(_PARTS), help="keep the others' results"
    )
    parser.add_argument("--table", action="store_true", help="run nothing; write the page from the results there are")
    return parser.parse_args()


def _records(name: str, rows: Path, *, run: bool) -> Iterator[Record]:
    """Return the records of one modality, from this run or from an earlier one."""
    compare, kinds = _PARTS[name]
    if not run:
        yield from (record for record in read(rows)[0] if record.kind in kinds)
        return
    for record in compare():
        sys.stderr.write(f"{record.verdict} {record.name} {record.configuration}\n")
        yield record


if __name__ == "__main__":
    sys.exit(main())
