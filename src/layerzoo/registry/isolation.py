"""Keeps pydantic to itself while the forms of registry.yaml are made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_SWITCH = "PYDANTIC_DISABLE_PLUGINS"


@contextmanager
def pydantic_alone() -> Iterator[None]:
    """Models that are defined within do without pydantic's own plugins.

    To look for them, pydantic parses the entry points of everything that is installed, and one damaged file stops it;
    and what it finds it imports, which browsing the zoo must not do.
    """
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "__all__"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before
