"""docs/certified/transformers.md, written from docs/certified/transformers.jsonl and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tools.certify.findings import Findings, Row
from tools.certify.table import markdown_table

_OPENING = """<!-- Written by `make certify`. Edits belong in tools/certify. -->

# transformers, type by type

The names of the layers of every model type that transformers has a base network for, and whether a cut at them gives
what the whole network gives.

A small network of each type ran for real, with random weights, on two samples: noise, or any words. Its layers were
read by plain forward hooks. Beside it ran what layerzoo makes of its checkpoint: all named layers in one pass, then the
first, the middle and the last one alone, each loaded anew with its own part of the checkpoint. **Exact** means: equal
to the bit, in float32, at each of these layers, and none of them constant or infinite.

**Part** is what of the network is the backbone for its modality: a tower, the encoder before a decoder; else the whole.

**Hidden states** are what the library gives with `output_hidden_states=True`, compared to the bit with the named
layers. Where they are all stems, blocks or stages in their order, their number stands alone; what the others are stands
behind."""

STATUSES = ("exact", "not exact", "no names", "failed", "excluded", "outside", "not run")


def page(findings: Findings) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {number}" for name, number in findings.versions.items())
    parts = [_OPENING, f"Found with {versions}.", *_counts(findings), *_types(findings)]
    return "\n\n".join(parts) + "\n"


def status(row: Row) -> str:
    """How far a type came: one of STATUSES."""
    for word in ("failed", "excluded", "outside"):
        if word in row:
            return word
    if "layers" not in row:
        return "not run"
    if not row["layers"]:
        return "no names"
    return "not exact" if row["differing"] or row["flaws"] else "exact"


def _counts(findings: Findings) -> Iterator[str]:
    counted = Counter(map(status, findings.rows))
    meaning = {"outside": "whose main input is no text, picture, sound or video"}
    rows = [
        ("model types", str(len(findings.rows))),
        *((meaning.get(word, word), str(counted[word])) for word in STATUSES),
    ]
    yield "## Counts"
    yield markdown_table(("what", "how many"), rows)


def _types(findings: Findings) -> Iterator[str]:
    yield "## Types"
    heading = ("type", "input", "part", "layers", "exact", "hidden states")
    yield markdown_table(heading, (_cells(row) for row in findings.rows))


def _cells(row: Row) -> tuple[str, ...]:
    exact = f"all {row['layers']}" if status(row) == "exact" else _why(row)
    named = (row["name"], row.get("modality", ""), row.get("part", ""), row.get("names", ""))
    return (*named, exact, _hidden_states(row))


def _why(row: Row) -> str:
    match status(row):
        case "outside":
            return f"takes {row['outside']}, which is none of the four modalities"
        case "failed" | "excluded" as word:
            return str(row[word])
        case "not exact":
            return "; ".join(f"{name} {how}" for kind in ("differing", "flaws") for name, how in row[kind].items())
        case word:
            return word


def _hidden_states(row: Row) -> str:
    found = row.get("hidden_states", {"none": ""})
    if "none" in found:
        return str(found["none"])
    places = found["places"]
    others = [
        f"{index} is {place or 'no named layer'}"
        for index, place in enumerate(places)
        if place is None or not place.startswith(("stem", "block", "stage"))
    ]
    return f"{len(places) - len(others)} of {len(places)}" + (f": {'; '.join(others)}" if others else "")
