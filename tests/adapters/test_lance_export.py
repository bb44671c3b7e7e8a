"""A run is exported as a LanceDB database, which finds the nearest vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import layerzoo
from layerzoo.runs.export import export

TEXTS = ["the cat drinks", "the dog eats meat", "milk", "", "cat"]


def test_a_run_becomes_a_table_that_is_searched(tmp_path: Path) -> None:
    import lancedb

    model, layers = "toy/next-word", ["block.0", "head"]
    layerzoo.run(model, TEXTS, layer=layers, out=tmp_path / "run", shard_size=2)
    assert export(tmp_path / "run", "lance", tmp_path / "database") == 4
    table = lancedb.connect(str(tmp_path / "database")).open_table("features")
    features = layerzoo.extract(model, [text for text in TEXTS if text], layer=layers)
    assert table.count_rows() == 4
    rows = table.to_arrow().to_pylist()
    assert set(rows[0]) >= {"id", "block_0", "head"}
    np.testing.assert_array_equal([row["block_0"] for row in rows], features["block.0"])
    nearest = table.search(features["block.0"][1], vector_column_name="block_0").limit(1).to_list()
    assert nearest[0]["id"] == rows[1]["id"]
