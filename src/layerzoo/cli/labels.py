"""Options for the labels and groups of samples, as `zoo sweep` and `zoo train` take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from layerzoo.heads import Labels

_FOLDERS = "folders"

groups_option = click.option(
    "--groups",
    metavar="COLUMN|REGEX",
    help="The source of each sample, all in one fold: a column of the table of labels, or a part of the path.",
)


def label_function(
    labels: str | None, inputs: tuple[str, ...], label_column: str | None, groups: str | None
) -> Callable[[Sequence[str]], Labels] | None:
    """Return the function that labels samples; None without labels.

    Args:
        labels: ``folders``, a table, or a column of the table that is the only input.
        inputs: of the command.
        label_column: of a table of labels.
        groups: a column of the table, or a regular expression for the ids of samples.
    Raises: InputError, UsageError.
    """
    from layerzoo.errors import InputError, UsageError

    if labels is None:
        if groups or label_column:
            raise UsageError("--groups and --label-column need --labels")
        return None
    from layerzoo.heads import labels_of_folders, read_labels
    from layerzoo.heads.labels import columns_of

    if labels == _FOLDERS:
        if label_column:
            raise UsageError("--label-column is a column of a table of labels, and --labels is folders")
        return partial(labels_of_folders, group_pattern=groups)
    table = Path(labels)
    if not table.is_file():
        own = Path(inputs[0]) if len(inputs) == 1 else None
        if own is None or not own.is_file() or labels not in columns_of(own):
            raise InputError(
                f"--labels {labels}: there is no such file, and no such column of the input. Next: a table, a column "
                "of a table that is the input, or --labels folders"
            )
        table, label_column = own, labels
    is_column = groups is not None and groups in columns_of(table)
    return partial(
        read_labels,
        table,
        label_column=label_column,
        group_column=groups if is_column else None,
        group_pattern=None if is_column else groups,
    )
