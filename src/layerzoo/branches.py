"""The commit that a branch or tag of a repository was at when it was last seen: one small file for each.

Two stores keep such files: the file lists of repositories (the commit that the hub named last) and what plugins found
repositories to be (the commit that was identified last). Standard library only.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from layerzoo.disk import atomic_path
from layerzoo.paths import branch_path, branches_folder, is_commit


def keep_commit(folder: Path, revision: str, commit: str) -> None:
    """Record the commit of a branch or tag.

    Args:
        folder: of the repository, in one of the two stores.
        revision: the branch or tag.
        commit: 40 hex digits.
    Raises: OSError.
    """
    path = branch_path(folder, revision)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(commit, encoding="ascii")


def last_commit(folder: Path, revision: str) -> str | None:
    """Return the recorded commit of a branch or tag; None without a record, or if the record is damaged.

    Args: as :func:`keep_commit`.
    """
    return _read(branch_path(folder, revision))


def last_commits(folder: Path) -> dict[str, str | None]:
    """Return the recorded commit of each branch and tag. folder: as in :func:`keep_commit`."""
    return {unquote(path.name): _read(path) for path in sorted(branches_folder(folder).glob("*"))}


def _read(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        commit = path.read_text(encoding="ascii")
        return commit if is_commit(commit) else None
    return None
