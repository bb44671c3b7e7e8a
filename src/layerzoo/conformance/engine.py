"""Run checks: the tiers in order, each check alone, so that one that fails stops no other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from layerzoo.conformance.codes import CHECKS, TIERS, Tier, codes_of
from layerzoo.conformance.report import Finding, Report, Result
from layerzoo.conformance.static import finding
from layerzoo.conformance.subject import ModelSubject, PluginSubject, Skip, reason_of
from layerzoo.errors import LayerzooError, OutsideRepositoryError
from layerzoo.plugins.failure import summary
from layerzoo.plugins.probe import for_each

_MODULES: dict[Tier, str] = {tier: f"layerzoo.conformance.{tier}" for tier in TIERS}
_FIRST = "shape-build"
"""The check that all later ones need: its network runs."""
_UNUSABLE = {
    "shape-layers": "its declared layers do not run",
    "shape-axes": "its layers do not have the declared axes",
    "shape-width": "its layers do not have the declared shapes",
    "shape-prefix-tokens": "its layers do not have the declared prefix tokens",
    "shape-frames": "its frames do not have the declared length and hop",
}
"""The checks of declarations without which no layer can be read, each with the reason for skipping others."""
_NEED_LAYERS = ("shape-costs", "shape-default", "shape-stale", *codes_of("law"))
"""The checks that read the declared layers."""


def plugin_codes() -> list[str]:
    """Return the codes of the checks of a plugin as a whole."""
    from layerzoo.conformance.static import PLUGIN_CHECKS

    return list(PLUGIN_CHECKS)


def model_codes(tiers: Sequence[Tier] = TIERS) -> list[str]:
    """Return the codes of the checks of a model, in order.

    Args:
        tiers: only those of these tiers.
    """
    of_plugins = set(plugin_codes())
    return [code for tier in TIERS if tier in tiers for code in codes_of(tier) if code not in of_plugins]


def run(
    plugins: Iterable[PluginSubject],
    models: Iterable[ModelSubject],
    *,
    tiers: Sequence[Tier] = TIERS,
    expected: Callable[[PluginSubject | ModelSubject], Mapping[str, str]] = lambda subject: {},
) -> Report:
    """Check plugins and models.

    Args:
        plugins: checked as a whole, if the tier `static` is among the tiers.
        models: checked one after the other.
        tiers: the tiers to run.
        expected: returns the declared failures of a subject: code → reason.
    """
    plugins = list(plugins)
    if "static" in tiers:
        for_each([plugin for plugin in plugins if plugin.manifest.is_usable], lambda plugin: plugin.imported)
    results = [
        check(code, plugin, expected(plugin).get(code))
        for plugin in plugins
        if "static" in tiers
        for code in plugin_codes()
    ]
    for model in models:
        results += [check(code, model, expected(model).get(code)) for code in model_codes(tiers)]
        model.release()
    return Report(tuple(results))


def check(code: str, subject: PluginSubject | ModelSubject, expected: str | None = None) -> Result:
    """Run one check.

    Args:
        code: of the check.
        subject: a plugin or a model, as the check requires.
        expected: the reason why it is expected to fail; None if it should pass. A pass is then a finding.
    """
    start = time.monotonic()
    result = _checked(code, subject)
    if expected is not None and result.outcome == "failed":
        result = replace(result, outcome="expected", reason=expected)
    elif expected is not None and result.outcome == "passed":
        cause = f"{code} was declared to fail ({expected}), and it passes"
        fix = "Remove it from the expected failures."
        result = replace(result, outcome="failed", findings=(finding(subject, code, cause, fix=fix),))
    return replace(result, seconds=round(time.monotonic() - start, 3))


def _checked(code: str, subject: PluginSubject | ModelSubject) -> Result:
    """Return the result of a check; an exception is a failure of the check. Of a model, checks that others need run
    once."""
    if code not in (_FIRST, *_UNUSABLE) or not isinstance(subject, ModelSubject):
        return _run(code, subject)
    if code not in subject.shared:
        subject.shared[code] = _run(code, subject)
    return subject.shared[code]


def _run(code: str, subject: PluginSubject | ModelSubject) -> Result:
    def result(outcome: Any, findings: Iterable[Finding] = (), reason: str | None = None) -> Result:
        return Result(
            code=code, plugin=subject.plugin, model=subject.model, outcome=outcome,
            findings=tuple(findings), reason=reason,
        )  # fmt: skip

    try:
        with _connected(subject):
            if isinstance(subject, ModelSubject) and (reason := broken(code, subject)):
                return result("skipped", reason=reason)
            failures = list(dict.fromkeys(_functions(CHECKS[code].tier)[code](subject)))
    except Skip as skip:
        return result("skipped", reason=str(skip))
    except OutsideRepositoryError as error:
        return result("failed", [_connection(error, subject)])
    except LayerzooError as error:
        return result("failed", [finding(subject, code, reason_of(error))])
    except Exception as error:  # noqa: BLE001 - the code of a plugin may raise anything
        return result("failed", [finding(subject, code, f"the check failed with {summary(error)}")])
    return result("failed", failures) if failures else result("passed")


def _connection(error: OutsideRepositoryError, subject: PluginSubject | ModelSubject) -> Finding:
    """Return the finding about a connection that the code of a plugin asks for, at the line of the plugin."""
    owner = subject.owner if isinstance(subject, ModelSubject) else subject
    if place := owner.place_of(error):
        cause = f"the code of the plugin asks for a connection to {error.reference}, and is refused"
        return finding(subject, "static-network", cause, place=place)
    return finding(subject, "static-network", reason_of(error).partition(" Next: ")[0])


def broken(code: str, subject: ModelSubject) -> str | None:
    """Return the reason for which a check of a model cannot run: its network or its layers are not usable; None if it
    can."""
    if CHECKS[code].tier == "static" or code == _FIRST:
        return None
    if subject.spec.unusable is not None:
        raise Skip(f"it is declared unusable: {subject.spec.unusable}")
    first = _checked(_FIRST, subject)
    if first.outcome != "passed":
        return first.reason or f"its network does not run: {_FIRST}"
    if code == "law-padding" and _checked("shape-frames", subject).outcome == "failed":
        return _reason("shape-frames")
    return _unreadable(subject) if code in _NEED_LAYERS else None


def _reason(code: str) -> str:
    """Return the reason for which checks are skipped after another one failed."""
    return f"{_UNUSABLE[code]}: mend {code} first"


def _unreadable(subject: ModelSubject) -> str | None:
    """Return the reason for which no layer of a model can be read, as a check of its declaration found; None if they
    can be."""
    try:
        subject.resolved  # noqa: B018 - compares the declaration with a trace
    except LayerzooError:
        return next((_reason(code) for code in _UNUSABLE if _checked(code, subject).outcome == "failed"), None)
    return None


def _functions(tier: Tier) -> dict[str, Callable[[Any], Iterator[Finding]]]:
    module = import_module(_MODULES[tier])
    return {**getattr(module, "PLUGIN_CHECKS", {}), **module.MODEL_CHECKS}


def _connected(subject: PluginSubject | ModelSubject) -> contextlib.AbstractContextManager[None]:
    return subject.connected() if isinstance(subject, ModelSubject) else contextlib.nullcontext()
