"""Features as the tables and tensors of other libraries. Each is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from layerzoo.errors import MissingLibraryError, UsageError
from layerzoo.features.features import Features, Times, column_names, only_layer, sample_count, sample_shape

if TYPE_CHECKING:
    import torch

_SHOWN_ROWS = 5
_SHOWN_NUMBERS = 4


@contextmanager
def _library_for(method: str) -> Iterator[None]:
    """Raises: MissingLibraryError for a library that is not installed. method: of Features, which needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingLibraryError(error.name or str(error), needed_by=f"Features.{method}()") from error


def pandas_frame(features: Features) -> Any:
    """Return a ``pandas.DataFrame``: see :meth:`Features.to_pandas`."""
    with _library_for("to_pandas"):
        import pandas as pd
    index = pd.Index(features.ids, name="id", dtype=object)
    parts = []
    if features.start_s:
        parts.append(pd.DataFrame({"start_s": features.start_s, "end_s": features.end_s}, index=index))
    for name, times in _frame_times(features):
        parts.append(pd.DataFrame({name: pd.Series(list(map(np.array, times)), index=index, dtype=object)}))
    for layer, array in features.by_layer.items():
        if array.ndim == 2:
            parts.append(pd.DataFrame(array, index=index, columns=column_names(layer, array.shape[1])))
        else:
            parts.append(pd.DataFrame({layer: pd.Series(list(array), index=index, dtype=object)}))
    return pd.concat(parts, axis=1) if len(parts) > 1 else parts[0] if parts else pd.DataFrame(index=index)


def polars_frame(features: Features) -> Any:
    """Return a ``polars.DataFrame``: see :meth:`Features.to_polars`."""
    with _library_for("to_polars"):
        import polars as pl
    return pl.from_arrow(arrow_table(features))


def arrow_table(features: Features) -> Any:
    """Return a ``pyarrow.Table``: see :meth:`Features.to_arrow`."""
    import pyarrow as pa

    from layerzoo.features.parquet import to_table

    table = to_table(features)
    for name, times in _frame_times(features):
        table = table.append_column(name, pa.array(times, pa.list_(pa.float64())))
    return table


def _frame_times(features: Features) -> Iterator[tuple[str, Times]]:
    """Yield the columns with the times of frames: one for all layers that have frames where these share the times."""
    layers = [layer for layer, array in features.by_layer.items() if array.ndim != 2]
    times = {layer: of_layer for layer in layers if (of_layer := features.frame_times_s(layer))}
    if len(set(times.values())) == 1:
        yield "times_s", next(iter(times.values()))
    else:
        yield from ((f"{layer}_times_s", of_layer) for layer, of_layer in times.items())


def torch_tensor(features: Features, layer: str | None) -> torch.Tensor:
    """Return a ``torch.Tensor``: see :meth:`Features.to_torch`."""
    array = only_layer(features, "to_torch() without a name") if layer is None else features[layer]
    if sample_shape(array) is None:
        raise UsageError(
            f"the samples of layer {layer or features.layers[0]} differ in shape, and a tensor has one. Pool the "
            "layer, or convert them one by one: [torch.from_numpy(row.values) for row in features]"
        )
    with _library_for("to_torch"):
        import torch
    return torch.from_numpy(array)


def tensor_of(array: Any) -> torch.Tensor:
    """Return an array, a tensor, or a list of either as a tensor. The memory of an array is shared.

    Args:
        array: any array; the members of a list have the same shape.
    """
    import torch

    if isinstance(array, list | tuple) and array:
        return torch.stack([tensor_of(member) for member in array])
    return torch.as_tensor(array)


def cosines(rows: Any, columns: Any) -> torch.Tensor:
    """Return the cosine of the angle between each vector of a collection and each of another, (n, m) float32.

    Args:
        rows: (n, width), or (width,) for one vector.
        columns: (m, width), or (width,) for one vector.
    """
    import torch
    from torch.nn.functional import normalize

    unit_rows, unit_columns = (
        normalize(torch.atleast_2d(tensor_of(vectors).float()), dim=1) for vectors in (rows, columns)
    )
    return unit_rows @ unit_columns.T


def html(features: Features) -> str:
    """Return a table for a notebook: the model, each layer's shape, and the first numbers of the first samples."""
    heads = ["id", *(f"{layer} {_size(features, layer)}" for layer in features.layers)]
    lines = [f"<tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>"]
    for row in features[:_SHOWN_ROWS]:
        cells = [row.id, *(_numbers(array) for array in row.by_layer.values())]
        lines.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    if len(features) > _SHOWN_ROWS:
        lines.append(f"<tr>{'<td>…</td>' * len(heads)}</tr>")
    model = features.provenance.get("model")
    of = f" of {escape(str(model))}" if model else ""
    failed = f", {len(features.errors):,} failed" if features.errors else ""
    return f"<p>Features{of}: {sample_count(features)}{failed}</p><table>{''.join(lines)}</table>"


def _size(features: Features, layer: str) -> str:
    shape = sample_shape(features[layer])
    return "(shapes differ)" if shape is None else f"({', '.join(map(str, shape))})"


def _numbers(array: Any) -> str:
    first = ", ".join(f"{number:.3g}" for number in array.ravel()[:_SHOWN_NUMBERS])
    return f"{first}, …" if array.size > _SHOWN_NUMBERS else first
