"""Which modality the inputs of a command have, when no model is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from layerzoo.errors import InputError, SampleError
from layerzoo.media import folder, paths
from layerzoo.media.sample import shown
from layerzoo.media.sniff import NOUNS, kind_of_file
from layerzoo.media.written import is_features
from layerzoo.spec import Modality


def kind_of_inputs(inputs: Sequence[str]) -> Modality:
    """Return the one modality of all the named files, folders and patterns. Files of no known kind do not count.

    Args:
        inputs: paths of files and folders, and patterns.
    Raises: InputError when they are of several kinds, of none, missing, or the standard input.
    """
    counts: Counter[Modality] = Counter()
    for name in inputs:
        counts.update(kind for file in _files(name) if not is_features(file) and (kind := kind_of_file(file)))
    if len(counts) == 1:
        return next(iter(counts))
    asked = ", ".join(map(shown, inputs))
    if not counts:
        known = ", ".join(NOUNS.values())
        raise InputError(
            f"{asked}: nothing there is of a known kind ({known}). Say which model is to read it: --model MODEL"
        )
    kinds = ", ".join(f"{NOUNS[kind]}: {count}" for kind, count in counts.most_common())
    raise InputError(f"{asked}: of more than one kind ({kinds}). Choose a model: --model MODEL")


def _files(name: str) -> Iterator[Path]:
    if name == "-":
        raise InputError(
            "lines on the standard input may be texts or paths. Say which model is to read them: --model MODEL"
        )
    path = Path(name)
    if not paths.exists(name) and not paths.is_pattern(name):
        raise InputError(f"{shown(name)}: {paths.missing(name)}")
    if not paths.exists(name):
        yield from paths.matches(name)
    elif path.is_dir():
        yield from (file for file in folder.files(path, []) if not isinstance(file, SampleError))
    else:
        yield path
