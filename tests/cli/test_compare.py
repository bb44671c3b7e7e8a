"""zoo compare: facts and layers of models, next to each other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.cli.test_help import check
from tests.terminal import Zoo as Terminal

from layerzoo.cli.compare import Compared, _merged

Install = Callable[..., None]
Zoo = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def zoo(install: Install, zoo: Terminal, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Run a command in this process, 100 columns wide. Returns: exit code, standard output, standard error."""
    install("good")
    monkeypatch.setenv("COLUMNS", "100")
    return lambda line: zoo(*line.split())


def compared(zoo: Zoo, models: str) -> dict[str, Any]:
    code, out, err = zoo(f"compare {models} --format json")
    assert (code, err) == (0, "")
    return dict(json.loads(out))


def test_each_fact_has_a_value_for_each_model_and_is_marked_if_they_differ(zoo: Zoo) -> None:
    found = compared(zoo, "acme/shelf toy/next-word")
    facts = {row["fact"]: (row["values"], row["differs"]) for row in found["facts"]}
    assert found["models"] == ["acme/vit-shelf", "toy/next-word"]
    assert facts["modality"] == (["vision", "text"], True)
    assert facts["license"] == (["apache-2.0", "apache-2.0"], False)
    assert facts["layers"] == ([15, 2], True)
    assert facts["features"] == ([192, 3], True)


def test_layers_with_the_same_name_share_a_row(zoo: Zoo) -> None:
    layers = {row["layer"]: row for row in compared(zoo, "acme/vit-shelf toy/next-word")["layers"]}
    assert [value is None for value in layers["block.0"]["values"]] == [False, False]
    assert [value is None for value in layers["block.11"]["values"]] == [False, True]
    assert layers["block.0"]["values"][1] == {"depth": 0.5, "params": 24, "flops": 384, "shape": [8, 3]}


def test_rows_follow_the_execution_order_of_the_networks() -> None:
    assert _merged([["stem", "block.0", "norm"], ["stem", "block.0", "block.1", "norm", "head"]]) == [
        "stem", "block.0", "block.1", "norm", "head",
    ]  # fmt: skip


def test_a_model_compared_with_itself_has_no_differences(zoo: Zoo) -> None:
    found = compared(zoo, "acme/vit-shelf acme/shelf")
    assert not any(row["differs"] for row in (*found["facts"], *found["layers"]))
    assert zoo("compare acme/vit-shelf acme/shelf --differing --format jsonl")[1].count("\n") == 1


def test_different_values_that_are_equal_when_rounded_are_printed_in_full() -> None:
    params = Compared("fact", "params", [22_050_664, 22_050_665, None], ["22.1M", "22.1M", None])
    assert params.cells == ["22,050,664", "22,050,665", None]
    costs = {"depth": 0.5, "params": 1000, "flops": None}
    values = [{**costs, "shape": [4, 8]}, {**costs, "shape": [4, 9]}]
    layer = Compared("layer", "block.0", list(values), ["0.500 · 1k · ?"] * 2)
    assert layer.cells == ["0.5 · 1,000 · ? · 4×8", "0.5 · 1,000 · ? · 4×9"]
    assert Compared("layer", "block.0", [values[0]] * 2, ["0.500 · 1k · ?"] * 2).cells == ["0.500 · 1k · ?"] * 2


def test_json_lines_contain_the_models_and_then_the_rows(zoo: Zoo) -> None:
    models, *rows = map(json.loads, zoo("compare acme/vit-shelf toy/next-word --format jsonl")[1].splitlines())
    found = compared(zoo, "acme/vit-shelf toy/next-word")
    assert models == {"models": found["models"]}
    assert rows == found["facts"] + found["layers"]


def test_ids_of_the_compared_models_are_printed(zoo: Zoo) -> None:
    assert zoo("compare acme/shelf toy/next-word --format ids")[1] == "acme/vit-shelf\ntoy/next-word\n"


def test_an_unknown_model_has_the_usual_error(zoo: Zoo) -> None:
    code, out, err = zoo("compare toy/next-word acme/vit-shelff")
    assert (code, out) == (3, "")
    assert err.startswith("zoo: there is no model 'acme/vit-shelff'. Nearest: acme/vit-shelf")


def test_one_model_is_not_enough(zoo: Zoo) -> None:
    code, _, err = zoo("compare toy/next-word")
    assert (code, err.splitlines()[0]) == (2, "zoo compare: a comparison requires two models or more")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_equals_the_golden_file_at_several_widths(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = zoo("compare toy/next-word acme/vit-shelf acme/shelf-video --format table")
    assert code == 0
    assert max(map(len, out.splitlines())) <= width
    assert all(model in out for model in ("toy/next-word", "acme/vit-shelf", "acme/shelf-video"))
    check(f"compare_{width}", out + err)


def test_comparing_imports_nothing_heavy(zoo: Zoo) -> None:
    program = (
        "import sys\n"
        "from layerzoo.cli import main\n"
        "try:\n"
        "    main(['compare', 'acme/vit-shelf', 'toy/next-word', '--format', sys.argv[1]])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    subprocess.run([sys.executable, "-c", program, "ids"], capture_output=True, check=True)  # compiles the index
    for format_ in ("ids", "json", "jsonl"):
        command = [sys.executable, "-c", program, format_]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert not {"torch", "numpy", "timm", "transformers", "pydantic", "yaml", "rich"} & set(done.stderr.split())
