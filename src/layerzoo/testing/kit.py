"""The checks of `zoo plugin check` as tests of pytest: one for each model and check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import pytest

from layerzoo.conformance import engine
from layerzoo.conformance.codes import CHECKS, TIERS, Tier, codes_of
from layerzoo.conformance.report import NEEDED, Result
from layerzoo.conformance.subject import ModelSubject, PluginSubject
from layerzoo.conformance.target import choose_models, expected_failures, expected_of
from layerzoo.errors import UsageError
from layerzoo.registry import registry

__all__ = ["BackboneConformance"]

_ENOUGH = "enough-runs"


class BackboneConformance:
    """Tests that a plugin is right. Inherit from it, and name the plugin::

        class TestAcmeZoo(BackboneConformance):
            plugin = "acme-zoo"

    There is one test for each model and check, called ``test_model[acme/net-law-padding]``, and one for each check of
    the plugin as a whole. A test that cannot run is skipped with a reason; ``test_model[acme/net-enough-runs]`` fails
    where all of a tier are skipped. `zoo explain law-padding` explains a check.
    """

    plugin: ClassVar[str]
    """The distribution or the namespace of an installed plugin."""
    models: ClassVar[Sequence[str] | None] = None
    """The ids to check. None: all models that are written by hand, and the 3 smallest of a generated catalogue."""
    expected_failures: ClassVar[Mapping[str, str]] = {}
    """``CODE`` or ``CODE:MODEL`` → the reason why the check fails, in addition to those in the plugin's
    conformance.toml. A check that passes nevertheless is a failure."""
    inputs: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Id of a model → samples to check it with. Others are checked with samples that are made here."""
    tiers: ClassVar[Sequence[Tier]] = TIERS
    """The tiers to check."""
    downloads: ClassVar[bool] = False
    """Whether weights and configurations may be downloaded."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test for each model and check. pytest calls it."""
        if metafunc.function.__name__ == "test_plugin":
            codes = engine.plugin_codes() if "static" in self.tiers else []
            metafunc.parametrize("code", codes, ids=codes)
        elif metafunc.function.__name__ == "test_model":
            codes = [*engine.model_codes(self.tiers), _ENOUGH]
            pairs = [(model, code) for model in self._models() for code in codes]
            metafunc.parametrize(("model", "code"), pairs, ids=[f"{model}-{code}" for model, code in pairs])

    def test_plugin(self, code: str) -> None:
        """Run one check of the plugin as a whole."""
        subject = _plugin(self.plugin)
        _report(engine.check(code, subject, self._expected(subject).get(code)))

    def test_model(self, model: str, code: str) -> None:
        """Run one check of one model; or ``enough-runs``, which fails where all checks of a tier are skipped."""
        if code == _ENOUGH:
            self._require_enough(model)
        else:
            _report(self._result(model, code))

    def test_models_are_collected(self) -> None:
        """Fail where the plugin has no model to check, or an expected failure names none."""
        models = self._models()
        if not models:
            pytest.fail(f"{self.plugin} has no model to check", pytrace=False)
        named = {key.partition(":")[2] for key in self.expected_failures} - {""}
        if unknown := sorted(named - set(models)):
            pytest.fail(f"expected failures of {', '.join(unknown)}, which is not checked", pytrace=False)

    def _require_enough(self, model: str) -> None:
        for tier in NEEDED:
            if tier not in self.tiers:
                continue
            reasons = []
            for code in codes_of(tier):
                result = self._result(model, code)
                if result.outcome != "skipped":
                    break
                reasons.append(result.reason)
            else:
                pytest.fail(f"{model}: no check of the tier {tier} runs ({reasons[0]})", pytrace=False)

    def _models(self) -> list[str]:
        subject = _plugin(self.plugin)
        if self.models is None:
            return [spec.id for spec in choose_models(subject)]
        specs = [subject.zoo.model(model) for model in self.models]
        if others := [spec.id for spec in specs if spec.namespace != subject.plugin]:
            raise UsageError(f"{type(self).__name__}.models: {self.plugin} has no model {', '.join(others)}")
        return [spec.id for spec in specs]

    def _result(self, model: str, code: str) -> Result:
        subject = _model(self.plugin, model, downloads=self.downloads, inputs=self.inputs.get(model))
        expected = self._expected(subject).get(code)
        if (code, expected) not in subject.results:  # another class of tests may expect other failures
            subject.results[code, expected] = engine.check(code, subject, expected)
        return subject.results[code, expected]

    def _expected(self, subject: PluginSubject | ModelSubject) -> dict[str, str]:
        owner = subject.owner if isinstance(subject, ModelSubject) else subject
        declared = {**expected_failures(owner.folder), **self.expected_failures}
        return expected_of(declared, subject.model)


@lru_cache(maxsize=8)
def _plugin(name: str) -> PluginSubject:
    zoo = registry()
    return PluginSubject(zoo.plugin(name), zoo)


_latest: list[ModelSubject] = []
"""The model of the last test, with its networks, which the tests of one model share. Only one model is in memory."""


def _model(plugin: str, model: str, *, downloads: bool, inputs: Sequence[Any] | None) -> ModelSubject:
    owner = _plugin(plugin)
    last = _latest[0] if _latest else None
    if (
        last is None
        or last.owner is not owner
        or last.inputs is not inputs  # arrays cannot be compared by ==
        or (last.model, last.downloads) != (model, downloads)
    ):
        _latest[:] = [ModelSubject(owner.zoo.model(model), owner, inputs=inputs, downloads=downloads)]
    return _latest[0]


def _report(result: Result) -> None:
    """End a test with the result of its check."""
    if result.outcome == "skipped":
        pytest.skip(str(result.reason))
    if result.outcome == "expected":
        pytest.xfail(str(result.reason))
    if result.outcome == "failed":
        lines = [CHECKS[result.code].title]
        for finding in result.findings:
            lines += [f"{finding.place or finding.model or finding.plugin}: {finding.cause}", f"Next: {finding.fix}"]
        pytest.fail("\n".join([f"{result.code}: {lines[0]}", *lines[1:]]), pytrace=False)
