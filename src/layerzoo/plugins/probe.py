"""Import a plugin in a separate process, so that a crash or a hang is a result too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from layerzoo.plugins.failure import ImportFailure, fix, folder_of
from layerzoo.plugins.loader import load
from layerzoo.registry import ImportOutcome, PluginManifest, registry
from layerzoo.registry.installed import advice

TIME_LIMIT_S = 120.0
"""Importing timm takes 7 s, and transformers 5 s, on 2 quiet cores; a busy machine takes several times as long."""

_AT_ONCE = 2
PluginT = TypeVar("PluginT")
ResultT = TypeVar("ResultT")

_CONNECTIONS = frozenset({"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"})
"""Audit events of the interpreter (PEP 578)."""
_running: set[subprocess.Popen[bytes]] = set()
_FROM_OUTSIDE = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""The signals with which a user or a scheduler ends a process."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The import of a plugin in another process.

    outcome: how it went. connections: the connections that it asked for, as HOST or HOST:PORT.
    """

    outcome: ImportOutcome
    connections: tuple[str, ...] = ()


def probe(manifest: PluginManifest, *, time_limit_s: float = TIME_LIMIT_S) -> ImportOutcome:
    """Import a plugin in a child process as the loader does, and store the outcome.

    Args:
        manifest: of a plugin with a usable declaration.
        time_limit_s: for the import.
    """
    return import_report(manifest, time_limit_s=time_limit_s).outcome


def import_report(manifest: PluginManifest, *, time_limit_s: float = TIME_LIMIT_S) -> ImportReport:
    """Import a plugin as :func:`probe` does, and record the connections that it asks for."""
    report, is_telling = _run(manifest, time_limit_s)
    if is_telling:
        registry().keep_outcome(manifest, report.outcome)
    return report


def _run(manifest: PluginManifest, time_limit_s: float) -> tuple[ImportReport, bool]:
    """Return how the import went, and whether the plugin is the reason: not where a signal from outside ended it."""
    start = time.monotonic()
    program = "from layerzoo.plugins.probe import report; report()"
    # The child finds modules where this process does, and is a separate session, so that all its processes end with it.
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", program, manifest.module, manifest.namespace, folder_of(manifest) or ""],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    _running.add(child)
    try:
        answer, noise = child.communicate(timeout=time_limit_s)
    except subprocess.TimeoutExpired:
        _end(child)
        cause = f"the import took longer than {time_limit_s:g} s"
        outcome = ImportOutcome.failure("hung", cause, _fix_of_hung(manifest, time_limit_s), time_limit_s)
        return ImportReport(outcome), True
    except BaseException:
        _end(child)
        raise
    finally:
        _running.discard(child)
    seconds = time.monotonic() - start
    if not answer:
        advised = advice.upgrade_or_leave_out(manifest.namespace, manifest.distribution)
        if manifest.project is not None:
            advised = advice.correct_code(None, folder_of(manifest) or manifest.project)
        outcome = ImportOutcome.failure("crashed", _crash(child.returncode, noise), advised, seconds)
        return ImportReport(outcome), -child.returncode not in _FROM_OUTSIDE
    fields = json.loads(answer)
    connections = tuple(fields["connections"])
    if fields["failure"] is None:
        return ImportReport(ImportOutcome.success(seconds), connections), True
    failure = ImportFailure(**fields["failure"])
    is_telling = not failure.is_of_the_machine
    outcome = ImportOutcome.failure("failed", failure.cause, fix(manifest, failure), seconds)
    return ImportReport(outcome, connections), is_telling


def report() -> None:
    """Import in the child, and write failure and connections as JSON to the original standard output."""
    module, namespace, folder = sys.argv[1:]
    connections: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CONNECTIONS and (host := _host(arguments)) is not None:
            connections.append(host)

    sys.addaudithook(watch)
    answer = os.dup(1)
    os.dup2(2, 1)  # output of the plugin must not be read as the answer
    failure = None
    try:
        load(PluginManifest(namespace=namespace, distribution=namespace, module=module))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
        failure = ImportFailure.of(error, folder).to_dict()
    os.write(answer, json.dumps({"failure": failure, "connections": connections}).encode())
    os._exit(0)  # a plugin's threads and exit handlers may hang


def _host(arguments: tuple[Any, ...]) -> str | None:
    """Return HOST or HOST:PORT of an audit event about a connection; None for a socket of the file system."""
    address = arguments[1] if len(arguments) > 1 and not isinstance(arguments[0], str | bytes) else arguments[0]
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return address if isinstance(address, str) and not address.startswith(("/", "\0")) else None


def for_each(plugins: Sequence[PluginT], imported: Callable[[PluginT], ResultT]) -> list[ResultT]:
    """Call a function that imports a plugin in another process, for two plugins at a time.

    Args:
        plugins: the plugins.
        imported: the function.
    Returns: its results, in the order of the plugins.
    """
    from concurrent.futures import ThreadPoolExecutor  # not in the child, where this module is imported too

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return list(pool.map(imported, plugins))
        except BaseException:  # Ctrl-C does not reach the children, and the threads wait for them
            pool.shutdown(wait=False, cancel_futures=True)
            _end_all()
            raise


def _end_all() -> None:
    """End the child processes of other threads, for a process that is about to end."""
    for child in list(_running):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL) if hasattr(os, "killpg") else child.kill()


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


def _fix_of_hung(manifest: PluginManifest, time_limit_s: float) -> str:
    step = f"zoo plugin check {manifest.namespace} --time-limit {5 * time_limit_s:g}"
    return advice.or_leave_out(manifest.namespace, manifest.distribution, step)
