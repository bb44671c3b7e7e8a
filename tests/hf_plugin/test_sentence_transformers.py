"""The layer `embedding` of sentence-transformers models equals the library's own `encode`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tests.hf_plugin.sentence_encoders import (
    KINDS,
    POOLINGS,
    TEXTS,
    network_folder,
    random_model,
    save,
    word_pieces,
)
from tests.hub import Hub
from tests.sampling import sampled
from tests.terminal import Zoo
from transformers import AutoConfig, AutoModel, CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

import layerzoo
from layerzoo.errors import RepositoryError, UnsafeWeightsError, UsageError
from layerzoo.lock import Lock
from layerzoo.runtime.backbone import resolved_model

Declare = Callable[[Path], str]


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory, index: Path) -> Path:
    """Return a working directory whose cache the tests of this file share, because compiling the index takes longer
    than a test."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "home").mkdir()
    shutil.copytree(index, folder / "cache")
    return folder / "home"


@pytest.fixture
def declare(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Return a function that declares the model in a folder as ``mine/NAME``, and returns that id."""
    monkeypatch.setenv("LAYERZOO_CACHE", str(shared_home.parent / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(shared_home.parent / "config"))
    monkeypatch.chdir(shared_home)
    declared: dict[str, Any] = {}

    def add(folder: Path, **more: Any) -> str:
        name = f"mine/{folder.name}"
        declared[name] = {"modality": "text", "builder": "transformers", "weights": f"file:{folder}", **more}
        (shared_home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": declared}))
        return name

    return add


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that saves a small random network of a type once, and returns its folder."""
    home = tmp_path_factory.mktemp("networks")
    made: dict[str, Path] = {}

    def network(kind: str) -> Path:
        if kind not in made:
            made[kind] = network_folder(home / kind, kind)
        return made[kind]

    return network


def encoded(folder: Path, texts: list[str] = TEXTS, **how: Any) -> Any:
    return SentenceTransformer(str(folder), device="cpu").encode(texts, **how)


def assert_equal(found: Any, wanted: Any) -> None:
    """Check for equal directions, up to 1e-6 of cosine distance, and equal lengths."""
    assert found.shape == wanted.shape
    found, wanted = (np.asarray(each, dtype=np.float64) for each in (found, wanted))
    lengths, expected = (np.linalg.norm(each, axis=1) for each in (found, wanted))
    assert np.allclose(lengths, expected, rtol=1e-5, atol=1e-7)
    assert (1 - (found * wanted).sum(1) / (lengths * expected)).max() <= 1e-6


@pytest.mark.parametrize("seed", sampled(range(30), 10))
def test_a_model_of_random_modules_equals_encode(seed: int, tmp_path: Path, declare: Declare) -> None:
    folder = random_model(tmp_path / "model", seed)
    backbone, library = layerzoo.load(declare(folder)), SentenceTransformer(str(folder), device="cpu")
    features = layerzoo.extract(backbone, TEXTS)
    assert set(features.by_layer) == {"embedding"}
    assert_equal(features.values, library.encode(TEXTS))
    alone = np.concatenate([layerzoo.extract(backbone, [text]).values for text in TEXTS])
    assert_equal(features.values, alone)
    assert_equal(layerzoo.extract(backbone, TEXTS, prompt="").values, library.encode(TEXTS, prompt=""))


@pytest.mark.parametrize("mode", POOLINGS)
def test_each_pooling_equals_the_library(mode: str, networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32, pooling_mode=mode)])
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))


def test_poolings_in_the_format_of_older_releases_keep_the_order_of_the_library(
    networks: Any, tmp_path: Path, declare: Declare
) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32)])
    switches = {"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": True, "pooling_mode_cls_token": True}
    settings = {"word_embedding_dimension": 32, "pooling_mode_max_tokens": False, **switches}
    (folder / "1_Pooling/config.json").write_text(json.dumps(settings))
    rows = json.loads((folder / "modules.json").read_text())
    for row in rows:  # where releases before 5.4 had their modules
        row["type"] = f"sentence_transformers.models.{row['type'].rpartition('.')[2]}"
    (folder / "modules.json").write_text(json.dumps(rows))
    found = layerzoo.extract(declare(folder), TEXTS).values
    assert found.shape == (len(TEXTS), 96)
    assert_equal(found, encoded(folder))


def test_modules_json_locates_the_pooling(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32, pooling_mode="cls"), Dense(32, 8)])
    for number, (old, new) in enumerate([("1_Pooling", "pool"), ("2_Dense", "after/dense")], 1):
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)
        rows = json.loads((folder / "modules.json").read_text())
        rows[number]["path"] = new
        (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "max"}')
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))


@pytest.fixture
def prompted(networks: Any, tmp_path: Path) -> Path:
    """Save a model that pools a text without its prompt."""
    prompts = {"query": "search query: ", "passage": "A passage "}
    pooling = Pooling(32, pooling_mode=("mean", "weightedmean", "cls"), include_prompt=False)
    return save(tmp_path / "model", networks("bert"), [pooling], prompts=prompts, default_prompt_name="query")


def test_a_prompt_is_a_name_or_a_text(prompted: Path, declare: Declare) -> None:
    model = declare(prompted)
    usual = layerzoo.extract(model, TEXTS)
    assert_equal(usual.values, encoded(prompted))
    assert usual.provenance["prompt"] == "search query: "
    named = layerzoo.extract(model, TEXTS, prompt="passage")
    assert_equal(named.values, encoded(prompted, prompt_name="passage"))
    literal = layerzoo.extract(model, TEXTS, prompt="Represent this: ")
    assert_equal(literal.values, encoded(prompted, prompt="Represent this: "))
    assert_equal(layerzoo.extract(model, TEXTS, prompt="document").values, encoded(prompted, prompt_name="document"))
    backbone = layerzoo.load(model, prompt="passage")
    assert_equal(layerzoo.extract(backbone, TEXTS).values, named.values)
    assert_equal(layerzoo.extract(backbone, TEXTS, prompt="query").values, usual.values)


def test_an_unknown_prompt_name_is_an_error(prompted: Path, declare: Declare) -> None:
    with pytest.raises(UsageError, match=r"has no prompt named 'pasage'. Nearest: passage"):
        layerzoo.extract(declare(prompted), TEXTS, prompt="pasage")


def test_a_prompt_precedes_the_first_chunk_of_a_text(prompted: Path, declare: Declare) -> None:
    model = declare(prompted)
    long = " ".join(TEXTS * 4)
    chunked = layerzoo.extract(model, [long, "a fine film"], chunks=True)
    assert chunked.report["chunked"] == 1
    assert_equal(chunked.values[1:], encoded(prompted, ["a fine film"]))


def test_prompt_and_unit_length_can_be_set_on_the_command_line(prompted: Path, zoo: Zoo, home: Path) -> None:
    model = "mine/model"
    row = {"modality": "text", "builder": "transformers", "weights": f"file:{prompted}"}
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {model: row}}))
    (home / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    asked = ("--prompt", "passage", "--normalize")
    result = zoo("extract", "texts.txt", "--model", model, "--out", "out.npz", *asked)
    assert result.code == 0, result.err
    found = layerzoo.Features.load(home / "out.npz")
    assert_equal(found.values, encoded(prompted, prompt_name="passage", normalize_embeddings=True))
    assert (found.provenance["prompt"], found.provenance["normalize"]) == ("A passage ", True)


@pytest.mark.parametrize("limit", [6, 30, 72])
def test_max_seq_length_takes_precedence_over_the_tokenizer(
    limit: int, networks: Any, tmp_path: Path, declare: Declare
) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32)], transformer={"max_seq_length": limit})
    texts = [*TEXTS, " ".join(TEXTS * 4)]
    assert layerzoo.load(declare(folder)).preprocess.declared.max_tokens == limit
    assert_equal(layerzoo.extract("mine/model", texts).values, encoded(folder, texts))


def test_truncate_dim_is_applied_before_normalization(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32), Normalize()], truncate_dim=5)
    found = layerzoo.extract(declare(folder), TEXTS, normalize=True).values
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert_equal(found, encoded(folder, normalize_embeddings=True))


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_the_pooler_of_the_network_may_be_missing_from_the_checkpoint(
    kind: str, networks: Any, tmp_path: Path, declare: Declare
) -> None:
    folder = save(tmp_path / "model", networks(kind), [Pooling(32, pooling_mode="cls")])
    if kind == "bert":
        tensors = load_file(folder / "model.safetensors")
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
        assert kept.keys() != tensors.keys()
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))


def test_the_layers_of_the_network_keep_their_names_and_paths(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32), Dense(32, 8), Normalize()])
    both = [declare(folder), declare(networks("bert"))]
    with_embedding, alone = (layerzoo.load(model, layer=["stem", "block.*", "pooled"]) for model in both)
    assert [layer.address for layer in with_embedding.layers] == [layer.address for layer in alone.layers]
    found, wanted = (layerzoo.extract(backbone, TEXTS) for backbone in (with_embedding, alone))
    for layer in alone.layers:
        assert np.array_equal(found[layer.name], wanted[layer.name])
    assert (
        resolved_model(with_embedding).spec.layers[-2].name == "embedding"
    )  # in addition: the pooler, which no embedding needs


def test_a_cut_before_the_embedding_reads_none_of_its_weights(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32), Dense(32, 8)])
    backbone = layerzoo.load(declare(folder), layer="block.0")
    assert "linear.weight" not in backbone.module.state_dict()
    assert layerzoo.load("mine/model").provenance["loaded"]["tensors"] > backbone.provenance["loaded"]["tensors"]
    (folder / "2_Dense/model.safetensors").write_bytes(b"damaged")
    with pytest.raises(layerzoo.LayerzooError):
        layerzoo.load("mine/model")


def test_pickled_weights_of_a_module_follow_the_rules_for_pickles(
    networks: Any, tmp_path: Path, declare: Declare
) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32), Dense(32, 8)])
    torch.save(load_file(folder / "2_Dense/model.safetensors"), folder / "2_Dense/pytorch_model.bin")
    (folder / "2_Dense/model.safetensors").unlink()
    with pytest.raises(UnsafeWeightsError, match=r"2_Dense/pytorch_model\.bin"):
        layerzoo.load(declare(folder))
    backbone = layerzoo.load("mine/model", allow_pickle=True)
    assert_equal(layerzoo.extract(backbone, TEXTS).values, encoded(folder))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"type": "acme.modules.Whitening"}, "acme.modules.Whitening"),
        ({"type": "sentence_transformers.models.CNN"}, "sentence_transformers.models.CNN"),
    ],
)
def test_an_unknown_module_is_named(
    change: dict[str, str], named: str, networks: Any, tmp_path: Path, declare: Any
) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32)])
    rows = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*rows, {"idx": 2, "name": "2", "path": "2_Other", **change}]))
    with pytest.raises(RepositoryError, match=named):
        layerzoo.load(declare(folder))
    model = declare(folder, args={"modules": False})
    assert layerzoo.load(model, layer="block.1").layers[0].name == "block.1"


def test_an_unknown_pooling_is_named(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32)])
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "attention"}')
    with pytest.raises(RepositoryError, match="the mode attention"):
        layerzoo.load(declare(folder))


def test_a_model_on_a_hub(connected: Hub, networks: Any, tmp_path: Path, zoo: Zoo) -> None:
    modules = [Pooling(32, pooling_mode="weightedmean"), Dense(32, 8), Normalize()]
    folder = save(tmp_path / "model", networks("bert"), modules, prompts={"query": "ask: "})
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    repository = connected.repository("acme/sentences")
    repository.commit({**files, "onnx/config.json": b"{}"})
    model = "hf/acme/sentences"
    layerzoo.load(model, layer="block.0", partial=True)
    assert connected.bytes_sent("*/2_Dense/model.safetensors") < len(files["2_Dense/model.safetensors"])
    assert connected.bytes_sent("*/onnx/*") == 0
    assert_equal(layerzoo.extract(model, TEXTS, prompt="query").values, encoded(folder, prompt_name="query"))
    assert layerzoo.model(model).default.layer == "embedding"
    assert zoo("lock", model).code == 0
    assert {"1_Pooling/config.json", "2_Dense/model.safetensors"} <= Lock.read().models[model].files.keys()
    assert "embedding" in zoo("layers", model).out.split()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_random_models_equal_encode(kind: str, seed: int, tmp_path: Path, declare: Declare) -> None:
    folder = random_model(tmp_path / "model", seed * len(KINDS) + KINDS.index(kind))
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))
    shutil.rmtree(folder)


# ---------------------------------------------------------------- settings of the network's own module


def set_transformer(folder: Path, **settings: Any) -> Path:
    """Change the settings of the Transformer module."""
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def test_the_length_passed_to_the_tokenizer_applies(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32)])
    set_transformer(folder, processing_kwargs={"text": {"max_length": 6, "truncation": True}})
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))


@pytest.mark.parametrize(
    "settings",
    [
        {"processing_kwargs": {"text": {"padding": "max_length"}}},
        {"processing_kwargs": {"common": {"truncation_side": "left"}}},
        {"processing_kwargs": {"image": {"do_resize": False}}},
        {"model_args": {"quantization_config": {"load_in_8bit": True}}},
    ],
)
def test_unsupported_settings_are_refused_by_name(
    settings: dict[str, Any], networks: Any, tmp_path: Path, declare: Declare
) -> None:
    folder = set_transformer(save(tmp_path / "model", networks("bert"), [Pooling(32)]), **settings)
    (group,) = settings
    with pytest.raises(RepositoryError, match=f"has the settings {group}"):
        layerzoo.load(declare(folder))


def test_a_prompt_can_be_longer_than_the_limit(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32, include_prompt=False)])
    set_transformer(folder, max_seq_length=8)
    prompt = "one two three four five six seven eight nine ten "
    found = layerzoo.extract(declare(folder), TEXTS[:2], prompt=prompt).values
    assert_equal(found, encoded(folder, TEXTS[:2], prompt=prompt))


@pytest.mark.parametrize(
    "settings",
    [
        {"processing_kwargs": {"text": {"add_special_tokens": False, "truncation": "only_first"}}},
        {"config_kwargs": {"num_hidden_layers": 1, "trust_remote_code": False}},
        {"config_args": {"hidden_act": "relu"}},
        {"model_args": {"add_pooling_layer": False, "attn_implementation": "eager"}},
    ],
    ids=["without special tokens", "fewer blocks", "another activation", "without a pooling layer"],
)
def test_settings_of_the_network_are_applied(
    settings: dict[str, Any], networks: Any, tmp_path: Path, declare: Declare
) -> None:
    pooling = Pooling(32, pooling_mode=("mean", "cls"), include_prompt=False)
    folder = save(tmp_path / "model", networks("bert"), [pooling], transformer={"max_seq_length": 12})
    set_transformer(folder, **settings)
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))
    found = layerzoo.extract("mine/model", TEXTS[:3], prompt="to find: ").values
    assert_equal(found, encoded(folder, TEXTS[:3], prompt="to find: "))


_PAIR = {
    "vocab_size": 400, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 80,
    "bos_token_id": 3, "eos_token_id": 4, "pad_token_id": 1, "decoder_start_token_id": 4,
}  # fmt: skip
_PAIRS: dict[str, dict[str, Any]] = {
    "bart": _PAIR,
    "mbart": _PAIR,
    "plbart": _PAIR,
    "mvp": _PAIR,
    "led": {**_PAIR, "max_encoder_position_embeddings": 80, "max_decoder_position_embeddings": 80,
            "attention_window": 8},
    "fsmt": {**_PAIR, "src_vocab_size": 400, "tgt_vocab_size": 400, "langs": ["en", "de"]},
    "bigbird_pegasus": {**_PAIR, "block_size": 4, "num_random_blocks": 1},
    "pegasus": _PAIR,
    "m2m_100": _PAIR,
    "prophetnet": {"vocab_size": 400, "hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2,
                   "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "encoder_ffn_dim": 48,
                   "decoder_ffn_dim": 48, "max_position_embeddings": 80, "pad_token_id": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [kind if kind in ("bart", "prophetnet") else pytest.param(kind, marks=pytest.mark.slow) for kind in _PAIRS],
)
def test_an_encoder_decoder_equals_encode(kind: str, tmp_path: Path, declare: Declare) -> None:
    torch.manual_seed(0)
    network = AutoModel.from_config(AutoConfig.for_model(kind, **_PAIRS[kind])).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    network.save_pretrained(tmp_path / "pair")
    word_pieces().save_pretrained(tmp_path / "pair")
    folder = save(tmp_path / "model", tmp_path / "pair", [Pooling(32, pooling_mode=("mean", "lasttoken"))])
    backbone = layerzoo.load(declare(folder))
    assert_equal(layerzoo.extract(backbone, TEXTS).values, encoded(folder, batch_size=1))
    assert_equal(layerzoo.extract(backbone, TEXTS[:1]).values, encoded(folder, TEXTS[:1]))
    assert {"stem", "block.0", "block.1"} <= {layer.name for layer in resolved_model(backbone).spec.layers}


def test_a_dual_encoder_saved_by_sentence_transformers_has_its_projection(tmp_path: Path, declare: Declare) -> None:
    part = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    text, vision = {**part, "vocab_size": 400, "eos_token_id": 4}, {**part, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(tmp_path / "clip")
    CLIPProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), word_pieces()
    ).save_pretrained(tmp_path / "clip")
    folder = tmp_path / "model"
    SentenceTransformer(modules=[Transformer(str(tmp_path / "clip"))], device="cpu").save(str(folder))
    assert_equal(layerzoo.extract(declare(folder), TEXTS[:3]).values, encoded(folder, TEXTS[:3]))


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"show_progress_bar": False, "batch_size": 2},
    {"normalize_embeddings": True},
    {"prompt_name": "passage"},
    {"prompt_name": "document"},
    {"prompt": "Represent this: ", "prompt_name": "passage"},
    {"convert_to_numpy": False},
    {"convert_to_tensor": True},
]


def test_an_embedder_takes_the_arguments_of_encode(prompted: Path, declare: Declare) -> None:
    embedder = layerzoo.Embedder(declare(prompted))
    library = SentenceTransformer(str(prompted), device="cpu")
    for arguments in ARGUMENTS:
        for inputs in (TEXTS, TEXTS[0]):
            vectors, expected = embedder.encode(inputs, **arguments), library.encode(inputs, **arguments)
            assert type(vectors) is type(expected), arguments
            assert_equal(np.atleast_2d(np.stack(vectors)), np.atleast_2d(np.stack(expected)))
    assert_equal(embedder.encode_query(TEXTS), library.encode_query(TEXTS))
    assert embedder.get_embedding_dimension() == library.get_embedding_dimension()
    pairs = (embedder.encode(TEXTS), embedder.encode(TEXTS[0])), (list(embedder.encode(TEXTS)), embedder.encode(TEXTS))
    for one, other in pairs:
        torch.testing.assert_close(embedder.similarity(one, other), library.similarity(one, other))
    with pytest.raises(UsageError, match=r"no prompt of .* 'pasage'. Nearest: passage"):
        embedder.encode(TEXTS, prompt_name="pasage")
