"""docs/certified/timm.md, written from docs/certified/timm.jsonl and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tools.certify.findings import Findings, Row, millions

_OPENING = """<!-- Written by `make certify`. Edits belong in tools/certify. -->

# timm, architecture by architecture

The names of the layers of every architecture of timm, and whether a cut at them gives what the whole network gives.

Whole networks ran for real, with random weights, on two samples of noise, read by plain forward hooks. Beside each ran
what layerzoo makes of its checkpoint: all named layers in one pass, then the first, the middle and the last one alone,
each loaded anew with its own part of the checkpoint. **Exact** means: equal to the bit, in float32, at each of these
layers, and none of them constant or infinite.

**Intermediates** are what timm's own `forward_intermediates` gives with `norm=False`, compared to the bit with the
named layers; the order of axes and class tokens in front do not count. `12 of 12` are stems, blocks or stages. What the
others are stands behind: another layer; a [module] that has no name as a layer; or which layer is nearest to it, and
how far away, relative to its length."""


def page(findings: Findings) -> str:
    """The whole page."""
    sections = (_counts, _not_exact, _unknown_axes, _weights, _families)
    parts = [_OPENING, _versions(findings), *(part for section in sections for part in section(findings))]
    return "\n\n".join(parts) + "\n"


def _versions(findings: Findings) -> str:
    return f"Found with {', '.join(f'{name} {number}' for name, number in findings.versions.items())}."


def _counts(findings: Findings) -> Iterator[str]:
    rows, limit = findings.rows, millions(findings.max_params)
    status = Counter(findings.status(row) for row in rows)
    exact = [row for row in rows if findings.status(row) == "exact"]
    given = [row["intermediates"] for row in rows if "given" in row.get("intermediates", ())]
    counts = {
        "architectures": len(rows),
        "pretrained tags of these": sum(row["tags"] for row in rows),
        "traced": sum("layers" in row for row in rows),
        "with named layers": sum(bool(row.get("layers")) for row in rows),
        "with the axes of every named layer": sum(
            bool(row.get("layers")) and not row.get("unknown_axes") for row in rows
        ),
        f"exact, of those with up to {limit} parameters": len(exact),
        "layers in these": sum(row["layers"] for row in exact),
        f"larger than {limit}: traced only": status["large"],
        "neither": len(rows) - len(exact) - status["large"],
        "with timm's intermediates": len(given),
        "all of which are stems, blocks or stages": sum(each["given"] == each["equal"] for each in given),
    }
    yield "## Counts"
    yield markdown_table(("what", "how many"), ((what, f"{count:,}") for what, count in counts.items()))


def _not_exact(findings: Findings) -> Iterator[str]:
    """Every architecture that is neither exact nor too large, with the reason; those that were not run, by number."""
    yield "## Not certified"
    left = [row for row in findings.rows if findings.status(row) not in ("exact", "large", "not run")]
    waiting = sum(findings.status(row) == "not run" for row in findings.rows)
    if waiting:
        yield f"{waiting:,} architectures have not been run yet: `make certify`."
    if left:
        yield markdown_table(("architecture", "why"), ((row["name"], findings.why_not_exact(row)) for row in left))
    elif not waiting:
        yield "None."


def _unknown_axes(findings: Findings) -> Iterator[str]:
    """The layers of which neither a trace nor a declaration tells which axis is which."""
    rows = [(row["name"], row["unknown_axes"]) for row in findings.rows if row.get("unknown_axes")]
    if rows:
        yield "## Axes that are not known"
        yield (
            "Which axis is which cannot be told at these layers, so that they are extracted as they are (`none`, "
            "`flatten`), and not pooled."
        )
        yield markdown_table(("architecture", "layers"), rows)


def _weights(findings: Findings) -> Iterator[str]:
    """The tags whose weights need more than to be asked for."""
    needs = [pair for row in findings.rows for pair in row.get("needs", {}).items()]
    if not needs:
        return
    tags = sum(row["tags"] for row in findings.rows)
    yield "## Weights"
    yield (
        f"{tags - len(needs):,} of {tags:,} tags are published as `model.safetensors` in a repository of timm's own on "
        "the hub, by what timm says of them. The others:"
    )
    yield markdown_table(("tag", "what it needs"), needs)


def _families(findings: Findings) -> Iterator[str]:
    """A section for each of timm's model files."""
    for file, rows in groupby(sorted(findings.rows, key=lambda row: str(row["file"])), key=lambda row: row["file"]):
        yield f"## {file}"
        yield markdown_table(
            ("architecture", "params", "layers", "traced", "exact", "intermediates"),
            (_cells(findings, row) for row in rows),
        )


def _cells(findings: Findings, row: Row) -> tuple[str, ...]:
    status = findings.status(row)
    return (
        row["name"],
        millions(row["params"]) if "params" in row else "",
        row.get("names", ""),
        "" if status == "not run" else "yes" if "layers" in row else "no",
        f"all {row['layers']}" if status == "exact" else findings.why_not_exact(row),
        _intermediates(row.get("intermediates")),
    )


def _intermediates(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if "given" not in found:
        return str(found["none"])
    others = "; ".join(f"{index} is {what}" for index, what in found["other"].items())
    return f"{found['equal']} of {found['given']}" + (f": {others}" if others else "")


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
