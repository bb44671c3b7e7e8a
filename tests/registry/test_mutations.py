"""Any change to a registry file gives models and diagnostics, and never a traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from layerzoo.cli import main
from layerzoo.registry.format.catalogue import compile_catalogue
from layerzoo.registry.format.compile import compile_registry
from layerzoo.registry.format.diagnostics import MEANINGS, Diagnostic
from layerzoo.registry.format.source import RegistrySource
from layerzoo.spec import ModelSpec

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "registry.yaml",
    *sorted(ROOT.glob("plugins/*/src/*/registry.yaml")),
    ROOT / "tests" / "plugins_on_disk" / "good" / "acme_zoo" / "registry.yaml",
]
CATALOGUE = ROOT / "tests" / "plugins_on_disk" / "good" / "acme_zoo" / "models.jsonl"
SETTINGS = settings(max_examples=60)

# Values that surprise readers of YAML.
_ODD = """
    no on yes 010 0x1F 1:30 1_000 .inf .nan 2024-01-01 ~ null true 1e999 -0 '' "" [] {} [[]] *x &x !!str !x <<: ? - | >
    % @ ` # --- ... "\\ud800" é 漢字 \U0001f600
"""
_LONG = ["9" * 40, "9" * 5000, "[" * 200, "{a: " * 60, "x" * 3000]
_BREAKING = ["\ufeff", "\x00", "\x85", "\u2028", "\x1b[2J", "\t", "\r\n", "\r", "\n\n", "a: b: c", "- a", ": x", ""]
ODD = st.sampled_from([*_ODD.split(), *_LONG, *_BREAKING])

_KEYS = [
    "layerzoo",
    "models",
    "aliases",
    "disable",
    "requires",
    "net",
    "mine/net",
    "modality",
    "builder",
    "layers",
    "<<",
]
_MODEL_KEYS = ["modality", "builder", "args", "layers", "weights", "preprocess", "base", "x"]


@cache
def _bytes(file: Path) -> bytes:
    return file.read_bytes()


@st.composite
def mutated(draw: st.DrawFn, file: Path | None = None) -> bytes:
    """Return a valid file after one to four changes to its bytes, lines or values."""
    text = bytearray(_bytes(file or draw(st.sampled_from(FILES))))
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.sampled_from([_flipped, _cut, _rearranged, _indented, _revalued]))
        text = bytearray(change(draw, bytes(text)))
    return bytes(text)


def _flipped(draw: st.DrawFn, text: bytes) -> bytes:
    at = draw(st.integers(0, max(len(text) - 1, 0)))
    return text[:at] + bytes([draw(st.integers(0, 255))]) + text[at + 1 :]


def _cut(draw: st.DrawFn, text: bytes) -> bytes:
    at = draw(st.integers(0, len(text)))
    return text[:at] + text[at + draw(st.integers(1, 40)) :]


def _rearranged(draw: st.DrawFn, text: bytes) -> bytes:
    lines = text.splitlines(keepends=True) or [b""]
    one, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(["drop", "double", "swap"])):
        case "drop":
            del lines[one]
        case "double":
            lines.insert(other, lines[one])
        case _:
            lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _indented(draw: st.DrawFn, text: bytes) -> bytes:
    lines = text.splitlines(keepends=True) or [b""]
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] = draw(st.sampled_from([b"  ", b" ", b"\t", b""])) + lines[at].lstrip(b" ")
    return b"".join(lines)


def _revalued(draw: st.DrawFn, text: bytes) -> bytes:
    places = list(re.finditer(rb"(?<=[:,\[{] )[^\s,\]}]+|[\w.-]+(?=:)", text))
    if not places:
        return text
    place = draw(st.sampled_from(places))
    return text[: place.start()] + draw(ODD).encode() + text[place.end() :]


yaml_like = st.lists(
    st.builds(
        lambda indent, key, value: f"{'  ' * indent}{key}: {value}",
        st.integers(0, 4),
        st.sampled_from(_KEYS) | ODD,
        st.sampled_from(["", "1", "text", "toy", "mine/net", "{a: b}", "[a]"]) | ODD,
    ),
    max_size=12,
).map(lambda lines: "\n".join(lines).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


def _compiled(
    path: Path, text: bytes, compile_: Callable[[RegistrySource], Any]
) -> tuple[dict[str, Any], list[Diagnostic]]:
    """Return models and diagnostics of a text, after checking that they are valid."""
    path.write_bytes(text)
    rows = list(compile_(RegistrySource(str(path), "plugin", "acme", "acme-zoo")))
    models = {row["id"]: row for row in rows if isinstance(row, dict)}
    for model in models.values():
        if "base" not in model:
            assert ModelSpec.from_dict(model).id == model["id"]
    diagnostics = [row for row in rows if isinstance(row, Diagnostic)]
    lines = re.split(r"\r\n|\r|\n", text.decode("utf-8", "replace").removeprefix("\ufeff"))
    for each in diagnostics:
        _check_place(each, lines)
    return models, diagnostics


def _check_place(diagnostic: Diagnostic, lines: list[str]) -> None:
    line = lines[diagnostic.line - 1]
    assert 1 <= diagnostic.column <= max(len(line), 1)
    assert diagnostic.length >= 1
    assert diagnostic.column - 1 + diagnostic.length <= max(len(line), 1)
    assert diagnostic.text == line[diagnostic.begin - 1 :][: len(diagnostic.text)]
    assert diagnostic.text == line or len(diagnostic.text) == 120 or diagnostic.begin > 1
    assert diagnostic.code in MEANINGS
    assert "\n" not in str(diagnostic)
    assert all(character.isprintable() or character in "\n\t" for character in diagnostic.marked())
    assert Diagnostic.from_dict(json.loads(json.dumps(_plain(diagnostic)))) == diagnostic


def _plain(diagnostic: Diagnostic) -> dict[str, Any]:
    return {name: getattr(diagnostic, name) for name in Diagnostic.__dataclass_fields__}


def _registry_rows(source: RegistrySource) -> Any:
    compiled = compile_registry(source, "0.1.0")
    assert (compiled.head.cause is None) == (compiled.head.state == "ok")
    return compiled.rows


@SETTINGS
@given(mutated())
@example(b"")
@example(b"\xef\xbb\xbf\xef\xbb\xbflayerzoo: 1")
@example(b"layerzoo: 1\r\nmodels:\r\n\tnet: 1\r\n")
@example(b"\n\n  \n")
@example("a:\u2028  b\x85c: [".encode())
def test_a_mutated_file_gives_models_and_diagnostics(folder: Path, text: bytes) -> None:
    _compiled(folder / "registry.yaml", text, _registry_rows)


@SETTINGS
@given(yaml_like | st.binary(max_size=200))
def test_any_text_gives_models_and_diagnostics(folder: Path, text: bytes) -> None:
    _compiled(folder / "registry.yaml", b"layerzoo: 1\n" + text, _registry_rows)


@SETTINGS
@given(mutated(CATALOGUE) | st.lists(st.binary(max_size=60), max_size=4).map(b"\n".join))
def test_a_mutated_catalogue_gives_models_and_diagnostics(folder: Path, text: bytes) -> None:
    path = folder / "models.jsonl"
    path.write_bytes(text)
    rows = list(compile_catalogue(RegistrySource(str(path), "plugin", "acme", "acme-zoo")))
    lines = [line.decode("utf-8", "replace").rstrip("\r") for line in text.split(b"\n")]
    lines[0] = lines[0].removeprefix("\ufeff")
    for row in rows:
        if isinstance(row, Diagnostic):
            assert 1 <= row.line <= len(lines)
            assert row.column <= max(len(lines[row.line - 1]), 1)


@SETTINGS
@given(st.dictionaries(st.sampled_from(_MODEL_KEYS), ODD, max_size=4))
def test_an_invalid_model_does_not_affect_the_others(folder: Path, model: dict[str, str]) -> None:
    broken = json.dumps(model, ensure_ascii=False)
    text = (
        "layerzoo: 1\nmodels:\n  first: {modality: text, builder: toy}\n"
        f"  broken: {broken}\n  last: {{modality: audio, builder: toy}}\n"
    )
    models, diagnostics = _compiled(folder / "registry.yaml", text.encode(), _registry_rows)
    assert {"acme/first", "acme/last"} <= set(models)
    assert {each.model for each in diagnostics} <= {"acme/broken"}
    assert ("acme/broken" in models) == (not diagnostics)


def test_the_command_checks_mutated_files_without_a_traceback(
    small_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @settings(max_examples=30, database=None)
    @given(mutated(), st.sampled_from(["table", "json", "github"]))
    def check(text: bytes, format_: str) -> None:
        (small_home / "draft.yaml").write_bytes(text)
        with pytest.raises(SystemExit) as caught:
            main(["registry", "check", "draft.yaml", "--namespace", "acme", "--format", format_])
        assert caught.value.code in (0, 1)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        if format_ == "json":
            assert (caught.value.code == 1) == bool(json.loads(printed.out))

    check()
