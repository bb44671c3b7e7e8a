"""Show long output on a terminal in a pager, as git and man do."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from typing import TextIO, cast

from layerzoo.cli.streams import redirected_stdout, stdout

_OPTIONS = "FRX"
"""The options of ``less`` if the environment sets none: end if all fits, keep colours, and leave the text on screen."""


@contextlib.contextmanager
def in_pager() -> Iterator[None]:
    """Send the data that is written within to the pager; if there is none, to the terminal as otherwise."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or command == ["cat"] or shutil.which(command[0]) is None:
        yield
        return
    stdout().flush()
    environment = {"LESS": _OPTIONS, "LV": "-c", **os.environ}
    terminal = stdout().fileno()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=terminal, env=environment, encoding="utf-8") as pager:
        assert pager.stdin is not None
        with contextlib.suppress(BrokenPipeError), redirected_stdout(cast("TextIO", pager.stdin)):
            yield
        with contextlib.suppress(BrokenPipeError):
            pager.stdin.close()
        while True:
            try:
                pager.wait()
                break
            except KeyboardInterrupt:  # Ctrl-C is handled by the pager, which stays open
                continue
