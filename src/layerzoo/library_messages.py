"""Facts that a library states only in the text of a message: the patterns of all such messages.

Each function says why no typed error or attribute is available. The tests produce every message with the installed
library, so that they fail if a new version changes its text. Without a match the caller reports the whole message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "cache_warnings_about",
    "is_write_error",
    "parse_extra_words",
    "parse_load_state_dict_error",
    "parse_truncated_chunks",
]

_LOAD_STATE_DICT = "Error(s) in loading state_dict"
_PARAMETER = re.compile(r'(?:size mismatch for (.+?): |While \w+ the parameter named "(.+?)", )')
_CHUNK = re.compile(r": (\d+) \(should be (\d+)\)")
_EXTRA_WORDS = re.compile(r"Got unexpected extra arguments? \((.*)\)")


def parse_load_state_dict_error(error: Exception) -> list[tuple[str, str | None]] | None:
    """Return the problems that ``torch.nn.Module.load_state_dict`` reports, each with the name of its parameter.

    torch joins all problems to the text of one RuntimeError. The hooks of a network may change shapes during the call,
    so that they cannot be compared before it.

    Args:
        error: the exception of ``load_state_dict``.
    Returns: (problem, parameter), with None for a problem of no single parameter; None for an exception of any other
        origin, such as a hook.
    """
    first, *lines = str(error).splitlines() or [""]
    if not (isinstance(error, RuntimeError) and first.startswith(_LOAD_STATE_DICT)):
        return None
    problems = [line.strip() for line in lines if line.strip()]
    matches = [(problem, _PARAMETER.match(problem)) for problem in problems]
    return [(problem, match and (match[1] or match[2])) for problem, match in matches]


def is_write_error(error: Exception) -> bool:
    """Return whether a ``safetensors.SafetensorError`` is about the file system, such as a full disk.

    safetensors raises one type of exception for everything, without an ``errno``.

    Args:
        error: the exception of ``safetensors.torch.save_file``.
    """
    return "os error" in str(error)


def parse_truncated_chunks(log: str) -> list[tuple[int, int]]:
    """Return the declared and the present size, in bytes, of each chunk of an audio file where the two differ.

    libsndfile opens a truncated file without an error, and states the sizes in its log only.

    Args:
        log: the attribute ``extra_info`` of a ``soundfile.SoundFile``.
    """
    return [(int(declared), int(present)) for declared, present in _CHUNK.findall(log)]


def cache_warnings_about(warnings: Iterable[Exception], folder: str) -> list[str]:
    """Return the warnings of ``huggingface_hub.scan_cache_dir`` about one folder of a repository.

    A ``CorruptedCacheException`` names the folder in its text only.

    Args:
        warnings: of the scan.
        folder: the name of the repository's folder, such as ``models--ORG--REPO``.
    """
    return [str(warning) for warning in warnings if folder in str(warning)]


def parse_extra_words(message: str) -> list[str] | None:
    """Return the words of a command line that are more than the command takes; None for another mistake.

    click raises a plain ``UsageError`` for them, and does not keep the words.

    Args:
        message: of the ``UsageError``.
    """
    match = _EXTRA_WORDS.match(message)
    return None if match is None else match[1].split()
