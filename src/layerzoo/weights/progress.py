"""How those who wait are told what has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], None]
"""Called with the number of bytes that came."""
FileProgress = Callable[[str, int], None]
"""Called with the name of a file and the number of its bytes that came."""


def of_file(progress: FileProgress | None, name: str) -> Progress | None:
    """What is told of one file."""
    return None if progress is None else lambda count: progress(name, count)
