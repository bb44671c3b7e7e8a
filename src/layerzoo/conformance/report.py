"""The results of checks: findings, counts, and whether enough was checked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from layerzoo.conformance.codes import CHECKS, Tier

Outcome = Literal["passed", "failed", "skipped", "expected"]
"""``expected``: it failed, as was declared with a reason."""
NEEDED: tuple[Tier, ...] = ("shape", "law", "preprocess")
"""The tiers of which at least one check has to run for each model. Its weights may be on a server, or it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem of a plugin."""

    code: str
    """The check that found it. `zoo explain CODE` explains it."""
    plugin: str
    """The namespace of the plugin."""
    model: str | None = None
    """The id of the model; None if it concerns the plugin."""
    place: str | None = None
    """FILE:LINE, or FILE; None if it is unknown."""
    cause: str
    """The problem, with the values."""
    fix: str
    """The next step."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one check of one plugin or model."""

    code: str
    plugin: str
    model: str | None = None
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    """Of a failure; empty for other outcomes, except that of an expected failure."""
    reason: str | None = None
    """The reason for which it was skipped, or is expected to fail."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a run."""

    results: Sequence[Result] = field(default_factory=tuple)

    @property
    def findings(self) -> list[Finding]:
        """The problems, without expected ones."""
        return [finding for result in self.results if result.outcome == "failed" for finding in result.findings]

    @property
    def counts(self) -> Mapping[str, int]:
        """The numbers of checks that were collected, ran, passed, failed, failed as expected, and were skipped."""
        outcomes = Counter(result.outcome for result in self.results)
        ran = len(self.results) - outcomes["skipped"]
        return {
            "collected": len(self.results),
            "ran": ran,
            "passed": outcomes["passed"],
            "failed": outcomes["failed"],
            "expected": outcomes["expected"],
            "skipped": outcomes["skipped"],
        }

    @property
    def gaps(self) -> list[str]:
        """The checks that should have run and did not: a run that checked nothing is a failure."""
        if not self.results:
            return ["nothing was collected: there is no plugin and no model to check"]
        gaps = []
        by_plugin: dict[str, list[Result]] = defaultdict(list)
        for result in self.results:
            by_plugin[result.plugin].append(result)
        for plugin, own in by_plugin.items():
            if all(result.outcome == "skipped" for result in own):
                gaps.append(f"{plugin}: no check ran ({own[0].reason})")
                continue
            by_model: dict[str, list[Result]] = defaultdict(list)
            for result in own:
                if result.model is not None:
                    by_model[result.model].append(result)
            for model, results in by_model.items():
                gaps += _gaps_of_model(model, results)
        return gaps

    @property
    def is_good(self) -> bool:
        """Whether there is no finding, and enough was checked."""
        return not self.findings and not self.gaps

    def to_dict(self) -> dict[str, Any]:
        """Serialize for `zoo plugin check --format json`."""
        return {
            "ok": self.is_good,
            "counts": dict(self.counts),
            "gaps": self.gaps,
            "findings": [finding.to_dict() for finding in self.findings],
            "expected": [
                {"code": result.code, "plugin": result.plugin, "model": result.model, "reason": result.reason}
                for result in self.results
                if result.outcome == "expected"
            ],
            "skipped": [
                {"code": result.code, "plugin": result.plugin, "model": result.model, "reason": result.reason}
                for result in self.results
                if result.outcome == "skipped"
            ],
        }


def _gaps_of_model(model: str, results: Sequence[Result]) -> list[str]:
    """Return the tiers of a model in which nothing ran."""
    if _follows_failure(results):
        return []
    gaps = []
    for tier in NEEDED:
        own = [result for result in results if CHECKS[result.code].tier == tier]
        if own and all(result.outcome == "skipped" for result in own):
            gaps.append(f"{model}: no check of the tier {tier} ran ({own[0].reason})")
    return gaps


def _follows_failure(results: Sequence[Result]) -> bool:
    """Return whether checks of a model were skipped because another one failed, which is a finding already."""
    return any(
        result.outcome == "failed" if result.code != "shape-build" else result.outcome in ("failed", "expected")
        for result in results
        if CHECKS[result.code].tier == "shape"
    )
