"""Generate docs/certified/preprocessing.md from docs/certified/preprocessing.jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from tools.certify.preprocessing.record import Record, Verdict

_OPENING = """<!-- Written by `make certify`. Edits belong in tools/certify/preprocessing. -->

# Preprocessing, class by class

What layerzoo gives a network next to what transformers' own call gives it, for every image processor, video processor,
feature extractor and tokenizer class of the installed library.

Each class is saved into a folder next to the configuration of a network, in its default configuration and in others.
`layerzoo.runtime.load_preprocess` and the library read the same folder and get the same inputs: images of odd sizes,
greyscale, tall, wide, of one pixel; videos, audio and texts of such kinds. **Equal** means: every tensor that the
network takes has the same shape and the same bits, for every input. **Refused** means: layerzoo raises one of its
errors, which gives the reason. **Unequal** is a defect.

The **backend** is what both sides ran: of an image processor `pil` where its class has that backend, else
`torchvision`."""

_VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_LONGEST = 300
"""Characters of a reason in the table."""


def page(records: Sequence[Record], versions: Mapping[str, str]) -> str:
    """Return the whole page."""
    found = f"Found with {', '.join(f'{name} {number}' for name, number in versions.items())}."
    kinds = list(dict.fromkeys(record.kind for record in records))
    sections = [_section(kind, [record for record in records if record.kind == kind]) for kind in kinds]
    return "\n\n".join([_OPENING, found, "## Counts", _counts(records, kinds), *sections]) + "\n"


def write(path: Path, records: Iterable[Record], versions: Mapping[str, str]) -> None:
    """Write the records as lines of JSON, the versions first."""
    lines = [{"versions": dict(versions)}, *map(asdict, records)]
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")


def read(path: Path) -> tuple[list[Record], dict[str, str]]:
    """Read a file of :func:`write`."""
    first, *others = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Record(**each) for each in others], first["versions"]


def _counts(records: Sequence[Record], kinds: Sequence[str]) -> str:
    rows = [["kind", "classes", "configurations", "inputs", *_VERDICTS]]
    for kind in (*kinds, "all"):
        chosen = [record for record in records if kind in (record.kind, "all")]
        verdicts = Counter(record.verdict for record in chosen)
        classes, inputs = len({record.name for record in chosen}), sum(record.inputs for record in chosen)
        rows.append([kind, *map(str, (classes, len(chosen), inputs, *(verdicts[each] for each in _VERDICTS)))])
    return _table(rows)


def _section(kind: str, records: Sequence[Record]) -> str:
    rows = [["class", "configuration", "backend", "inputs", "verdict", "reason"], *map(_row, records)]
    return f"## {kind.capitalize()}s\n\n{_table(rows)}"


def _row(record: Record) -> list[str]:
    reason = record.reason if len(record.reason) <= _LONGEST else f"{record.reason[:_LONGEST]}…"
    return [f"`{record.name}`", record.configuration, record.backend, str(record.inputs), record.verdict, reason]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ([_cell(cell) for cell in row] for row in rows)
    return "\n".join(_lines([head, ["---"] * len(head), *body]))


def _lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    return (f"| {' | '.join(row)} |" for row in rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
