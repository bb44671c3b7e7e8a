"""Read the index of a checkpoint in shards, which names the file of each tensor."""

from __future__ import annotations

import json
from pathlib import Path

from layerzoo.errors import WeightsError
from layerzoo.weights.sources import check_inside


def read_index(path: Path) -> dict[str, str]:
    """Return the file name of each tensor, from a ``model.safetensors.index.json``.

    Args:
        path: of the index.
    Raises: WeightsError when it is none, UnsafeWeightsError for a file name that leaves its folder.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {str(tensor): str(file) for tensor, file in names.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"{path} is not an index of a checkpoint in shards ({reason}): it needs a weight_map"
        ) from error
    for name in set(files.values()):
        check_inside(name, of=str(path))
    return files


def shards_of(path: Path) -> list[str]:
    """Return the names of the files in an index. Raises: as :func:`read_index`."""
    return sorted(set(read_index(path).values()))
