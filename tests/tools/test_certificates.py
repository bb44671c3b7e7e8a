"""The stored results of networks, and the page that is generated from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tools.certify.certificates import Certificates, Row
from tools.certify.table import page
from tools.certify.torchaudio_table import page as torchaudio_page
from tools.certify.torchvision_table import page as torchvision_page
from tools.certify.transformers_table import page as transformers_page

CERTIFIED = Path(__file__).parents[2] / "docs" / "certified"
EXACT: Row = {"name": "a", "file": "f", "tags": 2, "params": 10, "layers": 1, "names": "stem", "cuts": {"stem": 1.0}}
ROWS: dict[str, Row] = {
    "exact": EXACT,
    "> 60 M: traced only": {**EXACT, "name": "b", "params": 61_000_000},
    "stem: relative difference 2e-07": {**EXACT, "name": "c", "differing": {"stem": "relative difference 2e-07"}},
    "the whole network is not repeatable; stem: constant": {
        **EXACT,
        "name": "d",
        "unrepeatable": True,
        "flaws": {"stem": "constant"},
    },
    "not traced: it does not run": {"name": "e", "file": "f", "tags": 0, "params": 1, "untraced": "it does not run"},
    "it took longer than 300 s": {"name": "g", "file": "f", "tags": 0, "failed": "it took longer than 300 s"},
    "its layers compute with integers": {
        "name": "q",
        "file": "f",
        "tags": 0,
        "unusable": "its layers compute with integers",
    },
    "no names": {**EXACT, "name": "h", "layers": 0, "names": ""},
    "not run": {"name": "i", "file": "f", "tags": 0},
}
CERTIFICATES = Certificates.of({"timm": "1.0.31"}, 60_000_000, ROWS.values())


@pytest.mark.parametrize("reason", ROWS)
def test_every_status_has_its_reason(reason: str) -> None:
    assert CERTIFICATES.why_not_exact(ROWS[reason]) == reason


def test_only_a_network_that_is_equal_at_every_layer_is_exact() -> None:
    assert [row["name"] for row in CERTIFICATES.rows if CERTIFICATES.status(row) == "exact"] == ["a"]


def test_certificates_are_read_back_unchanged(tmp_path: Path) -> None:
    CERTIFICATES.write(tmp_path / "stored.jsonl")
    assert Certificates.read(tmp_path / "stored.jsonl") == CERTIFICATES


def test_the_page_lists_every_failure_with_its_reason() -> None:
    section = page(CERTIFICATES).split("## Not certified")[1].split("\n## ")[0]
    failures = [reason for reason in ROWS if reason not in ("exact", "> 60 M: traced only", "not run")]
    assert all(f"| {ROWS[reason]['name']} | {reason} |" in section for reason in failures)
    assert "1 architectures have not been run yet" in section


@pytest.mark.parametrize(
    ("library", "generate"),
    [
        ("timm", page),
        ("torchaudio", torchaudio_page),
        ("torchvision", torchvision_page),
        ("transformers", transformers_page),
    ],
)
def test_a_committed_page_is_up_to_date(library: str, generate: Callable[[Certificates], str]) -> None:
    expected = generate(Certificates.read(CERTIFIED / f"{library}.jsonl"))
    committed = (CERTIFIED / f"{library}.md").read_text(encoding="utf-8")
    assert committed == expected, f"out of date. Next: python -m tools.certify {library} --table"
