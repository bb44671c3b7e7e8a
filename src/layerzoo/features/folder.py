"""Read the parts in the folder of a run as one object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from layerzoo.errors import InputError, UnfinishedRunError
from layerzoo.features.features import Features
from layerzoo.features.part import DESCRIPTION, PartFacts, next_step, part_name, read_facts


def load_folder(folder: Path, layers: Sequence[str] | None = None) -> Features:
    """Return the features of all samples of a run, in the order of its inputs.

    Args:
        folder: of the run.
        layers: those to read; None: all.
    Raises: UnfinishedRunError while parts are missing; InputError for a folder without a run, and for damaged files.
    """
    return Features.join(part_features(folder, layers))


def part_features(folder: Path, layers: Sequence[str] | None = None) -> Iterator[Features]:
    """Yield the features of each part, in order. Arguments and errors: as :func:`load_folder`."""
    from layerzoo.features.formats import load

    paths = part_paths(folder)
    for path in paths:
        yield load(path, layers)


def part_paths(folder: Path) -> list[Path]:
    """Return the files of all parts, in order. Raises: as :func:`load_folder`."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        shards, fingerprint = int(description["shards"]), str(description["fingerprint"])
        rows, size = int(description["rows"]), int(description["shard_size"])
    except FileNotFoundError:
        raise InputError(f"{folder} is not the folder of a run: it has no {DESCRIPTION}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder / DESCRIPTION} does not describe a run: {type(error).__name__}: {error}") from error
    paths = [folder / part_name(shard) for shard in range(shards)]
    check_complete(str(folder), missing=sum(not path.is_file() for path in paths), shards=shards)
    for shard, path in enumerate(paths):
        samples = min(size, rows - shard * size)
        check_own(str(folder), shard, read_facts(path), run=fingerprint, samples=samples)
    return paths


def check_complete(folder: str, *, missing: int, shards: int) -> None:
    """Raises: UnfinishedRunError where parts of the run in a folder are missing."""
    if missing:
        raise UnfinishedRunError(
            f"{folder}: {missing:,} of {shards:,} parts are missing. Next: zoo run --out {folder} continues the run; a "
            "single part can be loaded, too",
            missing=missing,
            shards=shards,
        )


def check_own(folder: str, shard: int, facts: PartFacts, *, run: str, samples: int) -> None:
    """Check that the part with the name of a shard is the part of that shard.

    Args:
        folder: of the run, or its URL.
        shard: its number.
        facts: of the part.
        run: the fingerprint of the run.
        samples: the number of samples of the shard.
    Raises: InputError with the next step where it is not.
    """
    if (reason := facts.mismatch(run=run, shard=shard, samples=samples)) is not None:
        raise InputError(f"{folder}/{part_name(shard)} is another part: {reason}. {next_step(folder)}")
