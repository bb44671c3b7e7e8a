"""Layers whose rows are the objects that a network finds, of which images have different numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import layerzoo
from layerzoo.errors import NoObjectsError, PoolingError
from layerzoo.spec import Layer


class PositiveRows(nn.Module):
    """(batch, 5, 4) → (batch, object, 4): the rows whose first number is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.objects = nn.Identity()

    def forward(self, rows: Tensor) -> Tensor:
        if rows.is_meta:
            found: Tensor = self.objects(rows * self.weight)
            return found
        chosen = [(row * self.weight)[row[:, 0] > 0] for row in rows]
        padded: Tensor = self.objects(pad_sequence(chosen, batch_first=True, padding_value=torch.nan))
        return padded


@pytest.fixture
def backbone() -> layerzoo.Backbone:
    layer = Layer(name="query.found", module="objects", axes=("batch", "object", "channel"))
    return layerzoo.wrap(PositiveRows(), layers=[layer], example=torch.rand(2, 5, 4))


@pytest.fixture
def samples() -> Tensor:
    """Samples with 5, 2 and no rows to find."""
    rows = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    rows[:, :, 0] = torch.tensor([[1, 2, 3, 4, 5], [-1, 2, -3, 4, -5], [-1, -2, -3, -4, -5]])
    return rows


def expected(samples: Tensor) -> list[Tensor]:
    return [rows[rows[:, 0] > 0] for rows in samples]


def test_unpooled_features_are_the_objects_of_each_sample(backbone: layerzoo.Backbone, samples: Tensor) -> None:
    found = layerzoo.extract(backbone, samples, pool="none")
    assert [rows.shape for rows in found.values] == [(5, 4), (2, 4), (0, 4)]
    for rows, own in zip(found.values, expected(samples), strict=True):
        np.testing.assert_array_equal(rows, own)


@pytest.mark.parametrize("ending", ["parquet", "npz", "safetensors"])
def test_they_can_be_saved(backbone: layerzoo.Backbone, samples: Tensor, ending: str, tmp_path: Path) -> None:
    found = layerzoo.extract(backbone, samples, pool="none")
    found.save(tmp_path / f"found.{ending}")
    read = layerzoo.Features.load(tmp_path / f"found.{ending}").values
    assert all(np.array_equal(rows, own) for rows, own in zip(read, found.values, strict=True))


@pytest.mark.parametrize("pool", ["mean", "max", "std"])
def test_a_pooling_is_over_the_objects_of_the_sample(backbone: layerzoo.Backbone, samples: Tensor, pool: str) -> None:
    own = {
        "mean": lambda rows: rows.mean(0),
        "max": lambda rows: rows.amax(0),
        "std": lambda rows: rows.std(0, unbiased=False),
    }[pool]
    found = layerzoo.extract(backbone, samples[:2], pool=pool)
    np.testing.assert_allclose(found.values, torch.stack([own(rows) for rows in expected(samples[:2])]), rtol=1e-6)


def test_a_sample_without_objects_is_named(backbone: layerzoo.Backbone, samples: Tensor) -> None:
    for batch in (samples, samples[2:]):
        with pytest.raises(NoObjectsError, match=r"no objects are found .*query\.found.*pool='none'"):
            layerzoo.extract(backbone, batch, pool="mean")
        skipped = layerzoo.extract(backbone, batch, pool="max", errors="skip")
        assert [type(error) for error in skipped.errors] == [NoObjectsError]
        assert skipped.values.shape == (len(batch) - 1, 4)


def test_vectors_of_objects_are_normalized_one_by_one(backbone: layerzoo.Backbone, samples: Tensor) -> None:
    found = layerzoo.extract(backbone, samples, pool="none", normalize=True)
    np.testing.assert_allclose(np.linalg.norm(found.values[0], axis=1), 1, rtol=1e-6)


def test_a_number_of_values_that_varies_is_not_flattened(backbone: layerzoo.Backbone, samples: Tensor) -> None:
    with pytest.raises(PoolingError, match=r"differ in the number of objects.*Possible here: mean, max"):
        layerzoo.extract(backbone, samples, pool="flatten")
