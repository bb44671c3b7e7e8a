"""`zoo explain CODE`: what a check of `zoo plugin check` finds, why it matters, and how to correct it."""

from __future__ import annotations

import click

from layerzoo.cli import candidates
from layerzoo.cli.output import Format, PrintedRow, format_option, print_one, print_rows
from layerzoo.errors import NotFoundError, nearest, nearest_hint


@click.command("explain")
@click.argument("code", required=False, shell_complete=candidates.codes)
@format_option(piped="json")
def command(code: str | None, format_: Format) -> None:
    """Explain the code of a finding of `zoo plugin check`; without CODE, list all of them.

    json has the keys code, tier, title, why and fix.

    \b
    Examples:
      zoo explain law-padding
      zoo explain
    """
    from layerzoo.conformance.codes import CHECKS, Check

    def row(check: Check) -> PrintedRow:
        facts = {"code": check.code, "tier": check.tier, "title": check.title, "why": check.why, "fix": check.fix}
        return PrintedRow(check.code, lambda: facts, list(facts.items()))

    if code is None:
        rows = (PrintedRow(check.code, row(check).to_dict, (check.code, check.title)) for check in CHECKS.values())
        print_rows(rows, format_, ("code", "title"))
    elif code in CHECKS:
        print_one(row(CHECKS[code]), format_)
    else:
        close = nearest(code, list(CHECKS))
        raise NotFoundError(
            f"there is no check '{code}'. {nearest_hint(close)}All of them: zoo explain", asked=code, nearest=close
        )
