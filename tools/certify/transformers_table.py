"""docs/certified/transformers.md, written from docs/certified/transformers.jsonl and nothing else."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

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

**Axes unknown** are layers whose axes no trace can tell and nobody has declared. They give raw activations; to pool
them, their axes must be declared.

**Hidden states** are what the library gives with `output_hidden_states=True`, compared to the bit with the named
layers. Where they are all stems, blocks or stages in their order, their number stands alone; what the others are stands
behind."""

STATUSES = ("exact", "not exact", "no names", "failed", "excluded", "outside", "not run")
_FOUR = ("input_ids", "pixel_values", "input_values", "input_features", "pixel_values_videos")
"""Main inputs that are a text, a picture, a sound or a video. What counts is every type whose main input is one."""


def page(findings: Findings) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {number}" for name, number in findings.versions.items())
    parts = [_OPENING, f"Found with {versions}.", *_counts(findings), *_reasons(findings), *_types(findings)]
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
    types = [row for row in findings.rows if "/" not in row["name"]]
    towers = [row for row in findings.rows if "/" in row["name"]]
    counting = [row for row in types if row.get("input") in _FOUR]
    counted = Counter(map(status, counting))
    exact = [row for row in counting if status(row) == "exact"]
    by_modality = Counter(row["modality"] for row in exact)
    rows = [
        ("model types", len(types)),
        (f"whose main input is one of {', '.join(_FOUR)}", len(counting)),
        ("of these: exact", len(exact)),
        *((f"exact, {modality}", count) for modality, count in sorted(by_modality.items())),
        ("exact, axes of all layers known", sum(not row["unknown_axes"] for row in exact)),
        ("layers in the exact ones", sum(row["layers"] for row in exact)),
        *((word, counted[word]) for word in STATUSES if word not in ("exact", "outside") and counted[word]),
        ("exact, of the other types", sum(status(row) == "exact" for row in types) - len(exact)),
        ("other towers of dual encoders", len(towers)),
        ("exact, of these", sum(status(row) == "exact" for row in towers)),
    ]
    yield "## Counts"
    yield markdown_table(("what", "how many"), ((what, f"{count:,}") for what, count in rows))


def _reasons(findings: Findings) -> Iterator[str]:
    """Why types are not exact, the most frequent reason first."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for row in findings.rows:
        if status(row) != "exact":
            grouped[_kind(row)].append(row["name"])
    yield "## Why not"
    in_order = sorted(grouped.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    yield markdown_table(
        ("why", "how many", "types"), ((why, str(len(names)), _listed(names)) for why, names in in_order)
    )


def _kind(row: Row) -> str:
    """A reason without what is particular to one type."""
    match status(row):
        case "outside":
            return "its main input is none of the four modalities"
        case "failed" | "excluded" as word:
            return re.sub(r"\b\d+\b", "N", str(row[word])).replace(f"small/{row['name']}", "it")
        case "not exact" if not row["repeatable"]:
            return "the network itself gives something else each time"
        case word:
            return word


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _types(findings: Findings) -> Iterator[str]:
    yield "## Types"
    heading = ("type", "input", "part", "layers", "exact", "axes unknown", "hidden states")
    yield markdown_table(heading, (_cells(row) for row in findings.rows))


def _cells(row: Row) -> tuple[str, ...]:
    exact = f"all {row['layers']}" if status(row) == "exact" else _why(row)
    named = (row["name"], row.get("modality", ""), row.get("part", ""), row.get("names", ""))
    return (*named, exact, ", ".join(row.get("unknown_axes", ())), _hidden_states(row))


def _why(row: Row) -> str:
    match status(row):
        case "outside":
            return f"takes {row['outside']}, which is none of the four modalities"
        case "failed" | "excluded" as word:
            return str(row[word])
        case "not exact" if not row["repeatable"]:
            return "the network itself gives something else each time"
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
