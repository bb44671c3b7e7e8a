"""Use models of a hub in one monitored process: ``python -m tools.torture.hub_client``.

Reads a line of JSON for each attack from standard input (`model`, `inputs`, `is_first`), uses the model, and writes a
line of JSON with the outcome: features or an error, and every attempt to open a connection, a process
or a forbidden file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_HUB = urlsplit(os.environ["HF_ENDPOINT"])
_FORBIDDEN = os.environ.get("TORTURE_FORBIDDEN", "/etc/passwd").split(os.pathsep)
_seen: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[:2] != (_HUB.hostname, _HUB.port):
            _seen.append(f"a connection to {address}")
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        _seen.append(f"a process: {arguments[0]!r}")
    elif (
        event == "open" and isinstance(arguments[0], str) and any(arguments[0].startswith(each) for each in _FORBIDDEN)
    ):
        _seen.append(f"the file {arguments[0]}")


def main() -> None:
    """Answer each line until the input ends."""
    answers = os.dup(1)
    os.dup2(2, 1)
    import layerzoo  # noqa: F401
    from layerzoo.errors import LayerzooError

    sys.addaudithook(_watch)
    for line in sys.stdin:
        asked = json.loads(line)
        _seen.clear()
        before = _reset_peak()
        said: dict[str, Any]
        try:
            said = {"features": _features(asked["model"], asked["inputs"])}
        except LayerzooError as error:
            said = {"error": type(error).__name__, "message": str(error)[:300]}
        except BaseException as error:  # noqa: BLE001 - any error is an outcome of the attack
            said = {"crash": f"{type(error).__name__}: {str(error)[:300]}"}
        seen = [] if asked["is_first"] else list(_seen)  # the imports of libraries are not part of the attack
        said |= {"seen": seen, "bytes": max(0, _memory("VmHWM") - before)}
        os.write(answers, (json.dumps(said) + "\n").encode())


def _features(model: str, inputs: list[str]) -> list[float]:
    """Return the first features of a model; the shapes of its layers if there is no sample for it."""
    import layerzoo
    from layerzoo.runtime.loading import trace_layers

    if not inputs:
        return [float(len(trace_layers(model)))]
    found = layerzoo.extract(model, inputs)
    return [float(value) for value in found[found.layers[0]][0].ravel()[:4]]


def _reset_peak() -> int:
    """Reset the peak memory. Returns: the memory in use, in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(key: str) -> int:
    read: Callable[[str], str] = Path("/proc/self/status").read_text
    with contextlib.suppress(OSError):
        for line in read("ascii").splitlines():
            if line.startswith(f"{key}:"):
                return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
