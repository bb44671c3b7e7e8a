"""Which modality the inputs of a command have, when no model is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from layerzoo.errors import InputError, SampleError
from layerzoo.media import folder, paths
from layerzoo.media.sample import UnusableError, shown
from layerzoo.media.sniff import NOUNS, kind_of_file, looks_like
from layerzoo.media.source import opened
from layerzoo.media.written import is_features
from layerzoo.spec import Modality


def kind_of_inputs(inputs: Sequence[str]) -> Modality:
    """Return the one modality of all the named files, folders and patterns. Files of no known kind do not count.

    Args:
        inputs: paths of files and folders, and patterns.
    Raises: InputError when they are of several kinds, of none, missing, or the standard input.
    """
    counts: Counter[Modality] = Counter()
    unknown_files: list[Path] = []
    for name in inputs:
        for file in _files(name):
            if is_features(file):
                continue
            if (kind := kind_of_file(file)) is None:
                unknown_files.append(file)
            else:
                counts[kind] += 1
    if len(counts) == 1:
        return next(iter(counts))
    names = ", ".join(map(shown, inputs))
    if not counts:
        raise InputError(f"{names}: {_reason_without_kind(inputs, unknown_files)}")
    kinds = ", ".join(f"{NOUNS[kind]}: {count}" for kind, count in counts.most_common())
    raise InputError(f"{names}: of more than one kind ({kinds}). Choose a model: --model MODEL")


def _reason_without_kind(inputs: Sequence[str], unknown_files: Sequence[Path]) -> str:
    """Return the reason why inputs have no modality. others: files of no known kind."""
    kinds = ", ".join(NOUNS.values())
    if unknown_files:
        first = unknown_files[0]
        location = "" if [str(first)] == list(inputs) else f"{shown(first)} "
        return f"no file has a known kind ({kinds}): {location}{_description(first)}. Choose a model: --model MODEL"
    if all(paths.exists(name) and Path(name).is_dir() for name in inputs):
        return f"no files in this folder. Files of features, hidden files and pipes do not count. Possible: {kinds}"
    if all(not paths.exists(name) for name in inputs):
        return "no file matches this pattern. Check it, and quote it where the shell expands it"
    return f"no files to read. Files of features do not count. Possible: {kinds}"


def _description(path: Path) -> str:
    try:
        with opened(path) as file:
            return looks_like(file)
    except UnusableError as refusal:
        return f"cannot be read ({refusal})"


def _files(name: str) -> Iterator[Path]:
    if name == "-":
        raise InputError(
            "lines on the standard input may be texts or paths. Say which model is to read them: --model MODEL"
        )
    path = Path(name)
    if not paths.exists(name) and not paths.is_pattern(name):
        is_text = " " in name and not paths.is_url(name)
        hint = ". A text is a line of a file, or of standard input: - with --model MODEL" if is_text else ""
        raise InputError(f"{shown(name)}: {paths.missing(name)}{hint}")
    if not paths.exists(name):
        yield from paths.matches(name)
    elif path.is_dir():
        yield from (file for file in folder.files(path, []) if not isinstance(file, SampleError))
    else:
        yield path
