"""A table that is higher than the terminal is shown in the pager."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest


def on_terminal(*arguments: str, pager: str, lines: int) -> tuple[int, str]:
    """Run the command line on a terminal of some lines. Returns: the exit code and what the terminal shows."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "layerzoo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PAGER": pager, "NO_COLOR": "1", "TERM": "xterm"},
    ) as process:
        os.close(terminal)
        shown = b""
        while part := _read(controller):
            shown += part
    os.close(controller)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that the last program has closed the terminal
        return b""


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """Return a pager that prints its input between two lines."""
    program = "import sys; print('top'); print(sys.stdin.read(), end=''); print('bottom')"
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"


def test_a_table_that_does_not_fit_is_shown_in_the_pager(home: Path, pager: str) -> None:
    code, shown = on_terminal("layers", "toy/next-word", pager=pager, lines=3)
    assert code == 0
    assert shown.startswith("top\n")
    assert "block.0" in shown
    assert shown.endswith("bottom\n")


def test_a_table_that_fits_and_other_formats_are_not(home: Path, pager: str) -> None:
    for arguments, lines in ((("layers", "toy/next-word"), 50), (("layers", "toy/next-word", "--format", "ids"), 3)):
        code, shown = on_terminal(*arguments, pager=pager, lines=lines)
        assert (code, "block.0" in shown, "bottom" in shown) == (0, True, False)


@pytest.mark.parametrize("name", ["", "cat", "no-such-pager"])
def test_without_a_pager_the_table_is_printed(home: Path, name: str) -> None:
    code, shown = on_terminal("layers", "toy/next-word", pager=name, lines=3)
    assert (code, "block.0" in shown) == (0, True)


def test_a_pager_that_ends_early_is_no_error(home: Path) -> None:
    assert on_terminal("list", pager="true", lines=3) == (0, "")
