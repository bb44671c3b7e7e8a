"""Types of the callbacks that report the progress of downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int], None]
"""Called with the number of received bytes."""
FileProgress = Callable[[str, int], None]
"""Called with the name of a file and the number of its received bytes."""


@dataclass(frozen=True, slots=True)
class OneFileProgress:
    """The callback for one file. name: of the file. progress: the callback for all files."""

    progress: FileProgress
    name: str

    def __call__(self, count: int) -> None:
        self.progress(self.name, count)

    def expect(self, count: int) -> None:
        """Report the number of bytes that will be fetched, if the callback for all files has a method ``expect``."""
        if (expect := getattr(self.progress, "expect", None)) is not None:
            expect(self.name, count)


def of_file(progress: FileProgress | None, name: str) -> Progress | None:
    """Return the callback for one file, from a callback for all files.

    Args:
        progress: called with the name of a file and its progress in bytes; None to report nothing.
        name: of the file.
    """
    return None if progress is None else OneFileProgress(progress, name)


def announce(progress: Progress | None, count: int) -> None:
    """Report the number of bytes that will be fetched to a callback that has a method ``expect``.

    Args:
        progress: the callback for one file.
        count: the number of bytes.
    """
    if (expect := getattr(progress, "expect", None)) is not None:
        expect(count)
