"""Generate docs/certified/transformers.md from docs/certified/transformers.jsonl."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from tools.certify.certificates import Certificates, Row, layer_reasons
from tools.certify.table import markdown_table, versions_line

_OPENING = """<!-- Written by `make certify`. Edits belong in tools/certify. -->

# transformers: certified model types

The layer names of every model type with a base network in transformers, and whether a cut at these layers equals the
whole network.

A small network of each type ran with random weights on two samples of noise or random tokens, and plain forward hooks
read its layers. Cuts of layerzoo ran on the same samples, from a checkpoint of the same weights: all named layers in
one pass, then the first, the middle and the last layer alone, each loaded with its part of the checkpoint. **Exact**
means that every one of these layers is equal bit for bit in float32, and that no activation is constant or infinite.

**Part** is the path of the backbone for the modality: a tower, or the encoder of an encoder-decoder. It is empty for
the whole network.

**Unknown axes** are layers whose axes follow neither from a trace nor from a declaration. They return raw activations.
To pool them, declare their axes.

**Hidden states** are the library's results with `output_hidden_states=True`, compared bit for bit with the named
layers. `13 of 13` means that all are stems, blocks or stages. The others are listed by index."""

STATUSES = ("exact", "not exact", "no names", "failed", "excluded", "unsupported input", "not run")
_MAIN_INPUTS = ("input_ids", "pixel_values", "input_values", "input_features", "pixel_values_videos")
"""Main inputs for text, images, audio and video. Types with another main input are not counted."""


def page(certificates: Certificates) -> str:
    """Generate the whole page."""
    sections = (part for section in (_counts, _reasons, _types) for part in section(certificates))
    return "\n\n".join([_OPENING, versions_line(certificates), *sections]) + "\n"


def status(row: Row) -> str:
    """Return the status of a type: one of STATUSES."""
    for key in ("failed", "excluded", "unsupported_input"):
        if key in row:
            return key.replace("_", " ")
    if "layers" not in row:
        return "not run"
    if not row["layers"]:
        return "no names"
    return "not exact" if row["differing"] or row["flaws"] else "exact"


def _counts(certificates: Certificates) -> Iterator[str]:
    types = [row for row in certificates.rows if "/" not in row["name"]]
    towers = [row for row in certificates.rows if "/" in row["name"]]
    counting = [row for row in types if row.get("input") in _MAIN_INPUTS]
    counted = Counter(map(status, counting))
    exact = [row for row in counting if status(row) == "exact"]
    by_modality = Counter(row["modality"] for row in exact)
    rows = [
        ("model types", len(types)),
        (f"with a main input among {', '.join(_MAIN_INPUTS)}", len(counting)),
        ("exact", len(exact)),
        *((f"exact, {modality}", count) for modality, count in sorted(by_modality.items())),
        ("exact, axes of all layers known", sum(not row["unknown_axes"] for row in exact)),
        ("layers of the exact ones", sum(row["layers"] for row in exact)),
        *((word, counted[word]) for word in STATUSES if word not in ("exact", "unsupported input") and counted[word]),
        ("exact, with another main input", sum(status(row) == "exact" for row in types) - len(exact)),
        ("further towers of dual encoders", len(towers)),
        ("exact, further towers", sum(status(row) == "exact" for row in towers)),
    ]
    yield "## Counts"
    yield markdown_table(("", "count"), ((label, f"{count:,}") for label, count in rows))


def _reasons(certificates: Certificates) -> Iterator[str]:
    """List the reasons of types that are not exact, the most frequent first."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for row in certificates.rows:
        if status(row) != "exact":
            grouped[_general_reason(row)].append(row["name"])
    yield "## Reasons"
    in_order = sorted(grouped.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    yield markdown_table(
        ("reason", "count", "types"), ((reason, str(len(names)), ", ".join(names)) for reason, names in in_order)
    )


def _general_reason(row: Row) -> str:
    """Return the reason without details of one type."""
    match status(row):
        case "unsupported input":
            return "its main input is not supported"
        case "failed" | "excluded" as word:
            return re.sub(r"\b\d+\b", "N", str(row[word])).replace(f"small/{row['name']}", "it")
        case "not exact" if not row["repeatable"]:
            return "the network is not repeatable"
        case word:
            return word


def _types(certificates: Certificates) -> Iterator[str]:
    yield "## Types"
    heading = ("type", "input", "part", "layers", "exact", "unknown axes", "hidden states")
    yield markdown_table(heading, (_cells(row) for row in certificates.rows))


def _cells(row: Row) -> tuple[str, ...]:
    exact = f"all {row['layers']}" if status(row) == "exact" else _reason(row)
    named = (row["name"], row.get("modality", ""), row.get("part", ""), row.get("names", ""))
    return (*named, exact, ", ".join(row.get("unknown_axes", ())), _hidden_states(row))


def _reason(row: Row) -> str:
    match status(row):
        case "unsupported input":
            return f"its main input {row['unsupported_input']} is not supported"
        case "failed" | "excluded" as word:
            return str(row[word])
        case "not exact" if not row["repeatable"]:
            return "the network is not repeatable"
        case "not exact":
            return "; ".join(layer_reasons(row))
        case word:
            return word


def _hidden_states(row: Row) -> str:
    comparison = row.get("hidden_states", {"none": ""})
    if "none" in comparison:
        return str(comparison["none"])
    layers = comparison["layers"]
    others = [
        f"{index} is {layer or 'no named layer'}"
        for index, layer in enumerate(layers)
        if layer is None or not layer.startswith(("stem", "block", "stage"))
    ]
    return f"{len(layers) - len(others)} of {len(layers)}" + (f": {'; '.join(others)}" if others else "")
