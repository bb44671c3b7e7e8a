"""Recognize files of features, which are often in the folder of their samples and are not samples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_HEADER_BYTES = 1 << 16
_INTERVAL = ',"start_s","end_s"'
_KEY = b"layerzoo"  # under which features/parquet.py keeps where the numbers came from


def is_features(path: Path) -> bool:
    """Return whether a file is a Parquet or CSV file of features. Other formats are never read as samples."""
    if path.suffix.lower() == ".csv" and path.is_file():
        return _is_csv_of_features(path)
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return holds_features(pq.read_metadata(path).metadata)
    except (pa.ArrowException, OSError):
        return False  # reading it raises the error


def _is_csv_of_features(path: Path) -> bool:
    """Return whether a CSV file has the header of features: ``id``, the times of windows, and numbered columns."""
    try:
        with path.open("rb") as file:
            head = file.readline(_HEADER_BYTES)
    except OSError:
        return False
    first, *columns = head.decode("utf-8", "replace").replace(_INTERVAL, "", 1).rstrip("\n").split(",")
    complete = columns if head.endswith(b"\n") else columns[:-1]
    is_first = first == '"id"' and columns[:1] != [] and columns[0].endswith('_0"')
    return is_first and all(re.fullmatch(r'.*_\d+"', name) for name in complete)


def holds_features(metadata: Any) -> bool:
    """Return the same of a Parquet file that is open already, by the key-value metadata of its schema."""
    return _KEY in (metadata or {})
