"""The process of a worker: it gets its job as one line of JSON, and reports what it does as lines of JSON.

It ends when its standard input is closed, which also happens when the process that started it is killed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

from layerzoo.disk import remove_own
from layerzoo.errors import LayerzooError
from layerzoo.runs.call import opened_by
from layerzoo.runs.creation import description_of, opened
from layerzoo.runs.leases import remove_own_leases
from layerzoo.runs.manifest import sample_of
from layerzoo.runs.storage import storage
from layerzoo.runs.worker import Share, work
from layerzoo.stopping import signals_blocked

_PATIENCE_S = 2.0
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from layerzoo.runs.process import main; main()"


def start(job: Mapping[str, Any], *, threads: int | None = None) -> subprocess.Popen[str]:
    """Start a process. job: see :func:`main`. threads: the cores that it may use; None: as many as this process."""
    path = json.dumps([entry for entry in sys.path if entry and os.path.isabs(entry)])  # noqa: PTH117
    environment = dict(os.environ)
    if threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        environment.setdefault("LAYERZOO_DECODE_PROCESSES", str(threads))
    with signals_blocked():  # the process inherits it: the one that started it ends it
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended; its exit code says why
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    return process


def stop(process: subprocess.Popen[str]) -> None:
    """End a process. It gets a moment to remove its lease; no file is damaged without that."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def main() -> None:
    """Run one job: a mapping with the keys

    - ``folder`` and ``arguments`` of the run;
    - ``creation``: the fields of a :class:`Creation` if the run may have to be created, else None;
    - ``accept_versions``, ``retry_failed``, ``share`` as for :func:`layerzoo.run`;
    - ``worker`` and ``workers``: the number of this one, from 0, and of all;
    - ``rows``: compute this range of rows and write nothing, instead of the shards.
    """
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the output of a library is not an event
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    try:
        _run(job, events)
    except LayerzooError as error:
        _emit(events, event="error", error=base64.b64encode(pickle.dumps(error)).decode())
        events.flush()
        os._exit(3)
    events.flush()
    os._exit(0)


def error_of(event: Mapping[str, Any]) -> LayerzooError:
    """Return the error that a process reported."""
    error: LayerzooError = pickle.loads(base64.b64decode(event["error"]))  # of a process of this one
    return error


def _run(job: Mapping[str, Any], events: IO[str]) -> None:
    from layerzoo.notices import logger
    from layerzoo.runs.request import on_own_device, prepared

    logger()
    extraction = prepared(on_own_device(job["arguments"], job.get("worker", 0), job.get("workers", 1)))
    if job.get("rows") is not None:
        from layerzoo.media.samples import Samples

        first, last = job["rows"]
        files = storage(job["folder"])
        rows = opened(files, description_of(files)).manifest.rows(first, last).numbered()
        for _ in extraction.pieces(Samples((sample_of(number, row) for number, row in rows), [])):
            pass
        return
    run = opened_by(job, extraction)
    _emit(events, event="joined")
    work(
        run,
        extraction,
        share=Share(*job["share"]),
        retry_failed=job["retry_failed"],
        report=lambda done, failed: _emit(events, event="done", samples=done, failed=failed),
    )


def _emit(events: IO[str], **event: Any) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


def _end_with(parent: IO[str]) -> None:
    """End this process when the other end of a pipe is closed."""
    parent.read()
    remove_own_leases()
    remove_own()
    os._exit(4)
