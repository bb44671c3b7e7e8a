"""Files of a repository cannot refer to other repositories, files, kernels or classes of the library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests.repository_files import files_of
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

from layerzoo.errors import LayerzooError, MissingLibraryError, OutsideRepositoryError, RepositoryError, TooLargeError
from layerzoo.plugins.loader import PluginHooks, hooks
from layerzoo.registry import registry
from layerzoo.spec import ModelSpec
from layerzoo_hf.processor_bounds import check_processor
from layerzoo_hf.references import check_configuration
from layerzoo_timm.factory import LOADING_ARGUMENTS

BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
VIT = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}
DETR = {"model_type": "detr", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1}
TIMM = {"model_type": "timm_backbone"}
WORDS = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])


@pytest.fixture(scope="module")
def hf() -> PluginHooks:
    return hooks(registry().plugin("hf"))


def spec_of(modality: Any = "text") -> ModelSpec:
    return ModelSpec(id="hf/acme/x", modality=modality, builder="transformers")


OUTSIDE: dict[str, dict[str, Any]] = {
    "backbone": {"config__json": {**DETR, "backbone": "evil/x", "use_timm_backbone": False}},
    "timm backbone": {"config__json": {**DETR, "backbone": "hf-hub:evil/x"}},
    "nested": {
        "config__json": {**DETR, "backbone_config": {"model_type": "timm_backbone", "backbone": "hf_hub:evil/x"}}
    },
    "wrapper": {"config__json": {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/x"}},
    "folder": {"config__json": {"model_type": "timm_wrapper", "architecture": "local-dir:/evil/x"}},
    "arguments": {"config__json": {"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "/evil/x.pth"}}},
    "kernel": {"config__json": {**BERT, "attn_implementation": "evil/x:run"}},
    "own kernel": {"config__json": {**BERT, "_attn_implementation": {"": "sdpa", "text_config": "evil/x"}}},
    "kernel of a part": {"config__json": {**DETR, "backbone_config": {"attn_implementation": "evil/x@main"}}},
    "configuration files": {"config__json": {**BERT, "configuration_files": ["../evil/config.1.0.json"]}},
    "tokenizer files": {
        "config__json": BERT,
        "tokenizer_config__json": {"fast_tokenizer_files": ["/evil/tokenizer.1.json"]},
    },
    "gguf": {"config__json": BERT, "tokenizer_config__json": {"gguf_file": "../evil.gguf"}},
    "positions": {"config__json": BERT, "tokenizer_config__json": {"init_inputs": ["/evil/x"]}},
    "sentencepiece": {"config__json": BERT, "tokenizer_config__json": {"sp_model_kwargs": {"model_file": "/evil/x"}}},
    "dictionary": {"config__json": BERT, "tokenizer_config__json": {"mecab_kwargs": {"mecab_option": "-r /evil/x"}}},
    "model as tokenizer": {"config__json": BERT, "tokenizer_config__json": {"tokenizer_class": "BertModel"}},
    "model as processor": {"config__json": VIT, "preprocessor_config__json": {"image_processor_type": "AutoModel"}},
    "function as processor": {"config__json": VIT, "preprocessor_config__json": {"image_processor_type": "pipeline"}},
    "classes by repository": {"config__json": VIT, "preprocessor_config__json": {"repo_path": "evil/x"}},
    "classes by file": {"config__json": VIT, "preprocessor_config__json": {"class_info_file": "/evil/x.json"}},
    "font": {"config__json": VIT, "processor_config__json": {"image_processor": {"font": "../evil.ttf"}}},
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_every_hook_refuses_references_to_other_repositories_without_a_connection(
    name: str, hf: PluginHooks, tmp_path: Path, connections: list[object]
) -> None:
    files = files_of(tmp_path, vocab__txt=WORDS, **OUTSIDE[name])
    for use in (
        lambda: hf.identify("hf/acme/x", files),
        lambda: hf.describe(spec_of(), files),
        lambda: hf.build(spec_of(), files),
        lambda: hf.preprocess(spec_of(), files),
        lambda: hf.state_dict(spec_of(), files, {}),
    ):
        with pytest.raises(OutsideRepositoryError, match=r"evil|BertModel|AutoModel|pipeline"):
            use()
    assert connections == []


@pytest.mark.parametrize("setting", ["vocab_file", "tokenizer_file", "gguf_file", "subfolder", "cache_dir", "revision"])
def test_tokenizer_settings_cannot_name_a_file(setting: str, hf: PluginHooks, tmp_path: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    settings = {"max_seq_length": 8, "tokenizer_args": {setting: "evil/x"}}
    files = files_of(
        tmp_path, config__json=BERT, vocab__txt=WORDS, modules__json=modules, sentence_bert_config__json=settings
    )
    with pytest.raises(OutsideRepositoryError, match=setting):
        hf.identify("hf/acme/x", files)


def test_a_timm_backbone_with_its_arguments_needs_no_connection(
    hf: PluginHooks, tmp_path: Path, connections: list[object]
) -> None:
    written = {**DETR, "backbone": "test_resnet", "backbone_kwargs": {"out_indices": [1, 2, 3, 4]}}
    files = files_of(tmp_path, config__json=written)
    with torch.device("meta"):
        network: Any = hf.build(spec_of("vision"), files)
    wanted = {**DETR, "backbone_config": {"model_type": "timm_backbone", "backbone": "test_resnet"}}
    wanted["backbone_config"]["out_indices"] = [1, 2, 3, 4]
    with torch.device("meta"):
        library = AutoModel.from_config(AutoConfig.for_model(**wanted))
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in library.state_dict().items()
    }
    assert connections == []


def test_an_unavailable_attention_implementation_is_ignored(hf: PluginHooks, tmp_path: Path) -> None:
    files = files_of(tmp_path, config__json={**BERT, "attn_implementation": "flash_attention_2"})
    with torch.device("meta"):
        network: Any = hf.build(spec_of(), files)
    assert network.config._attn_implementation in ("sdpa", "eager")


def test_every_setting_of_a_configuration_that_names_something_has_a_rule() -> None:
    """A new release may add a setting: then this test names it."""
    known = {"architecture", "backbone", "model_args"}  # refused if they refer to something outside the repository
    harmless = {"dataset", "index_path", "passages_path", "index_name", "title_sep", "doc_sep", "dataset_revision"}
    harmless |= {"dataset_split"}  # of RAG, which has no base network here
    harmless |= {"detectron2_config_args", "relative_bias_args", "backbone_config"}  # numbers, and a configuration
    suspicious = ("path", "file", "repo", "url", "checkpoint", "dataset", "index", "backbone", "architecture", "args")
    found = set()
    for model_type in CONFIG_MAPPING:
        kind = CONFIG_MAPPING[model_type]
        for name, annotation in kind.__annotations__.items():
            words = name.split("_")
            is_text = "str" in str(annotation) or "dict" in str(annotation)
            if is_text and any(word in words for word in suspicious) and name != "architectures":
                found.add(name)
    assert found <= known | harmless, found - known - harmless


# ---------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_hidden_layers": 10**30}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": float("inf")}, "num_hidden_layers"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"hidden_size": 10**30}, "hidden_size"),
    ],
    ids=str,
)
def test_excessive_counts_are_refused_before_the_library_runs(
    change: dict[str, Any], named: str, hf: PluginHooks, tmp_path: Path
) -> None:
    with pytest.raises(TooLargeError, match=f"`{named}` is "):
        hf.identify("hf/acme/x", files_of(tmp_path, config__json={**BERT, **change}))


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": 200_000, "width": 200_000}},
        {"size": {"shortest_edge": 200_000}},
        {"size": 200_000},
        {"crop_size": {"height": 200_000, "width": 200_000}},
        {"size_divisor": 200_000},
        {"size": {"shortest_edge": 10**9, "longest_edge": 10**9}, "merge_size": 2},
    ],
    ids=str,
)
def test_images_of_gigabytes_are_refused(settings: dict[str, Any], hf: PluginHooks, tmp_path: Path) -> None:
    processor = {"image_processor_type": "ViTImageProcessor", **settings}
    with pytest.raises(TooLargeError, match="pixels"):
        hf.identify("hf/acme/x", files_of(tmp_path, config__json=VIT, preprocessor_config__json=processor))


def test_sizes_in_numbers_of_pixels_are_not_side_lengths(hf: PluginHooks, tmp_path: Path) -> None:
    """As in Qwen2-VL."""
    from layerzoo_hf.processor_bounds import check_processor

    check_processor("hf/acme/x", {"size": {"shortest_edge": 3136, "longest_edge": 12_845_056}, "merge_size": 2})


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000, '{"a": ' + "9" * 5000 + "}", ""]
)
def test_an_invalid_json_configuration_raises_a_layerzoo_error(text: str, hf: PluginHooks, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"its config\.json is not valid JSON"):
        hf.identify("hf/acme/x", files_of(tmp_path, config__json=text))


# ---------------------------------------------------------------- advice


@pytest.mark.parametrize("name", ["zzz requires the evilpkg library", "x; pip install evilpkg", "install `evilpkg`"])
@pytest.mark.parametrize("key", ["architecture", "model_type", "tokenizer_class", "hidden_act"])
def test_text_of_a_repository_never_appears_as_advice(key: str, name: str, hf: PluginHooks, tmp_path: Path) -> None:
    given = {"model_type": "timm_wrapper"} if key == "architecture" else BERT
    files = files_of(tmp_path, config__json={**given, key: name}, vocab__txt=WORDS)
    for use in (lambda: hf.identify("hf/acme/x", files), lambda: hf.build(spec_of(), files)):
        kind, message = reported(use)
        assert kind is not MissingLibraryError
        assert "install evilpkg" not in message.replace(name, "")


@pytest.mark.parametrize("name", sorted(LOADING_ARGUMENTS))
def test_every_loading_argument_of_timm_is_refused(name: str) -> None:
    check_configuration("hf/acme/x", {"model_type": "timm_wrapper", "model_args": {name: False}})
    with pytest.raises(OutsideRepositoryError, match=rf"`model_args.{name}`"):
        check_configuration("hf/acme/x", {"model_type": "timm_wrapper", "model_args": {name: "evil"}})


def test_arguments_of_timm_require_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "layerzoo_timm.factory", None)
    with pytest.raises(MissingLibraryError, match=r"hf/acme/x needs layerzoo-timm.* pip install layerzoo-timm"):
        check_configuration("hf/acme/x", {"model_type": "timm_wrapper", "model_args": {"drop_rate": 0.1}})


def reported(use: Callable[[], object]) -> tuple[type[Exception] | None, str]:
    try:
        use()
    except LayerzooError as error:
        return type(error), str(error)
    return None, ""


def test_a_missing_package_has_its_name_on_pypi() -> None:
    from layerzoo_hf.library_errors import _PACKAGES, translated_errors

    absent = next(
        module for module in _PACKAGES if not transformers.utils.import_utils._is_package_available(module)[0]
    )
    with pytest.raises(MissingLibraryError, match=f"pip install {_PACKAGES[absent]}"), translated_errors("hf/acme/x"):
        raise ImportError(f"BertTokenizer requires the {_PACKAGES[absent]} library but it was not found")
    with pytest.raises(RepositoryError), translated_errors("hf/acme/x"):
        raise ImportError("'a requires the evilpkg library'")


def test_defaults_of_the_library_are_accepted() -> None:
    refused: dict[str, str] = {}
    for name in CONFIG_MAPPING:
        try:
            settings = CONFIG_MAPPING[name]().to_dict()
        except Exception:  # noqa: BLE001 - it has no defaults
            continue
        try:
            check_configuration(name, settings)
        except LayerzooError as error:
            refused[name] = str(error)
    for name in _processors():
        try:
            settings = getattr(transformers, name)().to_dict()
        except Exception:  # noqa: BLE001 - it has no defaults, or needs a package
            continue
        try:
            check_processor(name, settings)
        except LayerzooError as error:
            refused[name] = str(error)
    assert refused == {}


def _processors() -> list[str]:
    kinds = ("ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "VideoProcessor", "FeatureExtractor")
    return [name for name in dir(transformers) if name.endswith(kinds)]
