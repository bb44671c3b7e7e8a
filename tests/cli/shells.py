"""Interactive shells in a pseudo-terminal, in which a test types a line and presses TAB."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(zoo completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(zoo completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "zoo completion fish | source"),
}
_PATIENCE_S = 30.0
_SEQUENCE = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()].|[=>])|[\x07\r]")
_QUESTIONS = {b"\x1b[c": b"\x1b[?1;2c", b"\x1b[0c": b"\x1b[?1;2c", b"\x1b[6n": b"\x1b[1;1R"}  # of fish to its terminal
SCRIPTS = str(Path(sys.executable).parent)  # where `zoo` is


class Shell:
    """A shell in a pseudo-terminal: write what is typed, read what the terminal shows."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = ""

    def types(self, text: str) -> None:
        self.shown = ""
        os.write(self._descriptor, text.encode())

    def shows(self, text: str) -> bool:
        """Return whether a text appears on the screen."""
        until = time.monotonic() + _PATIENCE_S
        while text not in self.shown and time.monotonic() < until:
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self._read()
        return text in self.shown

    def _read(self) -> None:
        read = os.read(self._descriptor, 65536)
        for question, reply in _QUESTIONS.items():
            if question in read:
                os.write(self._descriptor, reply)
        self.shown += _SEQUENCE.sub(b"", read).decode("utf-8", "replace")


@contextmanager
def interactive(shell: str, home: Path) -> Iterator[Shell]:
    """Run a shell in which the completion of zoo is set up."""
    command, setup = _START[shell]
    environment = {**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}", "TERM": "xterm", "HOME": str(home)}
    child, descriptor = pty.fork()
    if child == 0:
        os.execvpe(command[0], command, environment)
    try:
        terminal = Shell(descriptor)
        terminal.types(f"{setup}; echo rea''dy\n")
        assert terminal.shows("ready"), terminal.shown
        yield terminal
    finally:
        os.close(descriptor)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
