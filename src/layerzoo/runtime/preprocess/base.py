"""The preprocessing of all modalities: from a raw sample to the rows that a network takes.

``rows`` decodes and transforms one sample (with numpy only, so that several threads can run next to the network),
``collate`` stacks rows to a batch, ``example`` makes a batch of any size to trace a network with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SampleError, UsageError
from layerzoo.media import dataset
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.samples import Samples, samples
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow, collate
from layerzoo.spec import Modality


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample, ready for the network."""

    rows: Iterable[InputRow]
    """A sequence; for a long recording an iterator that decodes on demand, and may raise a SampleError."""
    report: Mapping[str, int] = field(default_factory=dict)
    """Events that a user may want to count, such as {'truncated': 1}."""


class Preprocessor(ABC):
    """Convert samples to rows and rows to batches. Can be used alone: ``backbone.preprocess(["photo.jpg"])`` is a
    Batch."""

    modality: Modality
    variable_length = False
    """Whether samples differ in length."""
    uneven_rows = False
    """Whether rows differ in size too, so that sorting them saves padding."""
    cls_token = False
    """Whether the first position of every row is a classification token."""
    knows_special_tokens = False
    """Whether the special tokens of a text can be excluded from poolings."""
    rows_are_samples = False
    """Whether each row of a sample counts as a sample in the network, like frames that run through it one by one."""
    takes_images = False
    """Whether each row is one image."""
    overlap: int | None = None
    """Number of tokens that the chunks of a long text share; None without chunks."""
    temporal_pool: str | None = None
    """The declared pooling of the vectors of a sample's rows, which are a sequence in time: the frames of a video, the
    windows of a recording, the chunks of a text. None: all positions of all rows are pooled together."""
    splits_samples = False
    """Whether a sample may have several rows."""
    sequence_axis = "token"
    """Name of the axis of a sequence in this modality."""

    def samples(self, inputs: Any, **options: Any) -> Samples:
        """Return the samples that the inputs name. Options, errors: :func:`layerzoo.media.samples.samples`."""
        return samples(inputs, self.modality, **options)

    @abstractmethod
    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        """Preprocess one sample.

        Args:
            source: a path or any in-memory form.
            decoder: decodes paths and encoded bytes, by default in this process.
        Raises: SampleError.
        """

    @abstractmethod
    def example(self, count: int, enlargement: Enlargement | None = None) -> Batch | None:
        """Make a batch of arbitrary values at the model's input size.

        Args:
            count: number of rows.
            enlargement: the dimension that is twice as large, or `all`.
        Returns: None where the input has no such dimension.
        """

    def collate(self, rows: Sequence[InputRow]) -> Batch:
        """Stack rows to a batch."""
        return collate(rows)

    def bucket(self, row: InputRow) -> Any:
        """Return a key of a row. Rows with equal keys may share a batch."""
        return None

    def __call__(self, inputs: Any) -> Batch:
        """Preprocess all inputs as one batch.

        Raises: SampleError at the first sample that cannot be read; UsageError for inputs that may not share a
        batch.
        """
        rows: list[InputRow] = []
        for sample in self.samples(inputs):
            if isinstance(sample, SampleError):
                raise sample
            rows.extend(self.rows(sample.source).rows)
        if len({self.bucket(row) for row in rows}) > 1 and not self._may_pad(rows):
            raise UsageError(
                "these inputs differ in size, and padding them to one size would change their features: make a batch "
                "of each size. layerzoo.extract does so automatically"
            )
        return self.collate(rows)

    def _may_pad(self, rows: Sequence[InputRow]) -> bool:
        """Return whether rows of several buckets may share a batch, although that is not the fastest way to run
        them."""
        return False


def is_tensor(source: Any) -> bool:
    import torch

    return isinstance(source, torch.Tensor)


def as_float32(values: Any) -> NDArray[np.float32]:
    """Convert a tensor or an array to float32. Raises: SampleError for complex numbers."""
    array = np.asarray(dataset.to_numpy(values) if is_tensor(values) else values)
    check_real(array)
    return array.astype(np.float32, copy=False)


def check_real(array: NDArray[Any]) -> None:
    """Raises: SampleError for complex numbers, of which a conversion would drop the imaginary part."""
    if array.dtype.kind == "c":
        raise SampleError(
            "array",
            f"complex numbers of type {array.dtype}, and this network takes real ones. Next: pass their real and "
            "imaginary parts, or their absolute values",
        )
