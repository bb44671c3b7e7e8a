"""Registry files are compiled into specs, and all their mistakes are reported together."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.registry.format.catalogue import compile_catalogue
from layerzoo.registry.format.compile import compile_registry, unmet
from layerzoo.registry.format.compiled import Compiled
from layerzoo.registry.format.diagnostics import Diagnostic
from layerzoo.registry.format.schema import check_model
from layerzoo.registry.format.source import RegistrySource
from layerzoo.spec import AudioPreprocess, ImagePreprocess, Layer, ModelSpec

VERSION = "0.1.0"
VISION = "{modality: vision, builder: b, preprocess: {resize: box"

CompileText = Callable[..., tuple[dict[str, Any], list[Diagnostic]]]


@pytest.fixture
def compile_text(tmp_path: Path) -> CompileText:
    """Compile a text as the file of a plugin. Returns: models by id, and diagnostics."""

    def compile_(text: str, role: Any = "plugin", namespace: str = "acme") -> tuple[dict[str, Any], list[Diagnostic]]:
        path = tmp_path / "registry.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return _sorted(compile_registry(RegistrySource(str(path), role, namespace, "acme-zoo"), VERSION))

    return compile_


def _sorted(compiled: Compiled) -> tuple[dict[str, Any], list[Diagnostic]]:
    rows = list(compiled.rows)
    return (
        {row["id"]: row for row in rows if isinstance(row, dict)},
        [row for row in rows if isinstance(row, Diagnostic)],
    )


def test_a_model_is_compiled_into_a_spec(compile_text: CompileText) -> None:
    models, diagnostics = compile_text("""
        layerzoo: 1
        builders: [acme]
        models:
          vit-shelf:
            modality: vision
            summary: Shelves
            license: apache-2.0
            builder: acme
            args: {depth: 12, stages: [1, 2], nested: {flag: no}}
            weights:
              source: hf://acme/vit-shelf@main/model.safetensors
              sha256: 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
              keys: {"layer.{0..1}": "blocks.{0..1}", fc: head}
            preprocess: {size_px: 224, resize: bicubic, crop: 0.9, mean: [0.5, 0.5, 0.5], std: [1, 1, 1]}
            layers:
              stem: patch_embed
              block.{0..1}: {module: "blocks.{0..1}", prefix_tokens: 1}
              norm: {module: norm, axes: batch token channel, shape: [197, 192], call: 1, output: 0, at: input}
              head: .
              pooled:
            default: {layer: norm, pool: cls}
        """)
    assert diagnostics == []
    spec = ModelSpec.from_dict(models["acme/vit-shelf"])
    assert spec.id == "acme/vit-shelf"
    assert spec.args.to_dict() == {"depth": 12, "stages": [1, 2], "nested": {"flag": "no"}}
    assert spec.weights is not None
    assert spec.weights.sha256 == (
        ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    )
    assert spec.weights.keys == (("layer.0", "blocks.0"), ("layer.1", "blocks.1"), ("fc", "head"))
    assert spec.preprocess == ImagePreprocess(
        size_px=(224, 224), resize="bicubic", crop=0.9, mean=(0.5, 0.5, 0.5), std=(1, 1, 1)
    )
    assert spec.layers == (
        Layer(name="stem", module="patch_embed"),
        Layer(name="block.0", module="blocks.0", prefix_tokens=1),
        Layer(name="block.1", module="blocks.1", prefix_tokens=1),
        Layer(
            name="norm",
            module="norm",
            axes=("batch", "token", "channel"),
            shape=(197, 192),
            call=1,
            output=0,
            at="input",
        ),
        Layer(name="head", module=""),
        Layer(name="pooled", module=""),
    )
    assert (spec.default.layer, spec.default.pool) == ("norm", "cls")
    assert ModelSpec.from_dict(spec.to_dict()) == spec


def test_ids_without_a_namespace_get_that_of_the_plugin(compile_text: CompileText) -> None:
    models, _ = compile_text("""
        layerzoo: 1
        models:
          net: {modality: text, builder: b}
          acme/other: {modality: text, builder: b}
          Qwen/Qwen2.5-0.5B: {modality: text, builder: b, base: net}
          far: {modality: text, base: timm/net}
        """)
    assert list(models) == ["acme/net", "acme/other", "acme/Qwen/Qwen2.5-0.5B", "acme/far"]
    assert models["acme/Qwen/Qwen2.5-0.5B"]["base"] == "acme/net"
    assert models["acme/far"]["base"] == "timm/net"


def test_a_local_path_is_relative_to_the_folder_of_the_file(compile_text: CompileText, tmp_path: Path) -> None:
    models, _ = compile_text("""
        layerzoo: 1
        models:
          a: {modality: text, builder: b, weights: "file:./shelf.safetensors"}
          b: {modality: text, builder: b, weights: "file:../folder/"}
          c: {modality: text, builder: b, weights: "file:/absolute/x.safetensors"}
        """)
    assert [model["weights"]["source"] for model in models.values()] == [
        f"file:{tmp_path}/shelf.safetensors",
        f"file:{tmp_path.parent}/folder/",
        "file:/absolute/x.safetensors",
    ]


def test_digests_of_several_files_are_stored_by_name(compile_text: CompileText) -> None:
    digest = "ab" * 32
    models, diagnostics = compile_text(f"""
        layerzoo: 1
        models:
          net:
            modality: text
            builder: b
            weights:
              source: package://acme-weights/acme/
              sha256: {{model.safetensors: {digest}, a.json: {digest}}}
        """)
    assert diagnostics == []
    assert models["acme/net"]["weights"]["sha256"] == [["model.safetensors", digest], ["a.json", digest]]


# One model each: the value of `net:`, and its diagnostics.
MISTAKES = [
    ("{modality: text}", "5:3: the key 'builder' is missing"),
    ("{builder: b}", "5:3: the key 'modality' is missing"),
    (
        "{modality: sound, builder: b}",
        "5:19: modality: 'sound' is not possible here. Possible: text, vision, audio, video",
    ),
    ("{modality: txt, builder: b}", "Nearest: text"),
    ("{modality: text, builder: b, sumary: x}", "5:37: unknown key 'sumary'. Nearest: summary."),
    ("{modality: text, builder: b, params: 3.5}", "a whole number is wanted here, not 3.5"),
    ("{modality: text, builder: b, license: 2.0}", "text is wanted here, not 2.0; in quotes it is text"),
    ("{modality: text, builder: b, license: }", "text is wanted here, not nothing"),
    ("{modality: text, builder: B}", "'B' is not a builder's name"),
    ("{modality: text, builder: b, preprocess: {}}", "the key 'max_tokens' is missing"),
    ("{modality: audio, builder: b, preprocess: {sample_rate: 16000}}", "Nearest: sample_rate_hz"),
    (
        f"{VISION}, size_px: 0, mean: [0, 0, 0], std: [1, 1, 1]}}}}",
        "preprocess.size_px: 0 is not a size: 1 to 1000000",
    ),
    ("{modality: vision, builder: b, preprocess: {resize: cubic}}", "Nearest: bicubic"),
    (
        f"{VISION}, size_px: 8, mean: [0, 0], std: [1, 1, 1]}}}}",
        "preprocess.mean: 2 values are too few: 3 are wanted",
    ),
    (f"{VISION}, size_px: 8, mean: [0, 0, 0], std: [0, 1, 1]}}}}", "greater than 0"),
    ("{modality: video, builder: b, preprocess: {frames: 8}}", "the key 'image' is missing"),
    (
        "{modality: video, builder: b, preprocess: {frames: 8, image: {size_px: 8}}}",
        "preprocess.image: the key 'resize' is missing",
    ),
    ("{modality: text, builder: b, layers: {'block.{0..2}': 'blocks.{0..3}'}}", "a range of 3 on the left, of 4"),
    ("{modality: text, builder: b, layers: {block.0: a, 'block.{0..1}': 'b.{0..1}'}}", "'block.0' is declared twice"),
    ("{modality: text, builder: b, layers: {last: a}}", "'last' is a selector"),
    ("{modality: text, builder: b, layers: {'a b': a}}", "'a b' is not a layer's name"),
    ("{modality: text, builder: b, layers: {a: 'x y'}}", "'x y' is not a module"),
    ("{modality: text, builder: b, layers: {a: {axes: batch token}}}", "the key 'module' is missing"),
    ("{modality: text, builder: b, layers: {a: {module: a, axes: batch tokn}}}", "no axis 'tokn'. Nearest: token"),
    ("{modality: text, builder: b, layers: {a: {module: a, axes: batch batch}}}", "name one twice"),
    ("{modality: text, builder: b, layers: {a: {module: a, axes: batch channel, shape: [1, 2]}}}", "does not fit"),
    ("{modality: text, builder: b, layers: {a: a}, default: {layer: b}}", "there is no layer 'b'"),
    ("{modality: text, builder: b, default: {pool: maen}}", "no pooling 'maen'. Nearest: mean"),
    ("{modality: text, builder: b, weights: ftp://x/y}", "is not a source of weights"),
    ("{modality: text, builder: b, weights: https://x/y.bin}", "weights from https:// need a sha256"),
    ("{modality: text, builder: b, weights: package://x/y.bin}", "weights from package:// need a sha256"),
    ("{modality: text, builder: b, weights: hf://x}", "is not a source of weights"),
    ("{modality: text, builder: b, weights: hf://x/y/../z}", "must not hold . or .."),
    ("{modality: text, builder: b, weights: {source: 'hf://x/y', sha256: abc}}", "64 hexadecimal digits"),
    (
        f"{{modality: text, builder: b, weights: {{source: 'hf://x/y', sha256: {'ab' * 32}}}}}",
        "a folder has many files",
    ),
    ("{modality: text, builder: b, args: [1]}", "a mapping (KEY: VALUE) is wanted here, not a list"),
    ("[1]", "a model is a mapping that begins with `modality:`, not a list"),
    ("", "not nothing"),
    ("{modality: text, builder: b, summary: !!str x}", "tags (tag:yaml.org,2002:str) are not part"),
    ("{modality: text, builder: b, builder: c}", "the key 'builder' is declared a second time here"),
]


@pytest.mark.parametrize(("model", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_a_mistake_is_reported_with_its_position(compile_text: CompileText, model: str, words: str) -> None:
    models, diagnostics = compile_text(
        f"layerzoo: 1\nmodels:\n  fine: {{modality: text, builder: b}}\n\n  net: {model}\n"
    )
    assert list(models) == ["acme/fine"]
    assert words in "\n".join(map(str, diagnostics))
    assert {diagnostic.model for diagnostic in diagnostics} == {"acme/net"}
    assert {diagnostic.line for diagnostic in diagnostics} == {5}


def test_all_mistakes_of_a_file_are_reported_together(compile_text: CompileText) -> None:
    _, diagnostics = compile_text("""
        layerzoo: 1
        models:
          one: {modality: text, licence: mit, params: many, layers: {a: 'x y'}}
          two: {modality: smell, builder: 3}
          two words: {modality: text, builder: b}
        """)
    assert [(each.line, each.code) for each in diagnostics] == [
        (4, "missing-key"),
        (4, "unknown-key"),
        (4, "wrong-value"),
        (4, "wrong-value"),
        (5, "wrong-value"),
        (5, "wrong-value"),
        (6, "wrong-value"),
    ]


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        ("", "invalid", "the file says nothing; it begins with `layerzoo: 1`"),
        ("[1, 2]", "invalid", "begins with `layerzoo: 1`"),
        ("models: {}", "invalid", "the key 'layerzoo' is missing"),
        ("layerzoo: 2\nfuture: true", "unsupported", "version 2 of the format, and this layerzoo reads 1"),
        ("layerzoo: 1\nrequires: layerzoo>=9", "unsupported", "it requires layerzoo>=9, and 0.1.0 is installed"),
        ("layerzoo: 1\nrequires: timm", "unsupported", "only layerzoo itself can be required"),
        ("layerzoo: 1\nmodels: {a: [", "invalid", "not valid YAML"),
    ],
)
def test_an_unusable_file_is_reported_with_its_reason(tmp_path: Path, text: str, state: str, words: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text, encoding="utf-8")
    compiled = compile_registry(RegistrySource(str(path), "plugin", "acme", "acme-zoo"), VERSION)
    assert compiled.head.state == state
    assert words in str(compiled.head.cause)
    assert _sorted(compiled)[0] == {}


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    compiled = compile_registry(RegistrySource(str(tmp_path / "registry.yaml"), "plugin", "acme", "acme-zoo"), VERSION)
    assert "cannot be read: No such file" in str(compiled.head.cause)


def test_models_of_the_user_are_in_the_namespace_mine(compile_text: CompileText) -> None:
    text = """
        layerzoo: 1
        models:
          mine/a: {modality: text, builder: b}
          b: {modality: text, builder: b}
          timm/c: {modality: text, builder: b}
        """
    models, diagnostics = compile_text(text, role="user", namespace="mine")
    assert list(models) == ["mine/a", "mine/b"]
    assert "'timm/c': your own models live under mine/, as in mine/c" in str(diagnostics[0])


def test_aliases_of_the_user_can_refer_to_any_model(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("layerzoo: 1\naliases: {a: timm/net, b: shelf, timm/c: timm/net}\n", encoding="utf-8")
    compiled = compile_registry(RegistrySource(str(path), "user", "mine"), VERSION)
    assert compiled.head.aliases == {"a": "timm/net", "b": "mine/shelf"}
    assert "'timm/c': your own aliases have no slash" in str(_sorted(compiled)[1][0])


def test_aliases_of_a_plugin_are_in_its_namespace(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("layerzoo: 1\naliases: {resnet50: resnet50.a1_in1k}\n", encoding="utf-8")
    head = compile_registry(RegistrySource(str(path), "plugin", "timm", "layerzoo-timm"), VERSION).head
    assert head.aliases == {"timm/resnet50": "timm/resnet50.a1_in1k"}


def test_two_names_of_one_model_are_a_mistake(compile_text: CompileText) -> None:
    _, diagnostics = compile_text("""
        layerzoo: 1
        models:
          net: {modality: text, builder: b}
          acme/net: {modality: text, builder: b}
        """)
    assert "'acme/net' and 'net' are the same model" in str(diagnostics[0])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "2:1: not one JSON object"),
        ("[1]", '2:1: a line of a catalogue is a JSON object with the model\'s "id"'),
        ('{"modality": "text"}', 'with the model\'s "id"'),
        ('{"id": "a b", "modality": "text"}', "2:8: id: 'a b' is not a valid id"),
        ('{"id": "fine", "modality": "text", "builder": "b"}', "acme/fine is declared a second time here"),
        ('{"id": "n", "modality": "text", "builder": "b", "builder": "c"}', "the key 'builder' occurs twice in it"),
        ('{"id": "n", "modality": "text", "builder": "b", "params": NaN}', "NaN is not a number"),
        ('{"id": "n", "modality": "text", "builder": "b", "args": {"x": 1e999}}', "numbers must be finite"),
        ('{"id": "n", "modality": "text", "builder": "b", "args": ' + "[" * 9000 + "]" * 9000 + "}", "nested"),
        ('{"id": "n", "modality": "text", "builder": "b", "args": {"a":' + "[" * 50 + "]" * 50 + "}}", "nested"),
        ('{"id": "n", "modality": "text", "builder": "b", "summary": "\\ud800"}', "summary: "),
        ('{"id": "n", "modality": "text", "builder": "b", "params": 1.5}', "params: a whole number is wanted"),
    ],
)
def test_an_invalid_line_of_a_catalogue_affects_only_itself(tmp_path: Path, line: str, words: str) -> None:
    fine = '{"id": "fine", "modality": "text", "builder": "b"}'
    path = tmp_path / "models.jsonl"
    path.write_text(f"{fine}\n{line}\n\n{fine.replace('fine', 'other')}\n", encoding="utf-8")
    rows = list(compile_catalogue(RegistrySource(str(path), "plugin", "acme", "acme-zoo")))
    assert [row["id"] for row in rows if isinstance(row, dict)] == ["acme/fine", "acme/other"]
    assert words in str(next(row for row in rows if isinstance(row, Diagnostic)))


@pytest.mark.parametrize(
    ("requirement", "version", "is_met"),
    [
        ("layerzoo>=0.1", "0.1.0", True),
        ("layerzoo>=0.1,<1", "0.9.dev1", True),
        ("layerzoo>=0.10", "0.9", False),
        ("layerzoo>=9", None, True),
        ("layer zoo", "0.1", False),
    ],
)
def test_a_requirement_is_compared_with_the_installed_version(
    requirement: str, version: str | None, is_met: bool
) -> None:
    assert (unmet(requirement, version) is None) == is_met


_KEYS = "modality builder args layers default weights keys sha256 preprocess size_px frames image base mean axes module"
WORDS = st.sampled_from([*_KEYS.split(), "text", "vision", "audio", "block.{0..3}", "hf://a/b", "file:x", "a/b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, VALUES, max_size=6))
def test_any_model_gives_a_spec_or_a_diagnostic(tmp_path_factory: Any, model: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps({"id": "net", **model}) + "\n", encoding="utf-8")
    for row in compile_catalogue(RegistrySource(str(path), "plugin", "acme", "acme-zoo")):
        if isinstance(row, dict) and "base" not in row:
            spec = ModelSpec.from_dict(row)
            assert ModelSpec.from_json(spec.to_json()) == spec


def test_audio_is_declared_in_hertz_and_seconds(compile_text: CompileText) -> None:
    models, _ = compile_text("""
        layerzoo: 1
        models:
          net: {modality: audio, builder: b, preprocess: {sample_rate_hz: 16000, window_s: 30, pad: window}}
        """)
    spec = ModelSpec.from_dict(models["acme/net"])
    assert spec.preprocess == AudioPreprocess(sample_rate_hz=16000, window_s=30, pad="window")


@pytest.mark.parametrize("source", ["https://example.org/w.safetensors", "package://acme/w.safetensors", "file:w.pt"])
@pytest.mark.parametrize("sha256", ["abc", 12, [1], {"w.safetensors": "x"}, {"w.pt": 3}], ids=str)
def test_a_bad_digest_is_one_mistake(source: str, sha256: object) -> None:
    data = {"modality": "text", "builder": "toy", "weights": {"source": source, "sha256": sha256}}
    _, (mistake,) = check_model("mine/net", data, Path())
    assert mistake.loc[:2] == ("weights", "sha256")


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": {"source": 3}},
        {"layers": {"stem": {"module": 3}}},
        {"weights": {"source": "https://example.org/w", "sha256": None}},
        {"preprocess": {"max_tokens": "many"}},
        {"default": {"layer": 3}},
    ],
    ids=str,
)
def test_an_invalid_value_is_not_also_reported_as_missing(wrong: dict[str, object]) -> None:
    _, mistakes = check_model("mine/net", {"modality": "text", "builder": "toy", **wrong}, Path())
    assert len(mistakes) == 1
