"""Remove the folder of a run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from layerzoo.disk import remove_leftovers
from layerzoo.features.part import DESCRIPTION, part_name
from layerzoo.runs.leases import lease_name, leased_shards
from layerzoo.runs.storage import MANIFEST, LocalStorage


def remove_run(folder: Path) -> None:
    """Remove the files of a run, and its folder if nothing else is in it.

    Args:
        folder: of the run. Its description is removed first, so that an interrupted removal leaves no run.
    Raises: OSError.
    """
    names = [DESCRIPTION, MANIFEST, *map(part_name, LocalStorage(folder).parts())]
    names += [*map(lease_name, leased_shards(folder)), *(path.name for path in folder.glob("crashed-*.json"))]
    for name in names:
        (folder / name).unlink(missing_ok=True)
    remove_leftovers(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()
