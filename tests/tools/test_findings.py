"""What was found out about networks, kept as lines and shown as a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.certify.findings import Findings, Row
from tools.certify.table import page

CERTIFIED = Path(__file__).parents[2] / "docs" / "certified"
EXACT: Row = {"name": "a", "file": "f", "tags": 2, "params": 10, "layers": 1, "names": "stem", "cuts": {"stem": 1.0}}
ROWS: dict[str, Row] = {
    "exact": EXACT,
    "> 60 M: traced only": {**EXACT, "name": "b", "params": 61_000_000},
    "stem differs by 2e-07 of its length": {
        **EXACT,
        "name": "c",
        "differing": {"stem": "differs by 2e-07 of its length"},
    },
    "the whole network differs from itself; stem is constant": {
        **EXACT,
        "name": "d",
        "unrepeatable": True,
        "flaws": {"stem": "is constant"},
    },
    "not traced: it does not run": {"name": "e", "file": "f", "tags": 0, "params": 1, "untraced": "it does not run"},
    "it took longer than 300 s": {"name": "g", "file": "f", "tags": 0, "failed": "it took longer than 300 s"},
    "no names": {**EXACT, "name": "h", "layers": 0, "names": ""},
    "not run": {"name": "i", "file": "f", "tags": 0},
}
FINDINGS = Findings.of({"timm": "1.0.31"}, 60_000_000, ROWS.values())


@pytest.mark.parametrize("told", ROWS)
def test_a_network_that_is_not_exact_says_why(told: str) -> None:
    assert FINDINGS.why_not_exact(ROWS[told]) == told


def test_only_a_network_that_was_equal_everywhere_is_exact() -> None:
    assert [row["name"] for row in FINDINGS.rows if FINDINGS.status(row) == "exact"] == ["a"]


def test_findings_are_read_as_they_were_written(tmp_path: Path) -> None:
    FINDINGS.write(tmp_path / "kept.jsonl")
    assert Findings.read(tmp_path / "kept.jsonl") == FINDINGS


def test_the_page_has_every_network_that_is_left_with_its_reason() -> None:
    section = page(FINDINGS).split("## Not certified")[1].split("\n## ")[0]
    left = [told for told in ROWS if told not in ("exact", "> 60 M: traced only", "not run")]
    assert all(f"| {ROWS[told]['name']} | {told} |" in section for told in left)
    assert "1 architectures have not been run yet" in section


def test_the_page_of_timm_is_what_its_lines_give() -> None:
    found = page(Findings.read(CERTIFIED / "timm.jsonl"))
    assert (CERTIFIED / "timm.md").read_text(encoding="utf-8") == found, "python -m tools.certify timm --table"
