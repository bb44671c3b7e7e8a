"""`zoo plugin check`: check plugins and models in tiers, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.output import print_json, print_lines
from layerzoo.cli.streams import stdout

if TYPE_CHECKING:
    from layerzoo.conformance.codes import Tier
    from layerzoo.conformance.report import Finding, Report

_FORMATS = ("table", "json", "junit")


def _format(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str:
    return value or ("table" if stdout().isatty() else "json")


@click.command("check")
@click.argument("target", required=False, metavar="[PATH|NAME|MODEL]", shell_complete=candidates.checked)
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    metavar="TIER",
    shell_complete=candidates.tiers,
    help="Run only this tier: static, shape, law, preprocess or weights. Repeatable.",
)
@click.option("--all-models", is_flag=True, help="Check every model of a generated catalogue, not only the 3 smallest.")
@click.option("--download", is_flag=True, help="Download what the checks need. By default connections are off.")
@click.option(
    "--time-limit", type=click.FloatRange(min=0.1), metavar="SECONDS", help="The limit for each import; 120 by default."
)
@click.option(
    "--format",
    "format_",
    type=WordChoice(_FORMATS),
    callback=_format,
    help="The output format.  [default: table on a terminal, else json]",
)
@click.pass_context
def check_command(
    ctx: click.Context,
    target: str | None,
    tiers: Sequence[str],
    all_models: bool,
    download: bool,
    time_limit: float | None,
    format_: str,
) -> None:
    """Check a plugin, or one model.

    PATH is the folder of a plugin, its registry.yaml or its wheel, which need not be installed; NAME a namespace or a
    distribution; MODEL an id. Without any of them, the tier static runs for all installed plugins.

    The tiers, cheapest first: static (the declaration, the hooks, pins, licenses), shape (declared layers against a
    trace), law (features depend on the sample and the layer alone), preprocess (the declared values are applied),
    weights (digests, keys, values). All but weights use random weights and download nothing.

    Exits with 1 when there is a finding, or when too little ran. conformance.toml next to registry.yaml declares
    expected failures with a reason. json has the keys ok, counts, gaps, findings (code, plugin, model, place, cause,
    fix), expected and skipped. To explain a code: zoo explain CODE

    \b
    Examples:
      zoo plugin check ./acme-zoo
      zoo plugin check acme --tier static --tier shape
      zoo plugin check acme/vit-tiny --format junit > report.xml
    """
    from layerzoo.conformance import engine
    from layerzoo.conformance.target import opened
    from layerzoo.plugins.probe import TIME_LIMIT_S

    selected_tiers = _tiers(tiers, target)
    with opened(
        target, all_models=all_models, downloads=download, time_limit_s=time_limit or TIME_LIMIT_S
    ) as opened_target:
        models = opened_target.models if target is not None or tiers else ()
        report = engine.run(opened_target.plugins, models, tiers=selected_tiers, expected=opened_target.expected)
    _PRINTERS[format_](report)
    if format_ == "table" and target is not None and opened_target.collected > len(models):
        say(f"{len(models)} of {opened_target.collected} models were checked. For all of them: --all-models")
    ctx.exit(0 if report.is_good else 1)


def _tiers(names: Sequence[str], target: str | None) -> Sequence[Tier]:
    from layerzoo.conformance.codes import TIERS
    from layerzoo.errors import UsageError

    if unknown := [name for name in names if name not in TIERS]:
        raise UsageError(f"there is no tier '{unknown[0]}'. All of them: {', '.join(TIERS)}")
    if not names:
        return TIERS if target is not None else TIERS[:1]
    return [tier for tier in TIERS if tier in names]


def _print_table(report: Report) -> None:
    from layerzoo.cli.table import terminal_width

    width = terminal_width()
    print_lines(line for finding in report.findings for line in _finding_lines(finding, width))
    for result in report.results:
        if result.outcome == "expected":
            print_lines([f"expected failure  {result.code}  {result.model or result.plugin}  ({result.reason})"])
    counts = report.counts
    expected = f", {counts['expected']} failed as expected" if counts["expected"] else ""
    print_lines(
        [
            f"{counts['collected']} checks collected, {counts['ran']} ran: {counts['passed']} passed, "
            f"{counts['failed']} failed{expected}; {counts['skipped']} skipped"
        ]
    )
    print_lines(f"too little ran: {gap}" for gap in report.gaps)


def _finding_lines(finding: Finding, width: int) -> Iterator[str]:
    from layerzoo.cli.table import fact_lines

    yield f"{finding.code}  {finding.model or finding.plugin}"
    facts = [("place", finding.place), ("cause", finding.cause), ("fix", finding.fix)]
    yield from (f"  {line}" for line in fact_lines([fact for fact in facts if fact[1]], width=width - 2))
    yield ""


def _print_json(report: Report) -> None:
    print_json(report.to_dict(), indent=2)


def _print_junit(report: Report) -> None:
    from layerzoo.conformance.junit import junit

    print_lines(junit(report).splitlines())


_PRINTERS = {"table": _print_table, "json": _print_json, "junit": _print_junit}
