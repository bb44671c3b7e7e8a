"""Generate docs/certified/torchvision.md from docs/certified/torchvision.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from tools.certify.certificates import Certificates, Row, millions
from tools.certify.table import markdown_table, not_exact, versions_line

_OPENING = """<!-- Written by `make certify`. Edits belong in tools/certify. -->

# torchvision: certified architectures

The layer names of every architecture of torchvision, and whether a cut at these layers equals the whole network. A
detector is its backbone with the feature pyramid; a network for optical flow is its feature encoder.

Each network ran with random weights, in the shape of its default weights, on two samples of noise, and plain forward
hooks read its layers. Cuts of layerzoo ran on the same samples, from a pickled checkpoint of the same weights: all
named layers in one pass, then the first, the middle and the last layer alone. **Exact** means that every one of these
layers is equal bit for bit in float32, and that no activation is constant or infinite.

**Feature extractor** compares the layers of classification networks, bit for bit, with those that torchvision's own
`create_feature_extractor` returns for the same network. It does not copy what it returns: a layer that differs is
overwritten by a later in-place function of the network."""


def page(certificates: Certificates) -> str:
    """Generate the whole page."""
    sections = (part for section in (_counts, not_exact, _tasks) for part in section(certificates))
    return "\n\n".join([_OPENING, versions_line(certificates), *sections]) + "\n"


def _counts(certificates: Certificates) -> Iterator[str]:
    rows = certificates.rows
    status = Counter(certificates.status(row) for row in rows)
    compared = [row["extractor"] for row in rows if "count" in row.get("extractor", ())]
    counts = {
        "architectures": len(rows),
        "their weights": sum(row["weights"] for row in rows),
        "unusable as a backbone": status["unusable"],
        "with the axes of every named layer": sum(
            bool(row.get("layers")) and not row.get("unknown_axes") for row in rows
        ),
        "exact": status["exact"],
        "layers of the exact ones": sum(row["layers"] for row in rows if certificates.status(row) == "exact"),
        "not run yet": status["not run"],
        "compared with the feature extractor": len(compared),
        "layers that were compared": sum(row["count"] for row in compared),
        "layers that are equal": sum(row["equal"] for row in compared),
    }
    yield "## Counts"
    yield markdown_table(("", "count"), ((label, f"{count:,}") for label, count in counts.items()))


def _tasks(certificates: Certificates) -> Iterator[str]:
    rows = sorted(certificates.rows, key=lambda row: str(row["task"]))
    for task, group in groupby((row for row in rows if "unusable" not in row), key=lambda row: row["task"]):
        yield f"## {task.replace('_', ' ').capitalize()}"
        yield markdown_table(
            ("architecture", "weights", "params", "layers", "exact", "feature extractor"),
            (_cells(certificates, row) for row in group),
        )


def _cells(certificates: Certificates, row: Row) -> tuple[str, ...]:
    return (
        row["name"],
        str(row["weights"]),
        millions(row["params"]) if "params" in row else "",
        row.get("names", ""),
        f"all {row['layers']}" if certificates.status(row) == "exact" else certificates.why_not_exact(row),
        _extractor(row.get("extractor")),
    )


def _extractor(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return ""
    if "count" not in comparison:
        return str(comparison["none"])
    others = ", ".join(comparison["other"])
    return f"{comparison['equal']} of {comparison['count']}" + (f"; overwritten: {others}" if others else "")
