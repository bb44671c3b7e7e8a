"""The small files of a synthetic repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerzoo.weights import Files


def files_of(folder: Path, **contents: Any) -> Files:
    """Write the files of a repository into a folder.

    Args:
        folder: an existing folder.
        contents: text, or a JSON value, by file name; a double underscore represents the dot.
    """
    paths = {}
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        paths[path.name] = path
    return Files(paths, folder=folder)
