"""Start the workers of a run on this machine, count what they do, and replace those that crash."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from layerzoo.errors import WorkerCrashedError
from layerzoo.media.limits import usable_cores
from layerzoo.runs.call import RunCall
from layerzoo.runs.creation import Creation
from layerzoo.runs.process import error_of, start, stop

_CRASHES_WITHOUT_A_SHARD = 8


@dataclass(slots=True)
class Crew:
    """The workers of a run.

    Args:
        call: the run, and the choices of the caller.
        workers: their number.
    """

    call: RunCall
    workers: int
    _events: queue.SimpleQueue[tuple[int, Mapping[str, Any] | None]] = field(default_factory=queue.SimpleQueue)
    _processes: dict[int, subprocess.Popen[str]] = field(default_factory=dict)

    def run(self) -> None:
        """Run until all workers are done.

        Raises: the error of a worker; WorkerCrashedError where they end again and again.
        """
        crashes, is_joined, creation = 0, False, self.call.creation
        try:
            self._start(0, creation)
            while self._processes:
                number, event = self._events.get()
                if event is None:
                    ended = self._processes.pop(number)
                    code = ended.wait()
                    stop(ended)  # closes its pipes
                    if code == 0:
                        continue
                    crashes += 1
                    if crashes > _CRASHES_WITHOUT_A_SHARD + self.workers:
                        raise WorkerCrashedError(
                            f"{crashes} processes ended without a result, the last with code {code}. Next: run it "
                            "without --workers to see the reason, or with fewer, if the memory is full"
                        )
                    if creation is not None:
                        creation = replace(creation, is_timed=False)
                    self._start(number, None if is_joined else creation)
                elif event["event"] == "error":
                    raise error_of(event)
                elif event["event"] == "joined":
                    if not is_joined:
                        is_joined = True
                        self.call.joined()
                        for worker in range(1, self.workers):
                            self._start(worker, None)
                else:
                    crashes = 0
                    self.call.report(event["samples"], event["failed"])
        finally:
            for process in self._processes.values():
                stop(process)

    def _start(self, number: int, creation: Creation | None) -> None:
        job = {**self.call.job(creation), "worker": number, "workers": self.workers}
        process = start(job, threads=max(1, usable_cores() // self.workers))
        self._processes[number] = process
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                self._events.put((number, json.loads(line)))
        except (ValueError, OSError):
            pass  # half a line of a process that was killed, or a pipe that was closed
        self._events.put((number, None))
