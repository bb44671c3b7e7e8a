"""Samples that are listed before their features are extracted, so that their contents can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from layerzoo.errors import SampleError
from layerzoo.media.sample import Sample
from layerzoo.runtime.preprocess import Preprocessor


class ListedSamples(NamedTuple):
    """The samples of some inputs.

    Attributes:
        samples: in the order of the inputs.
        failed: the inputs that are not samples.
        passed_over: the files of another kind in folders.
    """

    samples: list[Sample]
    failed: list[SampleError]
    passed_over: Sequence[str]


def list_samples(preprocess: Preprocessor, inputs: Any, column: str | None, errors: str) -> ListedSamples:
    """List the samples of some inputs.

    Args:
        preprocess: of the model that takes them.
        inputs: as for :func:`layerzoo.extract`.
        column: the column of a table that holds the samples.
        errors: ``raise`` or ``skip``.
    Raises: SampleError, InputError.
    """
    samples = preprocess.samples(inputs, column=column)
    items = list(samples)
    failed = [item for item in items if isinstance(item, SampleError)]
    if failed and errors == "raise":
        raise failed[0]
    return ListedSamples([item for item in items if isinstance(item, Sample)], failed, samples.passed_over)


def numbered_error(error: SampleError, samples: Sequence[Sample]) -> SampleError:
    """Return the error of a sample that was extracted under its number, with its id.

    Args:
        error: whose id is a position.
        samples: in the order of the positions.
    """
    return type(error)(samples[int(error.id)].id, error.reason)
