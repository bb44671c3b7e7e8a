"""Keeps pydantic to itself while the forms of registry.yaml are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerzoo.environment import environment

_SWITCH = "PYDANTIC_DISABLE_PLUGINS"


@contextmanager
def pydantic_alone() -> Iterator[None]:
    """Models that are defined within do without pydantic's own plugins.

    To look for them, pydantic parses the entry points of everything that is installed, and one damaged file stops it;
    and what it finds it imports, which browsing the zoo must not do.
    """
    with environment(_SWITCH, "__all__"):
        yield
