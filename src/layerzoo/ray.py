"""Features as a step of a data pipeline: ``map_batches`` of Ray Data, and ``map`` of ``datasets``.

    rows = ray.data.read_parquet("tweets/").map_batches(
        ExtractBatch, fn_constructor_kwargs={"model": "starter/minilm-l6", "column": "text"}, batch_size=256,
        compute=ray.data.ActorPoolStrategy(size=4),
    )
    dataset.map(ExtractBatch("starter/minilm-l6", column="text"), batched=True, batch_size=256)

This module imports no Ray. A pipeline that is run again computes everything again; ``zoo run`` does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from layerzoo.errors import SampleError, UsageError

if TYPE_CHECKING:
    from layerzoo.features import Features
    from layerzoo.runtime.extraction import PreparedExtraction

__all__ = ["ExtractBatch"]


class ExtractBatch:
    """Adds features to batches of a table: for each layer a column with its name, and a column ``error``.

    The model is loaded at the first batch, once in each process. A sample that fails has features of nan, and the
    reason in ``error``; that of all others is None.
    """

    def __init__(self, model: str, *, column: str, errors: str = "skip", **options: Any) -> None:
        """Keep the settings.

        Args:
            model: the id of a model.
            column: the column of the table with the samples.
            errors: ``"skip"``, or ``"raise"`` for the first sample that fails.
            **options: further arguments of :func:`layerzoo.extract`: ``layer``, ``pool``, ``device`` and so on.
        Raises: UsageError for another value of ``errors``, and for windows, which are several rows of one sample.
        """
        if errors not in ("raise", "skip"):
            raise UsageError(f"errors={errors!r} is neither 'raise' nor 'skip'")
        if options.get("window") is not None and options.get("temporal_pool") in (None, "none"):
            raise UsageError("window= gives several rows for one sample: pass temporal_pool=, too, such as 'mean'")
        self.model, self.column, self.errors, self.options = model, column, errors, dict(options)
        self._extraction: PreparedExtraction | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings alone, for another process."""
        return {**self.__dict__, "_extraction": None}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with the columns of features.

        Args:
            batch: the columns by name, as lists or arrays.
        Raises: UsageError without the column; SampleError where ``errors`` is ``"raise"``.
        """
        if not isinstance(batch, Mapping):
            raise UsageError(
                f"a batch is a mapping of columns, and this is an object of type {type(batch).__name__}: "
                "batch_format='numpy'"
            )
        if self.column not in batch:
            raise UsageError(f"there is no column {self.column!r}. Columns: {', '.join(map(str, batch))}")
        values = [str(value) if isinstance(value, np.str_) else value for value in batch[self.column]]
        reasons: list[str | None] = [None] * len(values)
        positions: list[int] = []
        pieces: list[Features] = []
        for piece in self._pieces(values):
            for error in piece.errors:
                if self.errors == "raise":
                    raise SampleError(f"row {error.id} of the batch", error.reason)
                reasons[int(error.id)] = error.reason
            positions += map(int, piece.ids)
            pieces.append(piece)
        columns = {name: self._column(name, width, pieces, positions, len(values)) for name, width in self._widths()}
        return {**batch, **columns, "error": np.array(reasons, dtype=object)}

    def _pieces(self, values: list[Any]) -> Iterator[Features]:
        if not values:
            return
        extraction = self._prepared()
        preprocess = extraction.plan.backbone.preprocess
        yield from extraction.pieces(preprocess.samples(values, ids=list(map(str, range(len(values))))))

    def _widths(self) -> list[tuple[str, int | None]]:
        return list(self._prepared().widths.items())

    def _column(
        self, name: str, width: int | None, pieces: list[Features], positions: list[int], count: int
    ) -> np.ndarray[Any, Any]:
        """Return the column of a layer: (row, feature) float32, or arrays of the shapes of the samples."""
        arrays = [piece[name] for piece in pieces if len(piece)]
        widths = {array.shape[1] for array in arrays if array.dtype != object and array.ndim == 2}
        if width is None and len(widths) == 1 and all(array.ndim == 2 for array in arrays):
            width = widths.pop()
        if width is not None:
            column = np.full((count, width), np.nan, np.float32)
            if arrays:
                column[positions] = np.concatenate(arrays)
            return column
        cells = np.empty(count, dtype=object)
        for position, sample in zip(positions, (sample for array in arrays for sample in array), strict=True):
            cells[position] = sample
        return cells

    def _prepared(self) -> PreparedExtraction:
        if self._extraction is None:
            from layerzoo.runs.request import arguments_of, prepared

            self._extraction = prepared(arguments_of(self.model, self.options))
        return self._extraction
