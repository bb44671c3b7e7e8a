"""Jobs run in separate processes: a failing job does not affect the results of the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layerzoo.jobs.workers import WorkerLimits, results

LONG_S = 60.0


def misbehave(name: str) -> Mapping[str, Any]:
    """Fail in the way that the name says. It is a module-level function, so that other processes can import it."""
    if name == "raises":
        raise ValueError("it does not run\nand this is why")
    if name == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "exits":
        os._exit(3)
    if name == "is interrupted":
        os.kill(os.getpid(), signal.SIGINT)
    if name == "hangs":
        time.sleep(LONG_S)
    if name == "takes all memory":
        return {"bytes": len(bytearray(2 << 30))}
    return {"done": name}


def outcomes(*names: str, limits: WorkerLimits, processes: int = 1) -> dict[str, Mapping[str, Any]]:
    return dict(results(names, misbehave, limits, processes=processes))


def test_every_job_has_its_own_result() -> None:
    names = ["a", "b", "c", "d", "e"]
    assert outcomes(*names, limits=WorkerLimits(LONG_S), processes=2) == {name: {"done": name} for name in names}


def test_a_failing_job_loses_only_its_own_result() -> None:
    results_of_jobs = outcomes("raises", "crashes", "exits", "succeeds", limits=WorkerLimits(LONG_S))
    assert results_of_jobs == {
        "raises": {"failed": "ValueError: it does not run"},
        "crashes": {"failed": "its process ended with signal SIGSEGV"},
        "exits": {"failed": "its process ended with code 3"},
        "succeeds": {"done": "succeeds"},
    }


def test_a_job_that_hangs_is_terminated() -> None:
    start = time.monotonic()
    results_of_jobs = outcomes("hangs", "hangs", limits=WorkerLimits(seconds=1), processes=2)
    assert results_of_jobs == {"hangs": {"failed": "it took longer than 1 s"}}
    assert time.monotonic() - start < LONG_S / 2


def test_a_job_that_exceeds_the_memory_limit_fails() -> None:
    results_of_jobs = outcomes("takes all memory", "succeeds", limits=WorkerLimits(LONG_S, memory_bytes=1 << 30))
    assert results_of_jobs == {"takes all memory": {"failed": "MemoryError"}, "succeeds": {"done": "succeeds"}}


def test_closing_the_results_ends_all_processes() -> None:
    running = results(["a", "hangs", "hangs"], misbehave, WorkerLimits(LONG_S), processes=2)
    assert next(running) == ("a", {"done": "a"})
    running.close()
    assert multiprocessing.active_children() == []


def test_workers_ignore_ctrl_c() -> None:
    assert outcomes("is interrupted", limits=WorkerLimits(LONG_S)) == {"is interrupted": {"done": "is interrupted"}}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


class Unloadable:
    """A callable that cannot be unpickled in another process."""

    def __call__(self, name: str) -> Mapping[str, Any]:
        return {"done": name}

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (7,)


def test_a_callable_that_cannot_be_unpickled_fails_every_job() -> None:
    results_of_jobs = dict(results(["a", "b"], Unloadable(), WorkerLimits(LONG_S), processes=1))
    assert {result["failed"] for result in results_of_jobs.values()} == {"its process ended with code 7"}


KILLED = """
import os, signal, sys
from layerzoo.jobs.workers import WorkerLimits, results
from layerzoo_work import work

if __name__ == "__main__":
    for name, result in results(["first", "second"], work, WorkerLimits(60), processes=1):
        sys.stdout.write(f"{result['process']}\\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""
WORK = "import os, time\ndef work(name):\n    time.sleep(0.3)\n    return {'process': os.getpid()}\n"


def test_a_worker_exits_without_a_traceback_after_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "layerzoo_work.py").write_text(WORK)
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.run([sys.executable, tmp_path / "killed.py"], capture_output=True, text=True, timeout=LONG_S)
    assert done.returncode == -signal.SIGKILL
    assert "Traceback" not in done.stderr
    deadline = time.monotonic() + LONG_S
    while Path(f"/proc/{done.stdout.strip()}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{done.stdout.strip()}").exists()
