"""Extract features of files on request, and measure the memory of this process.

Reads one line of JSON per request (``{"model", "layer", "inputs", …}``) and answers with one: ids, reasons of
errors, seconds, and the peak memory of this process and its
decode processes in bytes, minus that after one sample.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import layerzoo
from layerzoo.runtime import Backbone


def main() -> None:
    """Answer requests until the input ends."""
    loaded: dict[tuple[str, str], Backbone] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["model"], request["layer"])
        if key not in loaded:
            loaded[key] = layerzoo.load(key[0], layer=key[1], weights=request.get("weights"))
        sys.stdout.write(json.dumps(answer(loaded[key], request)) + "\n")
        sys.stdout.flush()


def answer(backbone: Backbone, request: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of a request."""
    if warm := request.get("warm"):
        _extracted(backbone, warm, None)
    _reset_peak()
    before = _kib(os.getpid(), "VmRSS") + max([_kib(pid, "VmRSS") for pid in _children()], default=0)
    started = time.monotonic()
    features = _extracted(backbone, request["inputs"], request.get("column"))
    seconds = time.monotonic() - started
    # A process that has ended is in RUSAGE_CHILDREN, which is never reset: an upper bound.
    lost = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if request.get("counts_lost") else 0
    peak = _kib(os.getpid(), "VmHWM") + max([_kib(pid, "VmHWM") for pid in _children()] + [lost])
    matrix = next(iter(features.by_layer.values()))
    return {
        "ids": list(features.ids),
        "errors": {error.id: error.reason for error in features.errors},
        "is_finite": bool(all(np.isfinite(row).all() for row in matrix)),
        "seconds": seconds,
        "above_bytes": (peak - before) << 10,
    }


def _extracted(backbone: Backbone, inputs: Any, column: str | None) -> layerzoo.Features:
    paths = [Path(name) for name in inputs] if isinstance(inputs, list) else inputs
    return layerzoo.extract(backbone, paths, errors="skip", column=column)


def _reset_peak() -> None:
    for pid in (os.getpid(), *_children()):
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended meanwhile
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def _kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
