"""Find the registry.yaml and the layerzoo.lock of the working directory, or ignore both."""

from __future__ import annotations

import os
from pathlib import Path

from layerzoo.paths import user_folder

NO_LOCAL_FILES = "LAYERZOO_NO_LOCAL_FILES"
"""The environment variable that ignores them, as ``zoo --no-local-files`` does."""


def are_ignored() -> bool:
    """Return whether the environment says that the files of the working directory do not count."""
    return os.environ.get(NO_LOCAL_FILES, "") not in ("", "0")


def local_folder() -> Path | None:
    """Return the working directory where its files count, else None.

    None as well where it was removed, and where it is the folder of the user's own configuration.
    """
    if are_ignored():
        return None
    try:
        folder = Path.cwd()
        return None if folder.samefile(user_folder()) else folder
    except FileNotFoundError:
        return _existing_folder()
    except OSError:
        return None


def _existing_folder() -> Path | None:
    """Return the working directory; None where it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return None
