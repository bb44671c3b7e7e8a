"""Types of the callbacks that report the progress of downloads."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], None]
"""Called with the number of bytes that came."""
FileProgress = Callable[[str, int], None]
"""Called with the name of a file and the number of its bytes that came."""


def of_file(progress: FileProgress | None, name: str) -> Progress | None:
    """Return the callback for one file, from a callback for all files.

    Args:
        progress: called with the name of a file and its progress in bytes; None to report nothing.
        name: of the file.
    """
    return None if progress is None else lambda count: progress(name, count)
