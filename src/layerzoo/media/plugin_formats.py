"""Files in formats that plugins decode."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layerzoo.errors import OutsideRepositoryError, PluginError
from layerzoo.media.sample import UnusableError
from layerzoo.media.source import check_regular
from layerzoo.plugins.formats import FormatKind, format_of

_KINDS: Mapping[str, FormatKind] = {"image": "vision", "audio": "audio", "video": "video"}
"""The kind of the files of an operation."""


def with_decoder(operation: str, source: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of an operation, with the plugin that decodes the file if a plugin declares its format.

    Args:
        operation: a name of :data:`layerzoo.media.operations.OPERATIONS`.
        source: the input of the operation.
        options: of the operation.
    Raises: PluginError if several plugins declare the format.
    """
    kind = _KINDS.get(operation)
    if kind is None or not isinstance(source, str | os.PathLike):
        return options
    file_format = format_of(Path(source).name, kind)
    return options if file_format is None else {**options, "decoder": file_format.namespace}


def decoded_by_plugin(namespace: str, path: Path, operation: str) -> Any:
    """Return a file as the plugin decodes it.

    Args:
        namespace: of the plugin, which is imported.
        path: of the file.
        operation: a name of OPERATIONS.
    Raises: PluginError if the plugin cannot be used, or asks for a connection; UnusableError if there is no such file,
        or the plugin returns nothing; any exception of the plugin.
    """
    from layerzoo.plugins.loader import hooks
    from layerzoo.registry import registry

    check_regular(path)
    try:
        decoded = hooks(registry().plugin(namespace)).decode(path, _KINDS[operation])
    except OutsideRepositoryError as error:
        raise PluginError(
            f"the plugin '{namespace}' asked for a connection to {error.reference} to decode {path.name}. No plugin "
            f"opens a connection. Next: zoo plugin disable {namespace}",
            plugin=namespace,
        ) from error
    if decoded is None or isinstance(decoded, str | os.PathLike):
        raise UnusableError(f"the plugin '{namespace}' declares this format, and decodes the file to {decoded!r}")
    return decoded
