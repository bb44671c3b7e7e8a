"""A command ended by a signal prints one line, has the right exit status, and leaves no files."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROLOGUE = """
    import os, signal, sys
    from layerzoo import stopping
    from layerzoo.disk import scratch_path
    from pathlib import Path

    def stop(number=signal.SIGTERM):
        os.kill(os.getpid(), number)
"""


def ended(body: str, folder: Path) -> tuple[int, str]:
    """Run a program with the handlers of the command line. Returns: exit code and stderr."""
    lines = textwrap.indent(textwrap.dedent(body), "    ")
    program = (
        textwrap.dedent(PROLOGUE)
        + f"stopping.install()\ntry:\n{lines}\nexcept KeyboardInterrupt as stopped:\n    stopping.end(stopped)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert not list(folder.iterdir())
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("sent", "reported"),
    [("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP"), ("SIGINT", "Ctrl-C (SIGINT)")],
)
def test_the_process_ends_with_the_signal_and_one_line(tmp_path: Path, sent: str, reported: str) -> None:
    number = getattr(signal, sent)
    assert ended(f"stop(signal.{sent})", tmp_path) == (-number, f"zoo: stopped by {reported}\n")


def test_a_shell_sees_128_and_the_signal(tmp_path: Path) -> None:
    program = "from layerzoo import stopping; import os\nstopping.install()\n"
    program += "try:\n    os.kill(os.getpid(), 15)\nexcept KeyboardInterrupt as stop:\n    stopping.end(stop)\n"
    command = f'"{sys.executable}" -c "{program}"; echo $?'
    assert subprocess.run(command, shell=True, capture_output=True, text=True).stdout == "143\n"


def test_the_kept_results_are_reported_after_unwinding(tmp_path: Path) -> None:
    body = """
        with stopping.what_is_kept(lambda: f"; {len(list(Path().iterdir()))} files are left"), scratch_path(Path()):
            stop()
    """
    assert ended(body, tmp_path) == (-signal.SIGTERM, "zoo: stopped by SIGTERM; 0 files are left\n")


def test_a_second_signal_does_not_stop_the_unwinding(tmp_path: Path) -> None:
    """`timeout` and schedulers send several signals."""
    body = """
        with scratch_path(Path()):
            try:
                stop()
            finally:
                stop(); stop(signal.SIGINT); stop(signal.SIGHUP)
    """
    assert ended(body, tmp_path) == (-signal.SIGTERM, "zoo: stopped by SIGTERM\n")


@pytest.mark.parametrize(
    "lost",
    [
        "try: stop()\nexcept: pass",
        "class Kept:\n    def __del__(self): stop()\nKept()",
        "import weakref\nclass Kept: pass\nkept = Kept()\nref = weakref.ref(kept, lambda _: stop())\ndel kept",
    ],
    ids=["a bare except", "__del__", "a weak reference"],
)
def test_a_signal_that_a_library_suppresses_still_ends_the_process(tmp_path: Path, lost: str) -> None:
    body = f"import time\n{lost}\nwith scratch_path(Path()):\n    time.sleep(30)"
    code, reported = ended(body, tmp_path)
    assert code == -signal.SIGTERM
    assert reported.endswith("zoo: stopped by SIGTERM\n")


def test_unwinding_has_a_time_limit(tmp_path: Path) -> None:
    body = """
        import time
        stopping._PATIENCE_S = 0.5
        with scratch_path(Path()) as path:
            try:
                stop()
            finally:
                time.sleep(30)
    """
    assert ended(body, tmp_path) == (-signal.SIGTERM, "zoo: stopped by SIGTERM\n")


def test_importing_and_using_the_library_installs_no_handler(tmp_path: Path) -> None:
    program = """
        import signal
        before = {number: signal.getsignal(number) for number in signal.valid_signals()}
        import numpy as np, layerzoo, layerzoo.cli
        layerzoo.Features(("a",), {"x": np.ones((1, 2), np.float32)}).save("f.npz")
        assert before == {number: signal.getsignal(number) for number in signal.valid_signals()}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, check=True)
