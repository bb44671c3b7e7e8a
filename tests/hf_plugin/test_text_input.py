"""A network of the library receives every tensor of its own tokenizer, for whole, truncated and padded texts, alone,
in batches and in chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tools.certify.preprocessing.text import TEXTS, records
from tools.certify.preprocessing.tokenizers import small_tokenizer
from tools.certify.shrink import Shrink, small
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

import layerzoo
from layerzoo.errors import EmptySampleError, RepositoryError, SampleError
from layerzoo.runtime import load_preprocess
from layerzoo.runtime.preprocess import TextPreprocessor
from layerzoo.spec import ModelSpec, TextPreprocess, Weights
from layerzoo_hf.configuration import sub_config
from layerzoo_hf.identify import modalities_of
from layerzoo_hf.parts import backbone_path, network_class
from layerzoo_hf.text import LibraryTokenizer, describe_text

LONG = " ".join(f"{word} and another" for word in ("film", "sea", "dog", "fox", "three") * 12)


def saved(
    folder: Path, model_type: str, tokenizer: Any, fields: Mapping[str, Any] = {}, **configuration: Any
) -> ModelSpec:
    """Save a small network with random weights and a tokenizer in a folder, as the library does."""
    config = {**small(AutoConfig.for_model(model_type).to_dict(), Shrink(layers=2)), **configuration}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(model_type, **config)).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return ModelSpec(id="mine/text", modality="text", builder="transformers", weights=Weights(source=f"file:{folder}/"))


def preprocess(spec: ModelSpec) -> TextPreprocessor:
    found = load_preprocess(spec)
    assert isinstance(found, TextPreprocessor)
    return found


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("bert", "BertTokenizer"),
        ("xlnet", "XLNetTokenizer"),
        ("roc_bert", "RoCBertTokenizer"),
        ("gpt2", "GPT2Tokenizer"),
    ],
)
def test_features_equal_the_library(model_type: str, name: str, tmp_path: Path) -> None:
    every = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"], "model_max_length": 64}
    (tmp_path / "files").mkdir()
    tokenizer = small_tokenizer(name, tmp_path / "files")
    fields = {} if name == "RoCBertTokenizer" else every
    spec = saved(tmp_path / "model", model_type, tokenizer, fields, vocab_size=max(640, len(tokenizer)))
    library, network = AutoTokenizer.from_pretrained(tmp_path / "model"), AutoModel.from_pretrained(tmp_path / "model")
    backbone = layerzoo.load(spec, layer="final", pool="mean")
    texts = ["a fine film", "nothing is read that a cut does not need"]
    found = layerzoo.extract(backbone, texts, batch_size=1).values
    together = layerzoo.extract(backbone, texts).values
    for place, text in enumerate(texts):
        encoded = library(text, truncation=True, max_length=64, return_tensors="pt")
        assert set(encoded) & {"token_type_ids", "input_shape_ids"}
        with torch.no_grad():
            expected = network(**encoded).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(found[place], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(together[place], expected, rtol=1e-4, atol=1e-5)


def test_a_sample_of_the_certificate() -> None:
    names = ("BertTokenizer", "ByT5Tokenizer", "LlamaTokenizer", "RoCBertTokenizer")
    for record in records(names, ("default", "truncation_side='left', model_max_length=12")):
        assert record.verdict == "equal", record
        assert record.inputs == len(TEXTS) - 1  # an empty text is not a sample


def test_tokenizers_that_require_more_than_a_text_are_reported() -> None:
    found = list(records(("LayoutLMv3Tokenizer", "MarkupLMTokenizer"), ("default",)))
    assert "LayoutLMv3Tokenizer does not take it: Words must be of type" in found[0].reason
    assert any("returns several numbers for each token as xpath_tags_seq" in record.reason for record in found)


def chinese() -> PreTrainedTokenizerFast:
    """A tokenizer without a token for "a", and without an unknown token."""
    vocabulary = {"[CLS]": 0, "[SEP]": 1, "[PAD]": 2, "电": 3, "影": 4, "电影": 5}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("电", "影")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A:1 [SEP]:2", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def test_special_tokens_are_found_without_tokenising_a_text() -> None:
    tokenizer = LibraryTokenizer(chinese())
    assert (tokenizer.prefix, tokenizer.suffix) == ((0,), (1,))
    assert tokenizer.tensors("电影 电") == {"input_ids": [0, 5, 3, 1], "token_type_ids": [0, 1, 1, 2]}


def test_a_text_without_tokens_is_an_empty_sample(tmp_path: Path) -> None:
    spec = saved(tmp_path, "bert", chinese(), type_vocab_size=3)
    with pytest.raises(EmptySampleError, match="the tokenizer makes nothing of it"):
        preprocess(spec).rows("abc")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["BertTokenizer", "RoCBertTokenizer", "ByT5Tokenizer"])
def test_a_text_that_is_too_long_is_truncated_on_the_tokenizers_side(side: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    tokenizer = small_tokenizer(name, tmp_path / "files")
    model_type = {"BertTokenizer": "bert", "RoCBertTokenizer": "roc_bert", "ByT5Tokenizer": "t5"}[name]
    fields = {"truncation_side": side, "model_max_length": 12}
    rows = preprocess(saved(tmp_path / "model", model_type, tokenizer, fields))
    library = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in (LONG, f"{LONG}</s>", "x"):
        expected = library(text, truncation=True)
        prepared = rows.rows(text)
        (row,) = prepared.rows
        for key in row.inputs.keys() & expected.keys():
            assert row.inputs[key].tolist() == expected[key]
        total = len(library(text, add_special_tokens=False)["input_ids"])
        assert prepared.report["truncated"] == (total + sum(row.special) > 12) or text.endswith("</s>")


@pytest.mark.parametrize("names", [["input_ids"], ["input_ids", "attention_mask"]])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["siglip", "siglip2"])
def test_a_network_with_fixed_length_gets_every_tensor_of_the_tokenizer(
    model_type: str, side: str, names: list[str], tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    tokenizer = small_tokenizer("BertTokenizer", tmp_path / "files")
    fields = {"padding_side": side, "model_max_length": 16, "model_input_names": names}
    spec = saved(tmp_path / "model", model_type, tokenizer, fields)
    library = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "a fine film"
    given = library([text, LONG], padding="max_length", truncation=True, return_tensors="pt")
    assert list(given) == names
    whole = AutoModel.from_pretrained(tmp_path / "model")
    batch = preprocess(spec)([text, LONG])
    assert batch.inputs.keys() == given.keys()
    assert all(torch.equal(batch.inputs[name], given[name]) for name in names)
    with torch.no_grad():
        embedding = whole.get_text_features(**given).pooler_output
        output = whole.text_model(**given, output_hidden_states=True)
    true = (given["input_ids"][0] != library.pad_token_id).nonzero().ravel()
    found = layerzoo.extract(spec, [text, LONG], layer=["block.-1", "pooled", "embedding"])
    np.testing.assert_allclose(found["embedding"], embedding.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["pooled"][0], output.pooler_output[0].numpy(), rtol=1e-4, atol=1e-5)
    state = output.hidden_states[-1][0, true].mean(0).numpy()
    np.testing.assert_allclose(found["block.1"][0], state, rtol=1e-4, atol=1e-5)


def test_chunks_contain_every_tensor_between_special_tokens(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    tokenizer = small_tokenizer("RoCBertTokenizer", tmp_path / "files")
    rows = preprocess(saved(tmp_path / "model", "roc_bert", tokenizer, {"model_max_length": 16}))
    whole = AutoTokenizer.from_pretrained(tmp_path / "model")(LONG, truncation=False)
    chunks = rows.chunked(overlap=2).rows(LONG).rows
    assert all(row.special == (1, 1) for row in chunks)
    for name in ("input_ids", "input_shape_ids", "input_pronunciation_ids"):
        contents = [row.inputs[name][1:-1].tolist() for row in chunks]
        assert contents[0] + [value for content in contents[1:] for value in content[2:]] == whole[name][1:-1]
        assert {(row.inputs[name][0], row.inputs[name][-1]) for row in chunks} == {(whole[name][0], whole[name][-1])}


def test_tokenised_texts_with_different_tensors_share_no_batch(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    spec = saved(tmp_path / "model", "roc_bert", small_tokenizer("RoCBertTokenizer", tmp_path / "files"))
    backbone = layerzoo.load(spec, layer="final", pool="mean")
    ids = torch.tensor([2, 10, 11, 3])
    mixed = layerzoo.extract(backbone, ["a fine film", ids, "the sea"]).values
    np.testing.assert_allclose(mixed[1], layerzoo.extract(backbone, [ids]).values[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mixed[2], layerzoo.extract(backbone, ["the sea"]).values[0], rtol=1e-5, atol=1e-6)


def usable(model_type: str, **fields: Any) -> int:
    config = AutoConfig.for_model(model_type, **fields)
    found: int = describe_text(config, _NO_FILES)["max_tokens"]
    return found


_NO_FILES: Any = {}


def test_positions_reserved_for_padding_are_not_available_to_texts() -> None:
    assert usable("roberta", max_position_embeddings=66, pad_token_id=1) == 64
    assert usable("roberta", max_position_embeddings=66, pad_token_id=5) == 60
    assert usable("mpnet", max_position_embeddings=66, pad_token_id=0) == 64  # which counts from 1 with any padding
    assert usable("ibert", max_position_embeddings=66, pad_token_id=1) == 64
    assert (
        usable("esm", max_position_embeddings=66, pad_token_id=1, position_embedding_type="absolute", vocab_size=33)
        == 64
    )
    assert (
        usable("esm", max_position_embeddings=66, pad_token_id=1, position_embedding_type="rotary", vocab_size=33) == 66
    )
    assert usable("clap", text_config={"max_position_embeddings": 66, "pad_token_id": 1}) == 64
    assert usable("bert", max_position_embeddings=66, pad_token_id=0) == 66
    assert usable("bart", max_position_embeddings=66, pad_token_id=1) == 66  # whose table is longer by two


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(MODEL_MAPPING_NAMES))
def test_every_network_of_the_library_has_the_declared_number_of_positions(model_type: str) -> None:
    fields = small(AutoConfig.for_model(model_type).to_dict(), Shrink(layers=2))
    try:
        config = AutoConfig.for_model(model_type, **fields)
        part = sub_config(config, "text")
        if "text" not in modalities_of(model_type, config) or not hasattr(part, "max_position_embeddings"):
            pytest.skip("no network of texts with a table of positions")
        part.max_position_embeddings = 40
        most = describe_text(config, _NO_FILES)["max_tokens"]
        config.architectures = [network_class(config).__name__]
        network = AutoModel.from_config(config).eval()
        network = network.get_submodule(backbone_path(network, "text"))
        ids = torch.full((1, most), 7)
        run_short = network(input_ids=ids[:, :8], attention_mask=torch.ones_like(ids[:, :8]))
    except (RepositoryError, SampleError, Exception) as error:  # noqa: BLE001 - what a type needs shows in its own way
        pytest.skip(f"no small network: {type(error).__name__}")
    assert run_short is not None
    network(input_ids=ids, attention_mask=torch.ones_like(ids))
    if most < 40:
        longer = torch.full((1, most + 1), 7)
        with pytest.raises((IndexError, RuntimeError)):
            network(input_ids=longer, attention_mask=torch.ones_like(longer))


def test_declared_limits_equal_the_position_table(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    tokenizer = small_tokenizer("RobertaTokenizer", tmp_path / "files")
    fields = {"model_max_length": 10**30}
    spec = saved(tmp_path / "model", "roberta", tokenizer, fields, max_position_embeddings=40, pad_token_id=1)
    found = layerzoo.extract(spec, [LONG])
    assert found.report["truncated"] == 1
    declared = preprocess(spec).declared
    assert isinstance(declared, TextPreprocess)
    assert declared.max_tokens == 38
