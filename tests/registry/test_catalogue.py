"""A catalogue with a header: the fields that all lines share, and layers as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerzoo.registry.format.catalogue import catalogue_lines, compile_catalogue, compile_models
from layerzoo.registry.format.diagnostics import Diagnostic
from layerzoo.registry.format.layer_table import packed
from layerzoo.registry.format.source import RegistrySource
from layerzoo.registry.index.models import inherit
from layerzoo.spec import AXES, Layer, ModelSpec

Compile = Callable[..., tuple[list[ModelSpec], list[Diagnostic]]]

VERSIONS = {"torch": "2.14.1"}
HEAD = {
    "layerzoo": 1,
    "traced_with": VERSIONS,
    "common": {"modality": "vision", "builder": "acme"},
    "columns": ["name", "module", "axes", "shape", "params", "flops"],
}
NET = {"id": "net", "flops": 10, "layers": [["block.{0..1}", "blocks.{0..1}", "BTC", [5, 3], [4, 2], [2, 3]]]}


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Compile lines as the catalogue of acme. Returns: the valid models, and the diagnostics."""

    def compile_(*lines: Any) -> tuple[list[ModelSpec], list[Diagnostic]]:
        path = tmp_path / "models.jsonl"
        text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        path.write_text(text, encoding="utf-8")
        found = list(compile_catalogue(RegistrySource(str(path), "plugin", "acme", "acme-zoo")))
        return (
            [ModelSpec.from_dict(row) for row in found if isinstance(row, dict)],
            [row for row in found if isinstance(row, Diagnostic)],
        )

    return compile_


def marked(problem: Diagnostic) -> str:
    begin = problem.column - problem.begin
    return problem.text[begin : begin + problem.length]


# ---------------------------------------------------------------- shared fields


def test_the_header_declares_fields_shared_by_all_lines(compiled: Compile) -> None:
    (net, other), problems = compiled(HEAD, NET, {"id": "other", "modality": "text"})
    assert problems == []
    assert (net.id, net.modality, net.builder) == ("acme/net", "vision", "acme")
    assert (other.modality, other.builder) == ("text", "acme")


def test_layers_are_rows_in_the_order_of_the_columns(compiled: Compile) -> None:
    ((net,), _) = compiled(HEAD, NET)
    axes = ("batch", "token", "channel")
    assert net.layers == (
        Layer(name="block.0", module="blocks.0", axes=axes, shape=(5, 3), params=4, flops=2, depth=0.2),
        Layer(name="block.1", module="blocks.1", axes=axes, shape=(5, 3), params=6, flops=5, depth=0.5),
    )


def test_columns_can_be_selected(compiled: Compile) -> None:
    head = {**HEAD, "columns": ["name", "module", "prefix_tokens"]}
    ((net,), problems) = compiled(head, {"id": "net", "layers": [["norm", "norm", 1], ["head", ""]]})
    assert problems == []
    assert net.layers == (Layer(name="norm", module="norm", prefix_tokens=1), Layer(name="head", module=""))


def test_traced_models_record_the_library_version(compiled: Compile) -> None:
    (net, bare), _ = compiled(HEAD, NET, {"id": "bare"})
    assert net.traced_with.to_dict() == VERSIONS
    assert bare.traced_with.to_dict() == {}


def test_inherited_layers_include_their_library_version() -> None:
    base = {"id": "acme/net", "layers": [{"name": "norm", "module": "norm"}], "traced_with": VERSIONS}
    assert inherit({"id": "mine/net", "modality": "vision"}, base)["traced_with"] == VERSIONS
    own = {"id": "mine/net", "modality": "vision", "layers": [{"name": "norm", "module": "ln"}]}
    assert "traced_with" not in inherit(own, base)


def test_aliases_are_fields_of_their_models_line(compiled: Compile) -> None:
    ((net,), problems) = compiled(HEAD, {**NET, "aliases": ["short", "acme/shorter"]})
    assert problems == []
    assert net.aliases == ("acme/short", "acme/shorter")


def test_a_line_can_declare_layers_by_name(compiled: Compile) -> None:
    ((net,), _) = compiled(HEAD, {"id": "net", "layers": {"norm": "ln"}})
    assert net.layers == (Layer(name="norm", module="ln"),)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"layerzoo": 2, "novelty": 1}, "2", "this is version 2 of the format, and this layerzoo reads 1. Next: pip"),
        ({"layerzoo": "1"}, '"1"', "layerzoo: a whole number is wanted here"),
        ({"novelty": 1}, '"novelty"', "unknown key 'novelty'. Possible: layerzoo, traced_with, common, columns"),
        ({"traced_with": {"torch": 2}}, "2", "traced_with.torch: text is wanted here, not 2"),
        ({"common": {"builder": "A B"}}, '"A B"', "common.builder: 'A B' is not a builder's name"),
        ({"common": {"licence": "mit"}}, '"licence"', "common: unknown key 'licence'. Nearest: license"),
        ({"common": {"id": "net"}}, '"id"', "common: unknown key 'id'"),
        ({"columns": ["module", "name"]}, '["module", "name"]', "columns are name, module, then others"),
        ({"columns": []}, "[]", "columns are name, module, then others"),
        ({"columns": ["name", "module", "axes", "axes"]}, '["name", "module", "axes", "axes"]', "none of them twice"),
        ({"columns": ["name", "module", "axis"]}, '"axis"', "columns.2: there is no column 'axis'. Nearest: axes"),
    ],
    ids=str,
)
def test_a_mistake_in_the_header_invalidates_the_whole_file(
    compiled: Compile, change: dict[str, Any], place: str, words: str
) -> None:
    models, (problem,) = compiled({**HEAD, **change}, NET)
    assert models == []
    assert (problem.line, marked(problem)) == (1, place)
    assert words in problem.message


def test_a_truncated_header_invalidates_the_whole_file(compiled: Compile) -> None:
    models, (problem,) = compiled(json.dumps(HEAD)[:-9], NET, {"id": "other"})
    assert models == []
    assert str(problem).partition(": ")[2].startswith("not one JSON object")


@pytest.mark.parametrize(
    ("row", "place", "words"),
    [
        (["stem"], None, "layers: row 2: a row of layers is a list of 2 to 6 values: name, module, axes, shape"),
        ("stem", None, "layers: row 2: a row of layers is a list"),
        ([0, "conv"], None, "layers: row 2: a row of layers is a list"),
        (["stem", "conv", *[1] * 5], None, "layers: row 2: a row of layers is a list"),
        (["block.{0..1}", "x"], None, "layers: row 2: the layer 'block.{0..1}' occurs twice in it"),
        (["block.1", "x"], '"block.1"', "the layer 'block.1' is declared twice"),
        (["stem!", "conv"], '"stem!"', "'stem!' is not a layer's name"),
        (["stem", "co nv"], '"stem"', "layers.stem: 'co nv' is not a module"),
        (["stem", 3], "3", "layers.stem.module: text is wanted here, not 3"),
        (["stem", "conv", "BQ"], '"BQ"', "layers.stem.axes.1: there is no axis 'Q'"),
        (["stem", "conv", "BCC"], '"BCC"', "the axes 'batch channel channel' name one twice"),
        (["stem", "conv", "BC", [3, 3]], '"stem"', "layers.stem: the shape [3, 3] does not fit the axes"),
        (["stem", "conv", "BC", [3, 0]], "0", "layers.stem.shape.1: 0 is not possible here"),
        (["stem", "conv", "BC", [3], -1], "-1", "layers.stem.params: a cost is a whole number from 0"),
        (["stem", "conv", "BC", [3], [1, 2, 3]], "[1, 2, 3]", "layers.stem.params: a cost is a whole number from 0"),
        (["\U0001f600", "conv"], None, "is not a layer's name"),
    ],
    ids=str,
)
def test_a_mistake_in_a_table_invalidates_its_line_and_is_marked_in_its_row(
    compiled: Compile, row: Any, place: str | None, words: str
) -> None:
    (other,), (problem,) = compiled(HEAD, {**NET, "layers": [*NET["layers"], row]}, {**NET, "id": "other"})
    assert other.id == "acme/other"
    assert (problem.line, problem.model) == (2, "acme/net")
    assert words in problem.message
    if place is not None:
        assert marked(problem) == place


@pytest.mark.parametrize(
    ("aliases", "place", "words"),
    [
        (["b", "b"], '"b"', "aliases.1: the alias 'acme/b' is declared a second time here"),
        (["b", "taken"], '"taken"', "aliases.1: the alias 'acme/taken' is declared a second time here"),
        (["acme/taken"], '"acme/taken"', "aliases.0: the alias 'acme/taken' is declared a second time here"),
        ("b", '"b"', "aliases: 'b' is not a list of ids"),
        (["a b"], '["a b"]', "aliases: a list is not a list of ids"),
        ([1], "[1]", "is not a list of ids"),
    ],
    ids=str,
)
def test_a_mistake_in_aliases_invalidates_its_line(compiled: Compile, aliases: Any, place: str, words: str) -> None:
    (taken,), (problem,) = compiled(HEAD, {"id": "taken-by", "aliases": ["taken"]}, {**NET, "aliases": aliases})
    assert taken.id == "acme/taken-by"
    assert (problem.line, marked(problem)) == (3, place)
    assert words in problem.message


# ---------------------------------------------------------------- writing


def test_a_written_catalogue_is_read_back_unchanged(compiled: Compile) -> None:
    layers = [
        Layer(name=f"block.{i}", module=f"b.{i}", axes=AXES, shape=tuple(range(1, len(AXES))), flops=i, depth=i / 9)
        for i in range(2)
    ]
    layers.append(Layer(name="norm", module="ln", at="input", output="hidden", call=2, params=7, flops=9, depth=1.0))
    common = {"modality": "vision", "builder": "acme"}
    models = [
        {"id": "z", **common, "layers": packed(layers), "flops": 9, "aliases": ["zett"], "summary": "Größe"},
        {"id": "a", **common, "modality": "text", "args": {"depth": 3}},
    ]
    text = "".join(catalogue_lines(models, common=common, traced_with=VERSIONS))
    (first, last), problems = compiled(*text.splitlines())
    assert problems == []
    assert first == ModelSpec.from_dict({"id": "acme/a", "modality": "text", "builder": "acme", "args": {"depth": 3}})
    assert (last.layers[-1], last.summary, last.aliases) == (layers[-1], "Größe", ("acme/zett",))
    assert [layer.axes for layer in last.layers[:2]] == [AXES, AXES]
    assert last.traced_with.to_dict() == VERSIONS


def test_the_file_does_not_depend_on_the_order_of_models() -> None:
    models = [{"id": "b", "args": {}, "summary": "B"}, {"summary": "A", "id": "a"}]
    texts = {"".join(catalogue_lines(each, common={}, traced_with={})) for each in (models, models[::-1])}
    assert len(texts) == 1


def test_models_are_checked_as_lines_before_they_are_written() -> None:
    source = RegistrySource("models.jsonl", "plugin", "acme", "acme-zoo")
    fine, problem = compile_models([{"id": "a", "modality": "text", "builder": "b"}, {"id": "a"}], source)
    assert isinstance(fine, dict)
    assert isinstance(problem, Diagnostic)
    assert "is declared a second time here" in problem.message
