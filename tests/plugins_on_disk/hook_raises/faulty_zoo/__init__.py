"""It imports well, and its hook raises."""

from layerzoo import hookimpl


@hookimpl
def layerzoo_build(spec):
    return {}[spec.id]
