"""`zoo registry`: output as text, as JSON and as annotations of a workflow, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.terminal import Zoo

BROKEN = (
    "layerzoo: 1\nmodels:\n  a: {modality: text, builder: toy, licence: mit}\n  b: {modality: text, base: mine/c}\n"
)


def test_the_text_output_marks_the_line_and_counts_problems_on_standard_error(zoo: Zoo, home: Path) -> None:
    (home / "registry.yaml").write_text(BROKEN, encoding="utf-8")
    (home / "fine.yaml").write_text("layerzoo: 1\n", encoding="utf-8")
    code, out, err = zoo("registry", "check", "registry.yaml", "fine.yaml")
    assert code == 1
    assert err == "2 problems in 1 file\n"
    assert out.splitlines()[1:3] == [
        "    3 |   a: {modality: text, builder: toy, licence: mit}",
        "      |                                     ^^^^^^^",
    ]
    assert out.startswith("registry.yaml:3:37: unknown key 'licence'. Nearest: license. ")


def test_a_file_without_problems_prints_nothing(zoo: Zoo, home: Path) -> None:
    (home / "fine.yaml").write_text("layerzoo: 1\n", encoding="utf-8")
    assert zoo("registry", "check", "fine.yaml") == (0, "", "No problems in 1 file\n")
    assert zoo("registry", "check", "fine.yaml", "--format", "json") == (0, "[]\n", "")
    assert zoo("registry", "check", "fine.yaml", "--format", "github") == (0, "", "")


def test_the_json_output_has_stable_keys(zoo: Zoo, home: Path) -> None:
    (home / "registry.yaml").write_text(BROKEN, encoding="utf-8")
    code, out, _ = zoo("registry", "check", "registry.yaml", "--format", "json")
    first, second = json.loads(out)
    assert code == 1
    assert list(first) == [
        "path", "line", "column", "length", "text", "begin", "code", "message", "nearest", "model",
    ]  # fmt: skip
    assert first["nearest"] == ["license"]
    assert (second["model"], second["code"], second["line"], second["column"]) == ("mine/b", "reference", 4, 29)


def test_the_github_output_escapes_annotations(zoo: Zoo, home: Path) -> None:
    (home / "50%, a:b.yaml").write_text("layerzoo: 1\nmodels:\n  100%: {modality: text}\n", encoding="utf-8")
    code, out, err = zoo("registry", "check", "50%, a:b.yaml", "--format", "github")
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "::error file=50%25%2C a%3Ab.yaml,line=3,col=3,endColumn=7,title=missing-key::"
        "the key 'builder' is missing: it says who makes the network",
        "::error file=50%25%2C a%3Ab.yaml,line=3,col=3,endColumn=7,title=wrong-value::"
        "'100%25' is not a valid id: letters, digits and . _ + @ : ~ = - between slashes",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.yaml"], 3, "there is no file none.yaml"),
        (["-"], 2, "Give a path"),
        ([], 2, "Missing argument 'FILE...'"),
        (["registry.yaml", "--namespace", "Shop!"], 2, "is not a valid namespace"),
        (["models.jsonl"], 2, "is a catalogue"),
    ],
)
def test_wrong_usage_and_problems_have_different_exit_codes(
    zoo: Zoo, home: Path, arguments: list[str], code: int, words: str
) -> None:
    for name in ("registry.yaml", "models.jsonl"):
        (home / name).touch()
    found, out, err = zoo("registry", "check", *arguments)
    assert (found, out) == (code, "")
    assert words in err


def test_the_schema_is_printed_for_editors(zoo: Zoo) -> None:
    code, out, err = zoo("registry", "schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
