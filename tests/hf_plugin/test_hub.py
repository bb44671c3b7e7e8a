"""Any repository of the hub is a model by its id: downloads, identification, and errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from tests.hub import Hub, Repository
from tests.terminal import Zoo
from transformers import AutoConfig, AutoModel

import layerzoo
from layerzoo.errors import (
    AccessDeniedError,
    MissingLibraryError,
    MissingOnServerError,
    OfflineError,
    RemoteCodeError,
    RepositoryError,
    UnidentifiedModelError,
    UnknownModelError,
    UnsafeWeightsError,
    WeightsError,
)

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "waste", "of", "time"]
TOKENIZER = {"vocab.txt": "\n".join(WORDS), "tokenizer_config.json": '{"tokenizer_class": "BertTokenizer"}'}
WEIGHTS = "*.safetensors"
BERT = "hf/acme/bert"
TEXTS = ["a fine film", "a waste of time"]


def bert_config(**other: Any) -> Any:
    return AutoConfig.for_model("bert", **{**SMALL, "vocab_size": 99, **other})


def made(config: Any) -> Any:
    """Return a seeded network of a configuration."""
    torch.manual_seed(0)
    return AutoModel.from_config(config).eval()


def published(config: Any) -> dict[str, bytes | str]:
    """Return the configuration and the weights of a network, as a repository stores them."""
    tensors = {name: tensor.clone() for name, tensor in made(config).state_dict().items()}
    return {"config.json": json.dumps(config.to_dict()), "model.safetensors": save(tensors)}


def pooling(mode: str) -> dict[str, str]:
    """Return the files that sentence-transformers stores next to a network."""
    return {
        "modules.json": json.dumps(
            [
                {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ]
        ),
        "1_Pooling/config.json": json.dumps({"word_embedding_dimension": 32, f"pooling_mode_{mode}": True}),
        "sentence_bert_config.json": json.dumps({"max_seq_length": 6, "do_lower_case": False}),
    }


@pytest.fixture
def bert(connected: Hub) -> Repository:
    repository = connected.repository("acme/bert")
    repository.commit({**published(bert_config()), **TOKENIZER})
    return repository


@pytest.fixture
def clip(connected: Hub) -> Repository:
    """Return a network of two towers."""
    tower = {**SMALL, "num_hidden_layers": 2, "projection_dim": 16}
    config = AutoConfig.for_model(
        "clip",
        text_config={**tower, "vocab_size": 99, "max_position_embeddings": 20},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    repository = connected.repository("acme/clip")
    repository.commit({**published(config), **TOKENIZER})
    return repository


# ---------------------------------------------------------------- a repository is a model


def test_features_equal_the_library(bert: Repository) -> None:
    features = layerzoo.extract(BERT, TEXTS, layer="block.1")
    network = made(bert_config())
    batch = layerzoo.load(BERT).preprocess(TEXTS).inputs
    with torch.inference_mode():
        hidden = network(**batch, output_hidden_states=True).hidden_states[2]
    mask = batch["attention_mask"][:, :, None]
    wanted = (hidden * mask).sum(1) / mask.sum(1)
    assert torch.allclose(torch.from_numpy(features["block.1"]), wanted, atol=1e-6)
    assert features.provenance["model"] == BERT
    assert features.provenance["weights"]["revision"] == bert.at("main").revision


def test_a_trace_downloads_the_small_files_and_no_weights(connected: Hub, bert: Repository, zoo: Zoo) -> None:
    result = zoo("layers", "--trace", BERT)
    assert result.code == 0, result.err
    assert result.out.split() == ["stem", "block.0", "block.1", "block.2", "pooled"]
    assert connected.bytes_sent(WEIGHTS) == 0
    assert not [request for request in connected.requests if request.matches(WEIGHTS)]
    assert connected.bytes_sent("/acme/bert/resolve/*") == sum(
        len(blob.content) for name, blob in bert.at("main").files.items() if name != "model.safetensors"
    )


def test_a_known_repository_is_described_offline(
    connected: Hub, bert: Repository, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("layers", "--trace", BERT)
    connected.requests.clear()
    spec = layerzoo.model(BERT)
    assert (spec.modality, spec.builder, spec.plugin) == ("text", "transformers", "layerzoo-hf")
    shown = {"kind": "text", "max_tokens": 512, "cls_token": True, "batching": "tolerance"}
    assert json.loads(zoo("show", BERT).out)["preprocess"] == shown
    assert zoo("layers", BERT).out.split()[1:3] == ["block.0", "block.1"]
    assert connected.requests == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert zoo("--offline", "layers", "--trace", BERT).code == 0


def test_offline_the_error_for_an_unknown_repository_explains_how_to_identify_it(
    connected: Hub, bert: Repository, zoo: Zoo
) -> None:
    for verb in ("show", "layers"):
        result = zoo(verb, BERT)
        assert (result.code, result.out) == (3, "")
        assert "may be a repository of the hub, and nothing is known of it yet" in result.err
        assert f"zoo layers --trace {BERT}" in result.err
    assert connected.requests == []
    with pytest.raises(UnidentifiedModelError):
        layerzoo.model(BERT)


def test_a_revision_is_part_of_the_id(bert: Repository) -> None:
    first = bert.at("main").revision
    bert.commit({**published(bert_config(num_hidden_layers=2)), **TOKENIZER})
    assert len(layerzoo.load(f"{BERT}@{first}", layer="block.*").layers) == 3
    assert len(layerzoo.load(f"{BERT}@main", layer="block.*").layers) == 2


def test_a_moved_branch_is_identified_again(bert: Repository) -> None:
    assert len(layerzoo.load(BERT, layer="block.*").layers) == 3
    bert.commit({**published(bert_config(num_hidden_layers=2)), **TOKENIZER, **pooling("cls_token")})
    backbone = layerzoo.load(BERT, layer=["block.*", "final"])
    assert len(backbone.layers) == 2
    assert layerzoo.model(BERT).default.layer == "embedding"


def test_a_lock_keeps_the_commit(bert: Repository, zoo: Zoo) -> None:
    assert zoo("lock", BERT).code == 0
    bert.commit({**published(bert_config(num_hidden_layers=2)), **TOKENIZER})
    assert len(layerzoo.load(BERT, layer="block.*").layers) == 3
    assert zoo("lock", "--update", BERT).code == 0
    assert len(layerzoo.load(BERT, layer="block.*").layers) == 2


def test_a_lock_from_another_machine_is_verified(bert: Repository, zoo: Zoo, home: Path) -> None:
    zoo("lock", BERT)
    shutil.rmtree(home.parent / "cache/identified")
    result = zoo("lock", "--check", "--format", "json")
    assert (result.code, [row["state"] for row in json.loads(result.out)]) == (0, ["unchanged"])


def test_a_pull_downloads_everything_and_later_commands_send_no_request(
    connected: Hub, bert: Repository, zoo: Zoo
) -> None:
    assert zoo("pull", BERT).code == 0
    connected.requests.clear()
    assert layerzoo.extract(BERT, TEXTS).values.shape == (2, 32)
    assert connected.requests == []


def test_a_cut_downloads_only_its_tensors(connected: Hub, bert: Repository) -> None:
    layerzoo.load(BERT, layer="block.0", partial=True)
    assert 0 < connected.bytes_sent(WEIGHTS) < 0.75 * len(bert.at("main").files["model.safetensors"].content)


def test_downloaded_files_are_kept_while_the_repository_is_known(bert: Repository, zoo: Zoo) -> None:
    layerzoo.load(BERT, layer="block.0", partial=True)
    rows = json.loads(zoo("cache", "list", "--format", "json").out)
    assert {BERT} == {model for row in rows for model in row["models"]}
    zoo("cache", "prune")
    assert json.loads(zoo("cache", "list", "--format", "json").out) == rows


def test_extract_from_the_command_line(bert: Repository, zoo: Zoo, home: Path) -> None:
    (home / "texts.txt").write_text("\n".join(TEXTS))
    result = zoo("extract", "texts.txt", "--model", BERT, "--out", "out.npz")
    assert result.code == 0, result.err
    assert "2 samples through hf/acme/bert at block.2 (mean)" in result.err


def test_an_alias_and_a_base_can_be_a_repository(bert: Repository, home: Path, zoo: Zoo) -> None:
    declared = {"models": {"mine/short": {"modality": "text", "base": BERT, "preprocess": {"max_tokens": 8}}}}
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, **declared, "aliases": {"it": BERT}}))
    assert zoo("layers", "--trace", "it").code == 0
    assert layerzoo.model("it").id == BERT
    assert layerzoo.load("mine/short", layer="block.0").preprocess.declared.max_tokens == 8
    assert [str(each) for each in layerzoo.registry.lookup.registry().problems()] == []


def test_a_disabled_repository_is_not_a_model(bert: Repository, home: Path, zoo: Zoo) -> None:
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "disable": [BERT]}))
    with pytest.raises(UnknownModelError, match="is disabled by"):
        layerzoo.load(BERT)


# ---------------------------------------------------------------- catalogued repositories


def test_files_of_a_repository_take_precedence_over_the_catalogue(connected: Hub, zoo: Zoo) -> None:
    files = {**published(bert_config()), **TOKENIZER, **pooling("cls_token")}
    connected.repository("google-bert/bert-base-uncased").commit(files)
    name = "hf/google-bert/bert-base-uncased"
    assert layerzoo.model(name).layers[-1].shape == (768,)
    backbone = layerzoo.load("hf/bert", layer="block.-1")
    assert backbone.spec.id == name
    assert (backbone.layers[0].name, backbone.layers[0].shape[-1]) == ("block.2", 32)
    assert (backbone.spec.default.layer, backbone.spec.preprocess.max_tokens) == ("embedding", 6)
    assert zoo("layers", name).out.split() == ["stem", "block.0", "block.1", "block.2", "embedding", "pooled"]


def test_random_weights_of_a_catalogued_architecture_need_no_connection(
    connected: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    backbone = layerzoo.load("hf/openai/whisper-tiny", layer="block.0", weights="random:0")
    assert backbone.layers[0].shape == (1500, 384)
    assert "the library's default is used" in caplog.text
    assert connected.requests == []


def test_files_of_a_folder_take_precedence_over_the_catalogue(connected: Hub, tmp_path: Path) -> None:
    for file, content in {**published(bert_config()), **TOKENIZER}.items():
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert layerzoo.load("hf/bert", layer="block.-1", weights=tmp_path).layers[0].name == "block.2"


def test_a_misspelt_name_suggests_the_nearest_catalogued_name(connected: Hub, zoo: Zoo) -> None:
    near = "Nearest: hf/google-bert/bert-base-uncased"
    assert near in zoo("show", "hf/google-bert/bert-base-uncase").err
    result = zoo("layers", "--trace", "hf/google-bert/bert-base-uncase")
    assert (result.code, "Nearest in the catalogue: hf/google-bert/bert-base-uncased" in result.err) == (6, True)


# ---------------------------------------------------------------- several towers


def test_a_network_of_towers_has_a_main_tower_and_others_by_name(clip: Repository) -> None:
    vision, text = layerzoo.load("hf/acme/clip", layer="stem"), layerzoo.load("hf/acme/clip:text", layer="stem")
    assert (vision.spec.modality, text.spec.modality) == ("vision", "text")
    assert layerzoo.model("hf/acme/clip").preprocess.size_px == (32, 32)
    assert layerzoo.model("hf/acme/clip:text").preprocess.max_tokens == 20


def test_the_error_for_an_unknown_tower_lists_the_towers(clip: Repository) -> None:
    with pytest.raises(UnknownModelError, match="vision and text, and not audio: hf/acme/clip, hf/acme/clip:text"):
        layerzoo.load("hf/acme/clip:audio")


def test_the_command_line_selects_the_tower_for_the_input(clip: Repository, zoo: Zoo, home: Path) -> None:
    (home / "texts.txt").write_text("\n".join(TEXTS))
    result = zoo("extract", "texts.txt", "--model", "hf/acme/clip", "--out", "out.npz")
    assert result.code == 0, result.err
    assert "2 samples through hf/acme/clip:text at" in result.err


# ---------------------------------------------------------------- sentence-transformers


@pytest.mark.parametrize(("mode", "pool"), [("mean_tokens", "mean"), ("cls_token", "cls"), ("lasttoken", "last")])
def test_a_sentence_encoder_equals_sentence_transformers(connected: Hub, mode: str, pool: str) -> None:
    connected.repository("acme/sentences").commit({**published(bert_config()), **TOKENIZER, **pooling(mode)})
    features = layerzoo.extract("hf/acme/sentences", ["a fine film a fine film a fine film"])
    spec = layerzoo.model("hf/acme/sentences")
    assert (spec.default.layer, spec.preprocess.max_tokens) == ("embedding", 6)
    ids = torch.tensor([[2, 5, 6, 7, 5, 3]])
    with torch.inference_mode():
        hidden = made(bert_config())(ids, torch.ones_like(ids)).last_hidden_state
    wanted = {"mean": hidden.mean(1), "cls": hidden[:, 0], "last": hidden[:, -1]}[pool]
    assert torch.allclose(torch.from_numpy(features.values), wanted, atol=1e-6)


# ---------------------------------------------------------------- missing repositories


def test_an_unknown_repository_is_reported(connected: Hub, zoo: Zoo) -> None:
    result = zoo("layers", "--trace", "hf/acme/bertt")
    assert result.code == 6
    assert "hf://acme/bertt@main: there is no such repository, or it is private" in result.err


def test_a_gated_repository_is_reported(connected: Hub) -> None:
    connected.repository("acme/gated", token="secret").commit({**published(bert_config()), **TOKENIZER})
    with pytest.raises(AccessDeniedError, match="gives its files to those with access alone"):
        layerzoo.load("hf/acme/gated")


def test_a_missing_revision_is_reported(bert: Repository) -> None:
    with pytest.raises(MissingOnServerError, match="no such branch, tag or commit"):
        layerzoo.load(f"{BERT}@v9")


def test_offline_no_request_is_sent_and_the_next_step_is_reported(
    connected: Hub, bert: Repository, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = zoo("--offline", "layers", "--trace", BERT)
    assert result.code == 6
    assert f"Next, with a connection: zoo pull {BERT}" in result.err
    assert connected.requests == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError):
        layerzoo.load(BERT)


# ---------------------------------------------------------------- bad repositories

UNKNOWN = json.dumps({"model_type": "brt", "hidden_size": 32})
OWN_CODE = json.dumps({"model_type": "acme-net", "auto_map": {"AutoModel": "modeling_acme.AcmeModel"}})
SERIES = json.dumps(AutoConfig.for_model("autoformer", prediction_length=2).to_dict())


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"config.json": UNKNOWN}, RepositoryError, "type 'brt', which transformers .* does not know. Nearest: bert"),
        ({"README.md": "hello"}, RepositoryError, "hf://acme/bad holds no model that the plugin 'hf' knows"),
        ({"config.json": "{'a': 1}"}, RepositoryError, "its config.json is not valid JSON: "),
        ({"config.json": "[1]"}, RepositoryError, "its config.json is not a JSON object, but list"),
        ({"config.json": "{}"}, RepositoryError, "cannot make sense of its config.json"),
        ({"config.json": '{"architecture": "resnet18"}'}, RepositoryError, "Next, with the plugin timm: timm/acme/bad"),
        ({"config.json": OWN_CODE}, RemoteCodeError, "'acme-net', is defined by code in its repository"),
        ({"config.json": SERIES}, RepositoryError, "takes past_values, which is not one of text, vision, audio, video"),
    ],
    ids=["unknown type", "no config", "no JSON", "no object", "no type", "of timm", "own code", "no modality"],
)
def test_a_repository_without_a_model_has_a_specific_error(
    connected: Hub, files: dict[str, str], error: type[Exception], message: str
) -> None:
    repository = connected.repository("acme/bad")
    repository.commit({**files, "modeling_acme.py": "raise SystemExit('it ran')", "model.safetensors": save({})})
    with pytest.raises(error, match=message):
        layerzoo.load("hf/acme/bad")
    assert connected.bytes_sent("*.safetensors") == connected.bytes_sent("*.py") == 0


def test_a_tokenizer_with_custom_code_is_refused(connected: Hub) -> None:
    own_code = {"AutoTokenizer": ["tokenization_acme.AcmeTokenizer", None]}
    config = {"tokenizer_class": "AcmeTokenizer", "auto_map": own_code}
    files = {**published(bert_config()), "vocab.txt": "a", "tokenizer_config.json": json.dumps(config)}
    connected.repository("acme/own").commit({**files, "tokenization_acme.py": "raise SystemExit('it ran')"})
    with pytest.raises(RemoteCodeError, match="its tokenizer or processor is code in its repository"):
        layerzoo.load("hf/acme/own")


def test_a_tokenizer_that_cannot_be_created_is_reported(connected: Hub) -> None:
    connected.repository("acme/torn").commit({**published(bert_config()), "tokenizer.json": "{}"})
    with pytest.raises(RepositoryError, match="cannot make the tokenizer or processor that its files describe"):
        layerzoo.load("hf/acme/torn")


def test_custom_code_next_to_a_known_network_is_not_run(connected: Hub, caplog: pytest.LogCaptureFixture) -> None:
    config = {**bert_config().to_dict(), "auto_map": {"AutoModel": "modeling_acme.AcmeModel"}}
    files = {**published(bert_config()), **TOKENIZER, "config.json": json.dumps(config)}
    connected.repository("acme/both").commit({**files, "modeling_acme.py": "raise SystemExit('it ran')"})
    assert layerzoo.extract("hf/acme/both", TEXTS).values.shape == (2, 32)
    assert "the code in its repository is not run; its network is transformers' own of type 'bert'" in caplog.text


def test_a_network_that_needs_a_missing_package_names_it(connected: Hub) -> None:
    config = AutoConfig.for_model("layoutlmv2").to_dict()
    connected.repository("acme/layout").commit({"config.json": json.dumps(config), **TOKENIZER})
    with pytest.raises(MissingLibraryError, match="hf/acme/layout needs detectron2, which is not installed") as caught:
        layerzoo.runtime.trace_layers("hf/acme/layout")
    assert caught.value.library == "detectron2"


def test_pickled_weights_are_opened_only_on_request(connected: Hub, tmp_path: Path) -> None:
    torch.save(made(bert_config()).state_dict(), tmp_path / "pytorch_model.bin")
    pickled = (tmp_path / "pytorch_model.bin").read_bytes()
    files = {**published(bert_config()), **TOKENIZER, "pytorch_model.bin": pickled}
    del files["model.safetensors"]
    connected.repository("acme/pickled").commit(files)
    with pytest.raises(UnsafeWeightsError, match="allow_pickle=True"):
        layerzoo.load("hf/acme/pickled")
    assert layerzoo.load("hf/acme/pickled", layer="block.0", allow_pickle=True).layers[0].name == "block.0"


def test_sharded_weights_are_read(connected: Hub, tmp_path: Path) -> None:
    made(bert_config()).save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob(WEIGHTS))) > 1
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    connected.repository("acme/shards").commit({**files, **TOKENIZER})
    whole = made(bert_config())
    backbone = layerzoo.load("hf/acme/shards", layer="block.2")
    batch = backbone.preprocess(TEXTS)
    with torch.inference_mode():
        assert torch.equal(backbone.module(batch)["block.2"], whole(**batch.inputs).last_hidden_state)


def test_missing_weights_are_reported_when_they_are_needed(connected: Hub) -> None:
    files = {**published(bert_config()), **TOKENIZER}
    del files["model.safetensors"]
    connected.repository("acme/bare").commit(files)
    with pytest.raises(WeightsError, match="no file of hf/acme/bare is a checkpoint"):
        layerzoo.load("hf/acme/bare")
    assert layerzoo.load("hf/acme/bare", weights="random:0").spec.id == "hf/acme/bare"


def test_a_read_only_cache_changes_no_result(bert: Repository, home: Path) -> None:
    cache = home.parent / "cache"
    shutil.rmtree(cache / "identified", ignore_errors=True)
    (cache / "identified").write_text("in the way")
    assert layerzoo.load(BERT, layer="block.0").spec.modality == "text"


def test_a_damaged_record_is_ignored(bert: Repository, home: Path) -> None:
    layerzoo.load(BERT, layer="block.0")
    (note,) = (home.parent / "cache/identified/hf/acme--bert").glob("*.json")
    note.write_text(note.read_text()[:-20])
    with pytest.raises(UnidentifiedModelError):
        layerzoo.model(BERT)
    assert layerzoo.load(BERT, layer="block.0").spec.modality == "text"
    assert layerzoo.model(BERT).modality == "text"
