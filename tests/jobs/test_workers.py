"""Jobs in processes of their own: whatever one of them does, the others have their results."""

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

from layerzoo.jobs.workers import Limits, results

LONG_S = 60.0


def misbehave(name: str) -> Mapping[str, Any]:
    """What a network may do; a function of a module, so that another process finds it."""
    if name == "raises":
        raise ValueError("it does not run\nand this is why")
    if name == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "leaves":
        os._exit(3)
    if name == "is interrupted":
        os.kill(os.getpid(), signal.SIGINT)
    if name == "hangs":
        time.sleep(LONG_S)
    if name == "takes all memory":
        return {"bytes": len(bytearray(2 << 30))}
    return {"did": name}


def outcomes(*names: str, limits: Limits, processes: int = 1) -> dict[str, Mapping[str, Any]]:
    return dict(results(names, misbehave, limits, processes=processes))


def test_every_job_has_its_own_result() -> None:
    names = ["a", "b", "c", "d", "e"]
    assert outcomes(*names, limits=Limits(LONG_S), processes=2) == {name: {"did": name} for name in names}


def test_what_goes_wrong_costs_its_own_result_only() -> None:
    found = outcomes("raises", "crashes", "leaves", "well", limits=Limits(LONG_S))
    assert found == {
        "raises": {"failed": "ValueError: it does not run"},
        "crashes": {"failed": "its process ended with signal SIGSEGV"},
        "leaves": {"failed": "its process ended with code 3"},
        "well": {"did": "well"},
    }


def test_a_job_that_hangs_is_ended() -> None:
    began = time.monotonic()
    found = outcomes("hangs", "hangs", limits=Limits(seconds=1), processes=2)
    assert found == {"hangs": {"failed": "it took longer than 1 s"}}
    assert time.monotonic() - began < LONG_S / 2


def test_a_job_that_takes_too_much_memory_is_refused_it() -> None:
    found = outcomes("takes all memory", "well", limits=Limits(LONG_S, memory_bytes=1 << 30))
    assert found == {"takes all memory": {"failed": "MemoryError"}, "well": {"did": "well"}}


def test_no_process_is_left_when_the_results_are_no_longer_wanted() -> None:
    running = results(["a", "hangs", "hangs"], misbehave, Limits(LONG_S), processes=2)
    assert next(running) == ("a", {"did": "a"})
    running.close()
    assert multiprocessing.active_children() == []


def test_ctrl_c_is_not_for_the_workers() -> None:
    assert outcomes("is interrupted", limits=Limits(LONG_S)) == {"is interrupted": {"did": "is interrupted"}}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


class Unloadable:
    """Work that cannot be had in another process."""

    def __call__(self, name: str) -> Mapping[str, Any]:
        return {"did": name}

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (7,)


def test_work_that_cannot_be_loaded_fails_as_a_process_that_ends() -> None:
    found = dict(results(["a", "b"], Unloadable(), Limits(LONG_S), processes=1))
    assert {each["failed"] for each in found.values()} == {"its process ended with code 7"}


KILLED = """
import os, signal, sys
from layerzoo.jobs.workers import Limits, results
from layerzoo_work import work

if __name__ == "__main__":
    for name, result in results(["first", "second"], work, Limits(60), processes=1):
        sys.stdout.write(f"{result['process']}\\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""
WORK = "import os, time\ndef work(name):\n    time.sleep(0.3)\n    return {'process': os.getpid()}\n"


def test_a_worker_ends_quietly_when_its_parent_was_killed(tmp_path: Path) -> None:
    (tmp_path / "layerzoo_work.py").write_text(WORK)
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.run([sys.executable, tmp_path / "killed.py"], capture_output=True, text=True, timeout=LONG_S)
    assert done.returncode == -signal.SIGKILL
    assert "Traceback" not in done.stderr
    until = time.monotonic() + LONG_S
    while Path(f"/proc/{done.stdout.strip()}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{done.stdout.strip()}").exists()
