"""Generate docs/certified/timm.md from docs/certified/timm.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tools.certify.certificates import Certificates, Row, millions

_OPENING = """<!-- Written by `make certify`. Edits belong in tools/certify. -->

# timm: certified architectures

The layer names of every timm architecture, and whether a cut at these layers equals the whole network.

Each whole network ran with random weights on two samples of noise, and plain forward hooks read its layers. Cuts of
layerzoo ran on the same samples, from a checkpoint of the same weights: all named layers in one pass, then the first,
the middle and the last layer alone, each loaded with its part of the checkpoint. **Exact** means that every one of
these layers is equal bit for bit in float32, and that no activation is constant or infinite.

**Intermediates** are the results of timm's own `forward_intermediates` with `norm=False`, compared bit for bit with the
named layers. The order of axes and class tokens do not matter. `12 of 12` means that all are stems, blocks or stages.
The others are listed by index: another layer, a [module] that is not a named layer, or the nearest layer with its
relative difference."""


def page(certificates: Certificates) -> str:
    """Generate the whole page."""
    sections = (_counts, not_exact, _unknown_axes, _weights, _families)
    parts = [_OPENING, versions_line(certificates), *(part for section in sections for part in section(certificates))]
    return "\n\n".join(parts) + "\n"


def versions_line(certificates: Certificates) -> str:
    """Return a sentence with the versions that the results depend on."""
    return f"Results with {', '.join(f'{name} {number}' for name, number in certificates.versions.items())}."


def _counts(certificates: Certificates) -> Iterator[str]:
    rows, limit = certificates.rows, millions(certificates.max_params)
    status = Counter(certificates.status(row) for row in rows)
    exact = [row for row in rows if certificates.status(row) == "exact"]
    compared = [row["intermediates"] for row in rows if "count" in row.get("intermediates", ())]
    counts = {
        "architectures": len(rows),
        "their pretrained tags": sum(row["tags"] for row in rows),
        "traced": sum("layers" in row for row in rows),
        "with named layers": sum(bool(row.get("layers")) for row in rows),
        "with the axes of every named layer": sum(
            bool(row.get("layers")) and not row.get("unknown_axes") for row in rows
        ),
        f"exact, with up to {limit} parameters": len(exact),
        "layers of the exact ones": sum(row["layers"] for row in exact),
        f"larger than {limit}, only traced": status["large"],
        "others": len(rows) - len(exact) - status["large"],
        "with intermediates of timm": len(compared),
        "all intermediates are stems, blocks or stages": sum(row["count"] == row["equal"] for row in compared),
    }
    yield "## Counts"
    yield markdown_table(("", "count"), ((label, f"{count:,}") for label, count in counts.items()))


def not_exact(certificates: Certificates) -> Iterator[str]:
    """List every architecture that is neither exact nor too large, with the reason. Count those that were not run."""
    yield "## Not certified"
    failures = [row for row in certificates.rows if certificates.status(row) not in ("exact", "large", "not run")]
    waiting = sum(certificates.status(row) == "not run" for row in certificates.rows)
    if waiting:
        yield f"{waiting:,} architectures have not been run yet: `make certify`."
    if failures:
        reasons = ((row["name"], certificates.why_not_exact(row)) for row in failures)
        yield markdown_table(("architecture", "reason"), reasons)
    elif not waiting:
        yield "None."


def _unknown_axes(certificates: Certificates) -> Iterator[str]:
    """List the layers whose axes follow neither from a trace nor from a declaration."""
    rows = [(row["name"], row["unknown_axes"]) for row in certificates.rows if row.get("unknown_axes")]
    if rows:
        yield "## Unknown axes"
        yield "The axes of these layers cannot be inferred. Only the poolings `none` and `flatten` are allowed."
        yield markdown_table(("architecture", "layers"), rows)


def _weights(certificates: Certificates) -> Iterator[str]:
    """List the tags whose weights require an additional step."""
    needs = [pair for row in certificates.rows for pair in row.get("needs", {}).items()]
    if not needs:
        return
    tags = sum(row["tags"] for row in certificates.rows)
    yield "## Weights"
    yield (
        f"According to timm, {tags - len(needs):,} of {tags:,} tags are published as `model.safetensors` in a timm "
        "repository on the hub. The others:"
    )
    yield markdown_table(("tag", "source of the weights"), needs)


def _families(certificates: Certificates) -> Iterator[str]:
    """Generate a section for each of timm's model files."""
    for file, rows in groupby(sorted(certificates.rows, key=lambda row: str(row["file"])), key=lambda row: row["file"]):
        yield f"## {file}"
        yield markdown_table(
            ("architecture", "params", "layers", "traced", "exact", "intermediates"),
            (_cells(certificates, row) for row in rows),
        )


def _cells(certificates: Certificates, row: Row) -> tuple[str, ...]:
    status = certificates.status(row)
    return (
        row["name"],
        millions(row["params"]) if "params" in row else "",
        row.get("names", ""),
        "" if status == "not run" else "yes" if "layers" in row else "no",
        f"all {row['layers']}" if status == "exact" else certificates.why_not_exact(row),
        _intermediates(row.get("intermediates")),
    )


def _intermediates(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return ""
    if "count" not in comparison:
        return str(comparison["none"])
    others = "; ".join(f"{index} is {match}" for index, match in comparison["other"].items())
    return f"{comparison['equal']} of {comparison['count']}" + (f": {others}" if others else "")


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
