"""Read the features of a run, wherever its folder is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from layerzoo.features.features import Features
from layerzoo.runs.creation import read_description
from layerzoo.runs.storage import DESCRIPTION, part_name, storage
from layerzoo.weights.network.objects import fetch_file, is_url


def load(folder: str | os.PathLike[str]) -> Features:
    """Return the features of all samples of a run, in the order of its inputs.

    Args:
        folder: of the run, or its URL, whose parts are copied to this machine first.
    Raises: as :meth:`Features.load`.
    """
    named = os.fspath(folder)
    if not is_url(named):
        return Features.load(named)
    files = storage(named)
    description = read_description(files)
    with tempfile.TemporaryDirectory(prefix="layerzoo-parts-") as copies:
        names = [part_name(shard) for shard in files.parts()]
        for name in [DESCRIPTION, *names] if description is not None else []:
            fetch_file(f"{files.label}/{name}", Path(copies, name))
        return Features.load(copies)
