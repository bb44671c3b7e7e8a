"""list, search, show, layers and plugin: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.terminal import without_local_files_notice

import layerzoo
from layerzoo.cli import main
from layerzoo.registry import registry
from layerzoo.registry.index.search import FIELDS
from layerzoo.spec import ModelSpec, layer_from_dict

Install = Callable[..., None]
Zoo = Callable[..., tuple[int, str, str]]

PROGRAM = "import sys; from layerzoo.cli import main; main(sys.argv[1:])"


@pytest.fixture
def zoo(install: Install, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Run the command line in this process. Returns: exit code, standard output, standard error."""
    install("good")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_search_reports_words_that_no_model_has(zoo: Zoo) -> None:
    code, out, err = zoo("search", "supermarket", "quantum")
    assert (code, out.split()) == (0, ["acme/vit-shelf"])
    assert "No model matches all words; these match 'supermarket'." in err
    assert "Nearest: acme/vit-shelf" in zoo("search", "vit-shelg")[2]


def test_a_piped_list_contains_ids(zoo: Zoo) -> None:
    code, out, err = zoo("list", "--plugin", "acme")
    ids = ["acme/cat/one", "acme/cat/two", "acme/shelf-video", "acme/vit-shelf", "acme/vit-shelf.large"]
    assert (code, out.splitlines(), err) == (0, ids, "")


def test_json_contains_the_fields_of_an_entry(zoo: Zoo) -> None:
    _, out, _ = zoo("list", "--plugin", "acme", "--format", "json")
    entries = json.loads(out)
    assert [entry["id"] for entry in entries][:2] == ["acme/cat/one", "acme/cat/two"]
    assert all(tuple(entry) == FIELDS for entry in entries)
    _, lines, _ = zoo("list", "--plugin", "acme", "--format", "jsonl")
    assert [json.loads(line) for line in lines.splitlines()] == entries


def test_columns_select_and_order_the_keys_of_json(zoo: Zoo) -> None:
    _, out, _ = zoo("list", "--columns", "width,id", "--sort", "-width", "--limit", "1", "--format", "jsonl")
    assert list(json.loads(out)) == ["width", "id"]


def test_every_option_filters(zoo: Zoo) -> None:
    chosen = (
        "--size-px",
        "384x256",
        "--builder",
        "acme",
        "--min-params",
        "1M",
        "--max-width",
        "200",
        "--plugin",
        "acme",
    )
    assert zoo("list", *chosen)[1] == "acme/vit-shelf.large\n"
    assert zoo("list", "--width", "192", "--size-px", "224", "--sort", "-id", "--plugin", "acme")[1].split() == [
        "acme/vit-shelf", "acme/shelf-video",
    ]  # fmt: skip
    assert zoo("list", "--rate-hz", "44101")[1] == ""


def test_a_table_fits_the_terminal_and_keeps_complete_ids(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = zoo("list", "--plugin", "acme", "--format", "table")
    assert max(map(len, out.splitlines())) <= 60
    assert "acme/vit-shelf.large " in out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("search", "supermarket"), ["acme/vit-shelf"]),
        (("search", "catal", "too"), ["acme/cat/two"]),
        (("list", "--modality", "text", "--max-params", "1k"), ["acme/cat/one", "toy/next-word"]),
        (("list", "--modality", "vision", "--max-params", "5.8M", "--plugin", "acme-zoo"),
         ["acme/vit-shelf", "acme/vit-shelf.large"]),
        (("search", "shelf", "--license", "MIT"), []),
    ],
)  # fmt: skip
def test_search_words_and_filters_can_be_combined(zoo: Zoo, arguments: tuple[str, ...], found: list[str]) -> None:
    code, out, err = zoo(*arguments)
    assert (code, out.splitlines()) == (0, found)
    message = [line for line in err.splitlines() if not line.startswith("Omitted: ")]
    assert bool(message) == (not found)


def test_a_size_filter_reports_how_many_models_of_unknown_size_it_excludes(zoo: Zoo, home: Path) -> None:
    layers = {"modality": "text", "builder": "toy"}
    models = {"unsized": layers, "also-unsized": layers, "small": {**layers, "params": 10}}
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": models}), encoding="utf-8")
    for option in ("--max-params", "--min-params"):
        for format_ in ("ids", "json", "table"):
            err = zoo("list", "--plugin", "mine", option, "10", "--format", format_)[2]
            assert "Omitted: 2 models with an unknown number of parameters." in err
    assert "Left out" not in zoo("list", "--plugin", "mine")[2]
    assert registry().unsized(plugin="mine", max_params=10) == 2
    assert registry().unsized(plugin="mine", max_params=10, modality="vision") == registry().unsized() == 0
    assert [spec.id for spec in layerzoo.models(plugin="mine", max_params=10)] == ["mine/small"]


def test_show_prints_the_complete_declaration(zoo: Zoo) -> None:
    _, out, _ = zoo("show", "acme/shelf")
    spec = ModelSpec.from_json(out)
    assert (spec.id, spec.aliases, len(spec.layers)) == ("acme/vit-shelf", ("acme/shelf",), 15)
    _, table, _ = zoo("show", "acme/vit-shelf", "--format", "table")
    assert "size_px [224, 224]" in table


def test_a_unique_suffix_of_an_id_is_accepted(zoo: Zoo) -> None:
    assert zoo("show", "two", "--format", "ids")[1] == "acme/cat/two\n"


def test_an_ambiguous_suffix_lists_the_matching_ids(zoo: Zoo, home: Path) -> None:
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels: {two: {modality: text, builder: toy}}\n", encoding="utf-8"
    )
    code, _, err = zoo("show", "two")
    assert (code, err) == (3, "zoo: 'two' is ambiguous: acme/cat/two, mine/two\n")


def test_declared_layers_are_listed_with_a_hint_to_trace(zoo: Zoo) -> None:
    code, out, err = zoo("layers", "acme/vit-shelf", "--format", "jsonl")
    layers = [layer_from_dict(json.loads(line)) for line in out.splitlines()]
    assert code == 0
    assert [layer.name for layer in layers][:2] == ["stem", "block.0"]
    assert layers[-2].axes == ("batch", "token", "channel")
    assert "zoo layers --trace acme/vit-shelf" in err


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("block.-1", ["block.11"]), ("block.{3..4}", ["block.3", "block.4"]), ("last", ["block.11"])],
)
def test_a_pattern_selects_layers(zoo: Zoo, pattern: str, names: list[str]) -> None:
    assert zoo("layers", "acme/vit-shelf", pattern)[1].split() == names


def test_the_table_of_layers_contains_shapes_and_costs(zoo: Zoo) -> None:
    _, out, _ = zoo("layers", "acme/vit-shelf", "--format", "table")
    assert "197×192" in out
    assert "  token channel" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "acme/vit-shelff"), 3, "zoo: there is no model 'acme/vit-shelff'. Nearest: acme/vit-shelf"),
        (("layers", "acme/vit-shelf", "blok.3"), 3, "zoo: acme/vit-shelf has no layer 'blok.3'. Nearest: block.3"),
        (("list", "--plugin", "acne"), 3, "zoo: there is no plugin 'acne'. Nearest: acme"),
        (("list", "--modality", "sound"), 2, "'sound' is not one of"),
        (("list", "--max-params", "many"), 2, "is not a number of parameters such as 500k"),
        (("lost",), 2, "No such command 'lost'. Nearest: list."),
        (("search",), 2, "Missing argument"),
        (("plugin", "show", "acne"), 3, "no plugin 'acne'"),
    ],
)
def test_a_mistake_gives_one_message_and_its_exit_code(
    zoo: Zoo, arguments: tuple[str, ...], code: int, words: str
) -> None:
    found, out, err = zoo(*arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_problems_in_files_are_reported_and_other_models_still_work(zoo: Zoo, home: Path) -> None:
    (home / "registry.yaml").write_text("layerzoo: 1\nmodels: {net: {modality: text}}\n", encoding="utf-8")
    code, out, err = zoo("list", "--plugin", "toy")
    assert (code, out) == (0, "toy/next-word\n")
    assert err == "1 problem in registry files, see: zoo doctor\n"
    code, _, err = zoo("show", "mine/net")
    assert code == 2
    assert f"{home}/registry.yaml:2:10: the key 'builder' is missing" in err


def test_every_command_has_help(zoo: Zoo) -> None:
    _, out, _ = zoo("--help")
    assert all(verb in out for verb in ("list", "search", "show", "layers", "extract", "plugin", "doctor"))
    for verb in ("list", "search", "show", "layers", "doctor"):
        assert zoo(verb, "--help")[0] == 0


# ---------------------------------------------------------------- new interpreters


def test_closing_the_pipe_early_is_no_error(zoo: Zoo, home: Path) -> None:
    models = "".join(f"  net{number}: {{modality: text, builder: toy}}\n" for number in range(5000))
    (home / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n{models}", encoding="utf-8")
    command = [sys.executable, "-c", PROGRAM, "list", "--format", "jsonl"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert without_local_files_notice(child.stderr.read().decode()) == ""
    child.wait()
