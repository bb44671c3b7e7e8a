"""Models of sentence-transformers with other modules, or a network in a subfolder, equal `encode`."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, WeightedLayerPooling
from tests.hf_plugin.sentence_encoders import TEXTS, bytes_alone, network_folder, save, word_pieces
from tests.hf_plugin.test_sentence_transformers import assert_equal, declare, encoded, networks, shared_home
from tests.hub import Hub
from transformers import AutoModel, CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

import layerzoo
from layerzoo.errors import RepositoryError, SampleError

Declare = Callable[..., str]
__all__ = ["declare", "networks", "shared_home"]
LONG = " ".join(TEXTS * 6)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- a network in a subfolder


def moved(folder: Path, below: str) -> Path:
    """Move the network of a model to a subfolder, as in older releases."""
    (folder / below).mkdir(parents=True)
    for path in [each for each in folder.iterdir() if each.is_file()]:
        if path.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
            path.rename(folder / below / path.name)
    rows = json.loads((folder / "modules.json").read_text())
    rows[0]["path"] = below
    (folder / "modules.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.parametrize("below", ["0_Transformer", pytest.param("nested/network", marks=pytest.mark.slow)])
def test_a_network_in_a_subfolder_equals_encode(below: str, networks: Any, tmp_path: Path, declare: Declare) -> None:
    modules = [Pooling(32, pooling_mode="mean"), Dense(32, 8), Normalize()]
    folder = save(tmp_path / "model", networks("bert"), modules, transformer={"max_seq_length": 12})
    moved(folder, below)
    features = layerzoo.extract(declare(folder), [*TEXTS, LONG])
    assert set(features.by_layer) == {"embedding"}
    assert_equal(features.values, encoded(folder, [*TEXTS, LONG]))


def test_a_checkpoint_in_the_root_is_not_used_for_a_network_in_a_subfolder(
    networks: Any, tmp_path: Path, declare: Declare
) -> None:
    folder = moved(save(tmp_path / "model", networks("bert"), [Pooling(32)]), "0_Transformer")
    other = network_folder(tmp_path / "other", "bert", seed=7)
    shutil.copy(other / "model.safetensors", folder)
    shutil.copy(other / "config.json", folder)
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))
    given = layerzoo.extract("mine/model", TEXTS, weights=other / "model.safetensors").values
    shutil.copy(other / "model.safetensors", folder / "0_Transformer")
    assert_equal(given, encoded(folder))


@pytest.mark.slow
def test_a_network_in_a_subfolder_has_its_layers(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = moved(save(tmp_path / "model", networks("bert"), [Pooling(32)]), "0_Transformer")
    found = layerzoo.extract(declare(folder, args={"modules": False}), TEXTS, layer="block.1").values
    plain = tmp_path / "plain"
    shutil.copytree(networks("bert"), plain)
    assert np.array_equal(found, layerzoo.extract(declare(plain), TEXTS, layer="block.1").values)


@pytest.mark.slow
def test_a_network_in_a_subfolder_of_a_repository(connected: Hub, networks: Any, tmp_path: Path) -> None:
    folder = moved(save(tmp_path / "model", networks("bert"), [Pooling(32), Dense(32, 8)]), "0_Transformer")
    connected.repository("acme/below").commit(files_of(folder))
    assert_equal(layerzoo.extract("hf/acme/below", TEXTS).values, encoded(folder))
    assert layerzoo.model("hf/acme/below").default.layer == "embedding"
    backbone = layerzoo.load("hf/acme/below", layer="block.0", partial=True)
    assert backbone.provenance["loaded"]["tensors"] < backbone.provenance["loaded"]["of_tensors"]


def test_the_module_clipmodel_of_older_releases(tmp_path: Path, declare: Declare) -> None:
    part = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    text, vision = {**part, "vocab_size": 400, "eos_token_id": 4}, {**part, "image_size": 32, "patch_size": 8}
    below = tmp_path / "model" / "0_CLIPModel"
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(below)
    size = {"height": 32, "width": 32}
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size), word_pieces()).save_pretrained(below)
    row = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (tmp_path / "model" / "modules.json").write_text(json.dumps([row]))
    folder = tmp_path / "model"
    assert_equal(layerzoo.extract(declare(folder), TEXTS[:3]).values, encoded(folder, TEXTS[:3]))


# ---------------------------------------------------------------- StaticEmbedding


def static_model(folder: Path, *modules: Any, seed: int = 0, **settings: Any) -> Path:
    torch.manual_seed(seed)
    tokenizer = word_pieces(**settings) if seed % 2 == 0 else bytes_alone(**settings)
    static = StaticEmbedding(tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[static, *modules], device="cpu").save(str(folder))
    return folder


@pytest.mark.parametrize(
    "seed", [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow), 2, 3]
)
def test_a_static_embedding_equals_encode(seed: int, tmp_path: Path, declare: Declare) -> None:
    folder = static_model(tmp_path / "model", *([Normalize()] if seed > 1 else []), seed=seed)
    backbone = layerzoo.load(declare(folder))
    wanted = encoded(folder, [*TEXTS, LONG])
    found = layerzoo.extract(backbone, [*TEXTS, LONG]).values
    assert_equal(found, wanted)
    assert np.array_equal(found, wanted)
    assert np.array_equal(found[:1], layerzoo.extract(backbone, TEXTS[:1]).values)
    assert_equal(layerzoo.extract(backbone, TEXTS, prompt="query: ").values, encoded(folder, prompt="query: "))


def test_a_static_embedding_truncates_like_its_tokenizer(tmp_path: Path, declare: Declare) -> None:
    folder = static_model(tmp_path / "model")
    path = folder / "tokenizer.json"
    written = json.loads(path.read_text())
    written["truncation"] = {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    written["padding"] = {
        "strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    path.write_text(json.dumps(written))
    assert_equal(layerzoo.extract(declare(folder), [*TEXTS, LONG]).values, encoded(folder, [*TEXTS, LONG]))


@pytest.mark.parametrize(
    "kind",
    ["int8", "float16", *(pytest.param(each, marks=pytest.mark.slow) for each in ("plain", "mapped", "weighted"))],
)
def test_the_checkpoints_of_model2vec(kind: str, tmp_path: Path, declare: Declare) -> None:
    folder = static_model(tmp_path / "model", Normalize())
    words = load_file(folder / "model.safetensors")["embedding.weight"]
    tensors = {"embeddings": words}
    if kind == "mapped":
        tensors |= {"embeddings": words[:40].clone(), "mapping": torch.arange(len(words)) % 40}
    if kind == "weighted":
        tensors |= {"weights": torch.rand(len(words), dtype=torch.float64)}
    if kind == "int8":
        tensors = {"embeddings": (words * 50).clamp(-127, 127).to(torch.int8), "weights": torch.rand(len(words))}
    if kind == "float16":
        tensors = {"embeddings": words.half()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "hidden_dim": 16, "normalize": True}))
    rows = json.loads((folder / "modules.json").read_text())
    rows[0] |= {"path": ".", "type": "sentence_transformers.models.StaticEmbedding"}
    (folder / "modules.json").write_text(json.dumps(rows))
    library = SentenceTransformer(str(folder), device="cpu")
    backbone = layerzoo.load(declare(folder), precision="library")
    wanted = library.encode(TEXTS, convert_to_numpy=False, batch_size=1)
    found = layerzoo.extract(backbone, TEXTS).values
    assert_equal(found, torch.stack(list(wanted)).float().numpy())
    assert backbone.provenance["dtype"] == str(library.dtype).removeprefix("torch.")


def test_a_static_embedding_on_a_hub(connected: Hub, tmp_path: Path) -> None:
    folder = static_model(tmp_path / "model", Normalize())
    connected.repository("acme/static").commit(files_of(folder))
    assert_equal(layerzoo.extract("hf/acme/static", TEXTS).values, encoded(folder))
    assert layerzoo.model("hf/acme/static").default.layer == "embedding"


def test_a_text_without_any_token_is_named(tmp_path: Path, declare: Declare) -> None:
    model = declare(static_model(tmp_path / "model"))
    with pytest.raises(SampleError, match="no tokens"):
        layerzoo.extract(model, ["a fine film", "\x7f"])


def test_a_static_embedding_whose_vectors_are_missing_is_named(tmp_path: Path, declare: Declare) -> None:
    folder = static_model(tmp_path / "model")
    save_file({"vectors": torch.zeros(3, 2)}, folder / "model.safetensors")
    with pytest.raises(layerzoo.LayerzooError, match=r"'embedding\.weight' or 'embeddings', and not vectors"):
        layerzoo.load(declare(folder))


# ---------------------------------------------------------------- routers


@pytest.fixture(scope="module")
def routed(networks: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a router: queries use a StaticEmbedding, documents a network."""
    torch.manual_seed(0)
    query = [StaticEmbedding(word_pieces(), embedding_dim=16)]
    document = [Transformer(str(networks("bert"))), Pooling(32, pooling_mode="cls"), Dense(32, 16)]
    router = Router.for_query_document(query, document)
    prompts = {"query": "ask: ", "document": "passage: "}
    folder = tmp_path_factory.mktemp("routed") / "model"
    SentenceTransformer(modules=[router, Normalize()], device="cpu", prompts=prompts).save(str(folder))
    return folder


def test_each_route_of_a_router_equals_the_library(routed: Path, declare: Declare) -> None:
    library = SentenceTransformer(str(routed), device="cpu")
    assert_equal(layerzoo.extract(declare(routed), TEXTS).values, library.encode(TEXTS))
    for route, encode in (("query", library.encode_query), ("document", library.encode_document)):
        model = declare(routed, args={"route": route})
        assert_equal(layerzoo.extract(model, TEXTS, prompt=route).values, encode(TEXTS))
    with pytest.raises(RepositoryError, match=r"no route for `route: image`\. Its routes: query, document"):
        layerzoo.load(declare(routed, args={"route": "image"}))


@pytest.mark.slow
def test_a_router_on_a_hub_takes_its_default_route(connected: Hub, routed: Path) -> None:
    connected.repository("acme/routed").commit(files_of(routed))
    wanted = SentenceTransformer(str(routed), device="cpu").encode(TEXTS)
    assert_equal(layerzoo.extract("hf/acme/routed", TEXTS).values, wanted)


def test_a_router_after_the_network(networks: Any, tmp_path: Path, declare: Declare) -> None:
    dense = [Dense(32, 8), Dense(32, 8)]
    router = Router({"query": [dense[0], Normalize()], "passage": [dense[1]]}, default_route="passage")
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32), router])
    library = SentenceTransformer(str(folder), device="cpu")
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, library.encode(TEXTS))
    found = layerzoo.extract(declare(folder, args={"route": "query"}), TEXTS).values
    assert_equal(found, library.encode(TEXTS, task="query"))


def test_the_asym_of_older_releases(networks: Any, tmp_path: Path, declare: Declare) -> None:
    router = Router({"query": [Dense(32, 8)], "doc": [Dense(32, 8)]}, default_route="doc")
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32), router])
    (folder / "2_Router").rename(folder / "2_Asym")
    (folder / "2_Asym/router_config.json").rename(folder / "2_Asym/config.json")
    rows = json.loads((folder / "modules.json").read_text())
    rows[2] |= {"path": "2_Asym", "type": "sentence_transformers.models.Asym"}
    (folder / "modules.json").write_text(json.dumps(rows))
    found = layerzoo.extract(declare(folder, args={"route": "query"}), TEXTS).values
    assert_equal(found, SentenceTransformer(str(folder), device="cpu").encode(TEXTS, task="query"))


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 1, 3, 4, 5))])
def test_routes_are_resolved_like_the_library(seed: int, tmp_path: Path, declare: Declare) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    names = draw.sample(["query", "document", "text", "image"], 3)
    routes = {name: [StaticEmbedding(word_pieces(), embedding_dim=8)] for name in names}
    keys: list[tuple[str | None, str | None]] = [
        (None, "text"), ("query", None), ("query", "text"), (None, None), ("query", "image"),
    ]  # fmt: skip
    mappings: Any = {key: draw.choice(names) for key in draw.sample(keys, draw.choice([0, 1, 2]))}
    default = draw.choice([None, names[2]])
    router = Router(routes, default, draw.random() < 0.7, mappings or None)
    folder = tmp_path / "model"
    SentenceTransformer(modules=[router], device="cpu").save(str(folder))
    library = SentenceTransformer(str(folder), device="cpu")
    for task in (None, "query", "document"):
        try:
            wanted = library.encode(TEXTS, task=task)
        except ValueError:
            with pytest.raises(RepositoryError, match="no route for"):
                layerzoo.load(declare(folder, args={"route": task} if task else {}))
            continue
        model = declare(folder, args={"route": task} if task else {})
        assert np.array_equal(layerzoo.extract(model, TEXTS).values, wanted)


def test_a_route_without_a_router_is_an_error(networks: Any, tmp_path: Path, declare: Declare) -> None:
    folder = save(tmp_path / "model", networks("bert"), [Pooling(32)])
    with pytest.raises(RepositoryError, match="it has no router"):
        layerzoo.load(declare(folder, args={"route": "query"}))


# ---------------------------------------------------------------- several layers


@pytest.mark.parametrize("is_on", [True, False])
def test_a_weighted_layer_pooling_equals_encode(is_on: bool, networks: Any, tmp_path: Path, declare: Declare) -> None:
    torch.manual_seed(0)
    network = tmp_path / "network"
    shutil.copytree(networks("bert"), network)
    loaded = AutoModel.from_pretrained(network)
    loaded.config.output_hidden_states = is_on
    loaded.save_pretrained(network)
    weights = torch.nn.Parameter(torch.tensor([0.3, 2.0]))
    pooling = WeightedLayerPooling(32, num_hidden_layers=2, layer_start=1, layer_weights=weights)
    folder = save(tmp_path / "model", network, [pooling, Pooling(32, pooling_mode=("mean", "cls"))])
    assert_equal(layerzoo.extract(declare(folder), TEXTS).values, encoded(folder))
