"""Its hook asks for what nobody gives."""

from layerzoo import hookimpl


@hookimpl
def layerzoo_build(spec, colour):
    return None
