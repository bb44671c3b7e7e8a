"""Recognize files of features, which are often in the folder of their samples and are not samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_KEY = b"layerzoo"  # under which features/parquet.py keeps where the numbers came from


def is_features(path: Path) -> bool:
    """Return whether a file is a Parquet file of features. (Other formats of features are never read as samples.)"""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return holds_features(pq.read_metadata(path).metadata)
    except (pa.ArrowException, OSError):
        return False  # reading it raises the error


def holds_features(metadata: Any) -> bool:
    """Return the same of a Parquet file that is open already, by the key-value metadata of its schema."""
    return _KEY in (metadata or {})
