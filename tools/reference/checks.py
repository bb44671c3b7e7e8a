"""Generate the page of the checks of plugins, with the faults that each of them is known to find."""

from __future__ import annotations

from collections.abc import Iterator

from tools.mutants.all_mutants import MUTANTS
from tools.reference.markdown import page

from layerzoo.conformance.codes import CHECKS, TIERS, Tier, codes_of

_TIERS: dict[Tier, str] = {
    "static": "The declaration, the module with the hooks, and where weights come from. No network is built.",
    "shape": "Every declared layer runs, and has the declared properties. Weights are random.",
    "law": "Features depend on the sample and the layer alone. Weights are random.",
    "preprocess": "The declared values are applied, also to unusual inputs.",
    "weights": "The published checkpoint is the declared one, is complete, and was trained.",
}


def checks_page() -> str:
    """Document each check by its tier, then list every fault that was built to test the checks."""
    return page(
        "Checks of plugins",
        f"`zoo plugin check PATH|NAME|MODEL` runs these {len(CHECKS)} checks, and "
        "[`layerzoo.testing.BackboneConformance`](../plugins/testing.md) runs them as tests. `zoo explain CODE` prints "
        "an entry.",
        *(part for tier in TIERS for part in _tier(tier)),
        "## Faults that are found",
        f"To test the checks, {len(MUTANTS)} plugins were made that are wrong in one way each. The check in the second "
        "column finds it. Five correct plugins, for images with and without a transform, texts, audio and timm, have "
        "no finding. The tests run all of them: [tools/mutants](../../tools/mutants/all_mutants.py).",
        "\n".join(
            ["| fault | found by |", "|---|---|", *(f"| {mutant.name} | {_link(mutant.code)} |" for mutant in MUTANTS)]
        ),
    )


def _link(code: str) -> str:
    return f"[`{code}`](#{code})"


def _tier(tier: Tier) -> Iterator[str]:
    yield f"## {tier}"
    yield _TIERS[tier]
    for code in codes_of(tier):
        check = CHECKS[code]
        yield f"### {code}"
        yield f"{check.title} {check.why}"
        yield f"Next: {check.fix}"
