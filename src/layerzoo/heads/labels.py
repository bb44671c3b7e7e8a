"""The labels of samples: from the names of their folders, or from a table."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from layerzoo.errors import InputError, nearest, nearest_hint
from layerzoo.media.lines import MAX_LINE_BYTES

ID_COLUMNS = ("id", "file", "path", "filename", "file_name", "name")
"""Columns of a table of labels that name a sample, the first one that exists."""
LABEL_COLUMN = "label"
_LINE = re.compile(r":\d+\Z")
"""What the id of a line of a text file, or of a row of a table, has after the file."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a run of samples, in their order."""

    rows: tuple[int, ...]
    """The positions of the samples that have a label."""
    values: tuple[str | float, ...]
    """A text or a number for each of them."""
    groups: tuple[str, ...] = ()
    """The source of each of them; empty: each sample has a separate source."""
    unlabelled: tuple[str, ...] = field(default=())
    """The ids of the samples without a label."""
    unused: tuple[str, ...] = field(default=())
    """The names of the rows of a table that label no sample."""


def labels_of_folders(ids: Sequence[str], group_pattern: str | None = None) -> Labels:
    """Label samples with the name of the folder that directly holds their file.

    Args:
        ids: paths of files, with ``:LINE`` after those of texts.
        group_pattern: see :func:`read_labels`.
    Raises: InputError for a sample without a folder.
    """
    folders = [PurePath(_LINE.sub("", sample)).parent.name for sample in ids]
    if missing := next((sample for sample, folder in zip(ids, folders, strict=True) if not folder), None):
        raise InputError(
            f"{missing}: its file is in no named folder, so that folders cannot label it. Next: --labels FILE"
        )
    return Labels(tuple(range(len(ids))), tuple(folders), _groups(ids, group_pattern))


def read_labels(
    path: Path,
    ids: Sequence[str],
    *,
    label_column: str | None = None,
    group_column: str | None = None,
    group_pattern: str | None = None,
) -> Labels:
    """Read the labels of some samples from a table.

    A row belongs to the sample whose id, path or file name it has in its column id, file, path, filename, file_name or
    name. The rows of a table that is the input itself belong to its samples in their order. Several rows of one sample
    must have the same label.

    Args:
        path: a .csv, .tsv, .jsonl or .parquet file.
        ids: of the samples.
        label_column: the column of the labels. None: ``label``, or the only one that is neither an id nor a group.
        group_column: the column that names the source of each sample. None: no groups, or those of the pattern.
        group_pattern: a regular expression; the part of an id that it matches, or its first group, names the source.
    Raises: InputError for a table without these columns, without a label for any of the samples, or with contradicting
        labels for one of them.
    """
    rows = _rows(path)
    columns = list(rows[0]) if rows else []
    id_column = next((name for name in ID_COLUMNS if name in columns), None)
    candidates = [name for name in columns if name not in (id_column, group_column)]
    label_name = label_column or (
        LABEL_COLUMN if LABEL_COLUMN in columns else candidates[0] if len(candidates) == 1 else None
    )
    for name, option in ((label_name, "--label-column"), (group_column or label_name, "--groups")):
        if name is None or name not in columns:
            problem = "no column 'label'" if name is None else f"no column {name!r}"
            hint = nearest_hint(nearest(name, columns)) if name else ""
            raise InputError(
                f"{path}: {problem}. {hint}It has: {', '.join(columns) or 'no rows'}. Choose one: {option}"
            )
    by_sample, used_rows = _matched(path, rows, id_column, [str(label_name), *filter(None, [group_column])], ids)
    unused = tuple(
        f"{path}:{number}" if id_column is None else str(row[id_column])
        for number, row in enumerate(rows, start=1)
        if id(row) not in used_rows
    )
    matched_rows = [by_sample.get(sample, {}) for sample in ids]
    labelled = [row for row, values in enumerate(matched_rows) if values.get(str(label_name)) not in (None, "")]
    if not labelled:
        example = f", such as {ids[0]!r}" if ids else ""
        raise InputError(
            f"{path}: it has no label for any of the {len(ids)} samples{example}. A row names its sample in a column "
            f"{', '.join(ID_COLUMNS[:-1])} or {ID_COLUMNS[-1]}"
        )
    if group_column:
        groups = tuple(str(matched_rows[row][group_column]) for row in labelled)
    else:
        groups = _groups([ids[row] for row in labelled], group_pattern, columns)
    unlabelled = tuple(ids[row] for row in sorted(set(range(len(ids))) - set(labelled)))
    values = tuple(matched_rows[row][str(label_name)] for row in labelled)
    return Labels(tuple(labelled), values, groups, unlabelled, unused)


def columns_of(path: Path) -> list[str]:
    """Return the columns of a table of labels; empty for a table without rows, and for a file that is none.

    Args:
        path: a file.
    """
    try:
        rows = _rows(path)
    except InputError:
        return []
    return list(rows[0]) if rows else []


def _groups(ids: Sequence[str], pattern: str | None, columns: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the source of each sample that a pattern finds in its id.

    Args:
        ids: of the samples.
        pattern: a regular expression.
        columns: of the table of labels, for errors.
    Raises: InputError.
    """
    of_table = f". It is no column of the table either, which has: {', '.join(columns)}" if columns else ""
    if pattern is None:
        return ()
    try:
        matches = [re.search(pattern, sample) for sample in ids]
    except re.error as error:
        raise InputError(f"--groups {pattern!r} is not a regular expression: {error}{of_table}") from error
    if missing := next((sample for sample, match in zip(ids, matches, strict=True) if match is None), None):
        raise InputError(
            f"--groups {pattern!r} matches nothing in {missing!r}, so that its source is not known{of_table}"
        )
    return tuple((match[1] if match.re.groups else match[0]) or "" for match in matches if match is not None)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table. Raises: InputError."""
    from pyarrow import ArrowInvalid, json, parquet

    suffix = path.suffix.lower()
    readers: Mapping[str, Callable[[Path], list[dict[str, Any]]]] = {
        ".csv": partial(_csv_rows, delimiter=","),
        ".tsv": partial(_csv_rows, delimiter="\t"),
        ".jsonl": lambda file: json.read_json(file).to_pylist(),
        ".parquet": lambda file: parquet.read_table(file).to_pylist(),
    }
    if suffix not in readers:
        raise InputError(
            f"{path}: labels are read from {', '.join(readers)}, and this is {suffix or 'without a suffix'}"
        )
    try:
        return readers[suffix](path)
    except (OSError, ArrowInvalid, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the table of labels cannot be read: {error}") from error


def _csv_rows(path: Path, delimiter: str) -> list[dict[str, Any]]:
    """Return the rows of a CSV, with each cell as the text that is written there: 001 is an id, and not a number."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))  # of the process: it is only ever raised
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file, delimiter=delimiter, strict=True)
        for row in table:
            if None in row or None in row.values():
                raise csv.Error(
                    f"line {table.line_num} does not have the {len(table.fieldnames or ())} cells of the header"
                )
            rows.append(row)
    return rows


def _matched(
    path: Path, rows: Sequence[dict[str, Any]], id_column: str | None, compared: Sequence[str], ids: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], set[int]]:
    """Find the row of each sample.

    Several rows may name one sample, also with different spellings of its path, if they agree.

    Args:
        path: of the table.
        rows: of the table.
        id_column: that names the samples. None: the rows belong to the samples in their order.
        compared: the columns in which the rows of one sample must agree.
        ids: of the samples.
    Returns: the row of each sample that has one; and the identities of all rows that name a sample.
    Raises: InputError for rows that name the same sample and differ.
    """
    by_number = {f"{path}:{number}": row for number, row in enumerate(rows, start=1)}
    if id_column is None:
        return by_number, {id(by_number[sample]) for sample in ids if sample in by_number}
    by_name, names_files = _by_name(path, rows, id_column)
    names = Counter(PurePath(_LINE.sub("", sample)).name for sample in ids)
    matched: dict[str, dict[str, Any]] = {}
    other_rows: dict[str, list[dict[str, Any]]] = {}
    for sample in ids:
        file = PurePath(_LINE.sub("", sample))
        tails = ["/".join(file.parts[start:]) for start in range(len(file.parts))]
        keys = [sample, *tails[:-1], *([file.name, file.stem] if names[file.name] == 1 else [])]
        if names_files:
            line = sample[len(str(file)) :] if _LINE.search(sample) else ""
            keys[1:1] = [f"{Path(file).resolve().as_posix()}{end}" for end in dict.fromkeys((line, ""))]
        matches = [row for key in dict.fromkeys(keys) for row in by_name.get(key, ())]
        if not matches and sample in by_number:
            matches = [by_number[sample]]
        if matches:
            matched[sample], *other_rows[sample] = matches
    best = {id(row) for row in matched.values()}
    used_rows = set(best)
    for sample, row in matched.items():
        for other_row in other_rows[sample]:
            if id(other_row) in best:  # it names another file better than this one
                continue
            if (
                column := next((name for name in compared if str(row[name]) != str(other_row[name])), None)
            ) is not None:
                raise InputError(
                    f"{path}: two rows name the sample {sample!r}, as {row[id_column]!r} and {other_row[id_column]!r}, "
                    f"and differ in the column {column}: {row[column]!r} and {other_row[column]!r}"
                )
            used_rows.add(id(other_row))
    return matched, used_rows


def _by_name(
    path: Path, rows: Sequence[dict[str, Any]], id_column: str
) -> tuple[dict[str, list[dict[str, Any]]], bool]:
    """Return the rows by the name of their sample; and whether some names are paths that had to be resolved.

    Absolute paths, and those with ``..``, which start at the working directory or at the folder of the table, are also
    known by the file that they lead to.
    """
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    has_resolved = False
    for row in rows:
        name = str(row[id_column])
        file = Path(name)
        spellings = {name: None, file.as_posix(): None}
        if file.is_absolute() or ".." in file.parts:
            has_resolved = True
            line = match[0] if (match := _LINE.search(name)) else ""
            file_path = Path(name.removesuffix(line))
            spellings |= {
                f"{(folder / file_path).resolve().as_posix()}{line}": None for folder in (Path(), path.parent)
            }
        for spelling in spellings:
            by_name[spelling].append(row)
    return by_name, has_resolved
