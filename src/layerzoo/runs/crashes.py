"""Find the samples on which the process of a worker ends."""

from __future__ import annotations

import json
import logging
import signal

from layerzoo.runs.shards import OpenRun, crashed_name


def find_crashing(run: OpenRun, shard: int) -> None:
    """Compute the rows of a shard in other processes, in halves down to single rows, and list those that end one.

    The list is a file next to the parts. Its samples become failed rows of the part. A run whose arguments are objects
    of this process cannot be searched.
    """
    if run.description.arguments is None:
        return
    first, stop = run.description.rows_of(shard)
    logging.getLogger("layerzoo").warning(
        "processes ended several times in the shard of samples %s to %s: searching for the cause",
        f"{first:,}",
        f"{stop - 1:,}",
    )
    reasons: dict[int, str] = {}
    waiting = [(first, stop)]
    while waiting:
        start, end = waiting.pop()
        if (reason := _reason(run, start, end)) is None:
            continue
        if end - start == 1:
            reasons[start] = reason
            continue
        middle = (start + end) // 2
        waiting += [(middle, end), (start, middle)]
    if reasons:
        with run.storage.publish(crashed_name(shard)) as path:
            path.write_text(json.dumps({**run.crashed(shard), **reasons}), encoding="utf-8")


def _reason(run: OpenRun, start: int, end: int) -> str | None:
    """Compute some rows in another process. Returns: the way in which it ended; None where it did not crash."""
    from layerzoo.runs.process import start as start_process
    from layerzoo.runs.process import stop

    job = {"folder": run.storage.label, "arguments": run.description.arguments, "rows": [start, end]}
    process = start_process(job)
    try:
        code = process.wait()
    finally:
        stop(process)
    if code < 0:
        return f"the process that computes it ends with {signal.Signals(-code).name}"
    return None if code in (0, 3) else f"the process that computes it ends with code {code}"
