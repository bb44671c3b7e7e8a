"""Generate docs/certified/torchaudio.md from certificates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tools.certify.certificates import Certificates, Row, millions
from tools.certify.table import markdown_table, versions_line

_INTRODUCTION = """\
<!-- Written by `make certify`. Edits belong in tools/certify. -->

# torchaudio: certified models

The layer names of every pipeline and front end of torchaudio, and whether a cut at these layers equals the whole
network.

Each whole network ran with random weights on two samples of noise (of random characters, for text), and plain forward
hooks read its layers. Cuts of layerzoo ran on the same samples, from a checkpoint of the same weights: all named layers
in one pass, then the first, the middle and the last layer alone, each loaded with its part of the checkpoint. **Exact**
means that every one of these layers is equal bit for bit in float32, and that no activation is constant or infinite.
Large speech networks ran in their own width with fewer blocks; all blocks were traced."""


def page(certificates: Certificates) -> str:
    """Generate the page as Markdown."""
    return "\n\n".join(_sections(certificates)) + "\n"


def _sections(certificates: Certificates) -> Iterator[str]:
    yield _INTRODUCTION
    yield versions_line(certificates)
    status = Counter(certificates.status(row) for row in certificates.rows)
    exact = [row for row in certificates.rows if certificates.status(row) == "exact"]
    counts = {
        "models": len(certificates.rows),
        "traced": sum("layers" in row for row in certificates.rows),
        "exact": status["exact"],
        "layers of the exact ones": sum(row["layers"] for row in exact),
        "others": len(certificates.rows) - status["exact"],
    }
    yield "## Counts"
    yield markdown_table(("", "count"), ((label, f"{count:,}") for label, count in counts.items()))
    yield "## Models"
    heading = ("model", "kind", "params", "layers", "exact", "run with")
    yield markdown_table(heading, (_cells(certificates, row) for row in certificates.rows))


def _cells(certificates: Certificates, row: Row) -> tuple[str, ...]:
    is_exact = certificates.status(row) == "exact"
    return (
        row["name"],
        row["kind"],
        millions(row["params"]) if row.get("params") else "",
        row.get("names", ""),
        f"all {row['layers']}" if is_exact else certificates.why_not_exact(row),
        row.get("run_with", ""),
    )
