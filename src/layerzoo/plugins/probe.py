"""Tries a plugin's import in a process of its own, so that a crash or a hang is a result too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Literal

from layerzoo.plugins.loader import load, record_import, summary
from layerzoo.registry import PluginManifest

TIME_LIMIT_S = 120.0
"""Importing timm takes 7 s, and transformers 5 s, on 2 quiet cores; a busy machine takes several times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How an import went."""

    state: Literal["ok", "failed", "crashed", "hung"]
    cause: str | None = None
    seconds: float


def probe(manifest: PluginManifest, *, time_limit_s: float = TIME_LIMIT_S) -> Probe:
    """Import a plugin in a child process as the loader would, and remember how it went."""
    result = _run(manifest, time_limit_s)
    record_import(manifest, result.cause, result.seconds)
    return result


def _run(manifest: PluginManifest, time_limit_s: float) -> Probe:
    start = time.monotonic()
    program = "from layerzoo.plugins.probe import report; report()"
    # The child finds modules where this process does, and is a session of its own, so that all it starts ends with it.
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", program, manifest.module, manifest.namespace],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        answer, noise = child.communicate(timeout=time_limit_s)
    except subprocess.TimeoutExpired:
        _end(child)
        return Probe(state="hung", cause=f"the import took longer than {time_limit_s:g} s", seconds=time_limit_s)
    except BaseException:
        _end(child)
        raise
    seconds = time.monotonic() - start
    if answer:
        cause = json.loads(answer)
        return Probe(state="failed" if cause else "ok", cause=cause, seconds=seconds)
    return Probe(state="crashed", cause=_crash(child.returncode, noise), seconds=seconds)


def report() -> None:
    """The child's side: import, and write the cause of a failure, or null, as JSON to what was standard output."""
    module, namespace = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(2, 1)  # what the plugin prints must not be taken for the answer
    cause = None
    try:
        load(PluginManifest(namespace=namespace, distribution=namespace, module=module))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
        cause = summary(error)
    os.write(answer, json.dumps(cause).encode())
    os._exit(0)  # a plugin's threads and exit handlers may hang


def _end(child: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.communicate()


def _crash(code: int, noise: bytes) -> str:
    ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    lines = noise.decode(errors="replace").strip().splitlines()
    return f"the interpreter ended {ended} during the import{': ' + lines[-1] if lines else ''}"
