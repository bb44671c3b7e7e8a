"""The checks find each plugin that is wrong in one way, by name, and nothing in correct plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tools.mutants.all_mutants import MUTANTS
from tools.mutants.catching import report_of, tier_of
from tools.mutants.making import Base, Mutant

from layerzoo.conformance.codes import CHECKS

_EVERY = 8
"""Of the mutants, the share that `make test` checks; `make test-slow` checks all of them."""


def _sampled(index: int, mutant: Mutant) -> Any:
    marks = [] if index % _EVERY == 0 else [pytest.mark.slow]
    return pytest.param(mutant, id=f"{mutant.code}: {mutant.name}", marks=marks)


@pytest.mark.parametrize("mutant", [_sampled(index, mutant) for index, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_found_by_name(mutant: Mutant, tmp_path: Path) -> None:
    report = report_of(mutant.base, tmp_path, mutant, tier_of(mutant))
    found = {finding.code: finding for finding in report.findings}
    assert mutant.code in found
    assert found[mutant.code].cause
    assert found[mutant.code].fix
    assert found[mutant.code].place or found[mutant.code].model


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.code}: {mutant.name}")
def test_a_mutant_is_found_among_all_checks(mutant: Mutant, tmp_path: Path) -> None:
    report = report_of(mutant.base, tmp_path, mutant)
    assert mutant.code in {finding.code for finding in report.findings}
    assert not report.is_good


@pytest.mark.slow
def test_a_global_hook_of_the_constructor_is_not_that_of_the_forward_pass(tmp_path: Path) -> None:
    mutant = next(each for each in MUTANTS if each.name == "the network registers a global hook")
    report = report_of(mutant.base, tmp_path, mutant, ["law"])
    assert [finding.cause for finding in report.findings if finding.code == "law-hooks"] == [
        "building the network registers a global hook, which runs in every network"
    ]


@pytest.mark.parametrize(
    "base",
    [
        "vision",
        "text",
        pytest.param("transform", marks=pytest.mark.slow),
        pytest.param("audio", marks=pytest.mark.slow),
        pytest.param("library", marks=pytest.mark.slow),
    ],
)
def test_a_correct_plugin_has_no_finding(base: Base, tmp_path: Path) -> None:
    report = report_of(base, tmp_path)
    assert report.findings == []
    assert report.gaps == []


def test_the_mutants_cover_nearly_every_check() -> None:
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    # Images of 2 channels and the like are refused by the core, before any code of a plugin.
    assert CHECKS.keys() - {mutant.code for mutant in MUTANTS} == {"preprocess-refuses"}
