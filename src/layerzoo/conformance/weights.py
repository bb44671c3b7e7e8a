"""The tier `weights`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from layerzoo.conformance.report import Finding

MODEL_CHECKS: dict[str, Callable[[Any], Iterator[Finding]]] = {}
