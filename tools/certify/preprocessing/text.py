"""Compare the text input of networks with the library's own tokenizers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tools.certify.preprocessing.folders import plain, preprocessor_of
from tools.certify.preprocessing.record import Record
from tools.certify.preprocessing.tokenizers import classes, small_tokenizer
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoConfig, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from layerzoo.errors import LayerzooError, SampleError
from layerzoo.runtime.batch import InputRow
from layerzoo.runtime.preprocess import TextPreprocessor
from layerzoo_hf.parts import arguments, backbone_without_values, modality_of

TEXTS = (
    "a fine film",
    "",
    "nothing is read that a cut does not need, and " * 150,
    "日本語のテキスト, 电影, ประเทศไทย, हिन्दी",
    "emoji 🙂🙃 and 👩‍👩‍👧 of several characters",
    "[CLS] special [SEP] tokens </s> inside <s> <pad> [MASK] <|endoftext|> the text </s>",
    "line\r\nends\rand\ttabs\n",
    "  leading, trailing  and   double spaces  ",
    "ZERO\u200bWIDTH\u00a0SPACE, Ünïcode naïve café, e\u0301",
    "x",
    "one two three four five six seven eight nine ten",
    "\ufeff\u0001\u2028\ud7ff\ue000 3.14159! don't",
)
"""Twelve texts: empty, long, in other scripts, with special tokens, with unusual characters."""

VARIATIONS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "truncation_side='left', model_max_length=12": {"truncation_side": "left", "model_max_length": 12},
    "padding_side='left', model_max_length=12": {"padding_side": "left", "model_max_length": 12},
    "model_max_length=16, all tensors": {
        "model_max_length": 16,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    },
    "add_bos_token=True, add_eos_token=True": {"add_bos_token": True, "add_eos_token": True},
}
"""Fields of tokenizer_config.json, by the name of a configuration."""
_PADDED_TYPE = "siglip"
"""A type whose texts are padded to the longest input, which is the only use of a padding side."""


def records(names: Sequence[str] | None = None, configurations: Sequence[str] = tuple(VARIATIONS)) -> Iterator[Record]:
    """Compare every tokenizer, or those of some names, in its default and other configurations, or some of them."""
    for name in classes() if names is None else names:
        with TemporaryDirectory(prefix="certify-") as folder:
            try:
                tokenizer = small_tokenizer(name, Path(folder))
            except ImportError as error:
                yield Record(kind="tokenizer", name=name, configuration="default", inputs=0, verdict="refused",
                             reason=plain(error))  # fmt: skip
                continue
            for configuration in configurations:
                fields = VARIATIONS[configuration]
                if "padding_side" in fields and tokenizer.pad_token is None:
                    continue
                yield _record(name, tokenizer, configuration, fields)


def _record(name: str, tokenizer: Any, configuration: str, fields: Mapping[str, Any]) -> Record:
    model_type = _PADDED_TYPE if "padding_side" in fields else _type_of(name)
    config = AutoConfig.for_model(model_type)

    def save(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")

    row = {"kind": "tokenizer", "name": name, "configuration": configuration}
    try:
        with preprocessor_of("text", config.save_pretrained, save) as (folder, preprocess):
            assert isinstance(preprocess, TextPreprocessor)
            library = AutoTokenizer.from_pretrained(folder)
            row["backend"] = "fast" if isinstance(library, PreTrainedTokenizerFast) else "slow"
            return Record(**row, **_compared(library, preprocess, _taken(model_type)))  # type: ignore[arg-type]
    except (LayerzooError, ImportError) as error:
        return Record(**row, inputs=0, verdict="refused", reason=plain(error))  # type: ignore[arg-type]


def _type_of(name: str) -> str:
    """Return a model type that takes text and has this tokenizer; otherwise the one that takes the most tensors."""
    types = (str(model_type) for model_type, tokenizer in TOKENIZER_MAPPING_NAMES.items() if tokenizer == name)
    known = [model_type for model_type in types if model_type in CONFIG_MAPPING_NAMES]
    fewest_parts = sorted(known, key=lambda model_type: len(CONFIG_MAPPING[model_type].sub_configs))
    return next(filter(_takes_text, fewest_parts), "bert")


@cache
def _takes_text(model_type: str) -> bool:
    try:
        config = AutoConfig.for_model(model_type)
        return modality_of(config) == "text" and "input_ids" in arguments(backbone_without_values(config, "text"))
    except Exception:  # noqa: BLE001 - a type without a network, or with one of a missing package
        return False


@cache
def _taken(model_type: str) -> tuple[str, ...]:
    return arguments(backbone_without_values(AutoConfig.for_model(model_type), "text"))


def _compared(library: Any, preprocess: TextPreprocessor, taken: Sequence[str]) -> dict[str, Any]:
    """Return the verdict and the number of compared texts."""
    declared = preprocess.declared
    rows: list[InputRow] = []
    kept: list[str] = []
    refused: dict[int, str] = {}
    is_padded = declared.batching == "exact"
    options = {"truncation": True, "max_length": declared.max_tokens, "return_tensors": "pt"}
    if is_padded:
        options |= {"padding": "max_length"}
        taken = [name for name in taken if name != "attention_mask"]  # such networks are trained without a mask
    for number, text in enumerate(TEXTS):
        try:
            (row,) = preprocess.rows(text).rows
        except SampleError as error:
            refused[number] = error.reason
            continue
        inputs = preprocess.collate([row]).inputs
        if difference := _difference(inputs, library(text, **options), taken):
            return {"inputs": len(kept), "verdict": "unequal", "reason": f"text {number}: {difference}"}
        rows.append(row)
        kept.append(text)
    if len({tuple(row.inputs) for row in rows}) == 1 and library.pad_token is not None and not is_padded:
        padded = library(kept, padding=True, padding_side="right", **options)
        if difference := _difference(preprocess.collate(rows).inputs, padded, taken):
            return {"inputs": len(kept), "verdict": "unequal", "reason": f"in a batch: {difference}"}
    reasons = dict.fromkeys(reason for number, reason in refused.items() if TEXTS[number].strip())
    return {"inputs": len(kept), "verdict": "equal" if kept else "refused", "reason": "; ".join(reasons)}


def _difference(inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor], taken: Sequence[str]) -> str | None:
    """Return the difference from the library's tensors, or None."""
    wanted = {name: tensor for name, tensor in expected.items() if name in taken}
    if missing := wanted.keys() - inputs.keys():
        return f"{', '.join(sorted(missing))} missing"
    for name, tensor in wanted.items():
        if not torch.equal(inputs[name], tensor):
            return f"{name} differs"
    # A mask is always given: of ones, it changes nothing.
    surplus = inputs.keys() - wanted.keys() - {"attention_mask"}
    return f"{', '.join(sorted(surplus))} not returned by the library" if surplus else None
