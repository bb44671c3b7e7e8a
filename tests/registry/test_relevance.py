"""Searches of the real catalogues find what people mean: queries with their expected top results, judged by hand.

The judgement: for a name, the model or the default tag that is called so; for a kind of model, the starter model, then
small documented checkpoints of that kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerzoo.registry import Environment, Registry
from layerzoo.registry.installed.environment import core, scan

FIRST = {
    "resnet50": "timm/resnet50.a1_in1k",
    "resnet-50": "timm/resnet50.a1_in1k",
    "ResNet 18": "timm/resnet18.a1_in1k",
    "timm resnet50": "timm/resnet50.a1_in1k",
    "microsoft resnet": "hf/microsoft/resnet-50",
    "vit": "hf/google/vit-base-patch16-224",
    "vit tiny": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "convnext tiny": "timm/convnext_tiny.in12k_ft_in1k",
    "resnet50 clip": "timm/resnet50_clip.openai",
    "swin": "hf/microsoft/swin-tiny-patch4-window7-224",
    "clip": "hf/openai/clip-vit-base-patch32",
    "clip text": "hf/openai/clip-vit-base-patch32:text",
    "siglip": "hf/google/siglip-base-patch16-224",
    "dinov2": "hf/facebook/dinov2-base",
    "dino v2": "hf/facebook/dinov2-base",
    "dinov3": "hf/facebook/dinov3-vits16-pretrain-lvd1689m",
    "videomae": "hf/MCG-NJU/videomae-base",
    "mae": "hf/facebook/vit-mae-base",
    "lw detr": "hf/AnnaZhang/lwdetr_small_60e_coco",
    "bert": "hf/google-bert/bert-base-uncased",
    "bert base": "hf/google-bert/bert-base-uncased",
    "roberta": "hf/FacebookAI/roberta-base",
    "distilbert": "hf/google/distilbert-base-uncased",
    "t5": "hf/google-t5/t5-small",
    "gpt2": "hf/openai-community/gpt2",
    "llama": "hf/meta-llama/Llama-2-7b-hf",
    "minilm": "starter/minilm-l6",
    "sentence embeddings": "starter/minilm-l6",
    "multilingual": "hf/alibaba-nlp-community/gte-multilingual-base",
    "whisper tiny": "hf/openai/whisper-tiny",
    "wav2vec2": "hf/facebook/wav2vec2-base-960h",
    "hubert": "hf/facebook/hubert-base-ls960",
    "speech": "starter/whisper-tiny-en",
    "models for speech recognition": "starter/whisper-tiny-en",
    "english speech": "starter/whisper-tiny-en",
    "audio": "starter/whisper-tiny-en",
    "text": "starter/minilm-l6",
    "image": "starter/efficientnet-lite0",
    "image classification": "starter/efficientnet-lite0",
    "video": "starter/efficientnet-lite0-video",
    "speech emotion": "starter/whisper-tiny-en",
    "emotion": "starter/whisper-tiny-en",
    "speaker verification": "starter/whisper-tiny-en",
    "sentence embeddings german": "starter/minilm-l6",
    "video action recognition": "torchvision/s3d.KINETICS400_V1",
    "image embedding": "timm/convnextv2_atto.fcmae",
    "speech embedding": "torchaudio/HUBERT_BASE",
    "audio event classification": "hf/MIT/ast-finetuned-audioset-10-10-0.4593",
    "bird audio": "hf/MIT/ast-finetuned-audioset-10-10-0.4593",
    "mini lm": "starter/minilm-l6",
    "sbert": "starter/minilm-l6",
    "language model small": "hf/google-t5/t5-small",
    "small vision transformer": "timm/vit_small_patch8_224.dino",
    "german": "torchaudio/VOXPOPULI_ASR_BASE_10K_DE",
}
AMONG_THE_FIRST_FIVE = {
    "speech": ("starter/whisper-tiny-en", "hf/UsefulSensors/moonshine-tiny"),
    "sentence embeddings german": ("starter/minilm-l6", "hf/jinaai/jina-embeddings-v3-hf"),
    "whisper": ("hf/openai/whisper-tiny", "starter/whisper-tiny-en"),
    "efficientnet": ("starter/efficientnet-lite0", "timm/efficientnet_b0.ra_in1k"),
    "mobilenet": ("timm/mobilenetv3_rw.rmsp_in1k", "timm/mobilenetv2_050.lamb_in1k"),
    "object detection": (
        "torchvision/ssdlite320_mobilenet_v3_large.COCO_V1",
        "torchvision/fasterrcnn_mobilenet_v3_large_fpn.COCO_V1",
    ),
    "segmentation": (
        "torchvision/lraspp_mobilenet_v3_large.COCO_WITH_VOC_LABELS_V1",
        "torchvision/maskrcnn_resnet50_fpn.COCO_V1",
    ),
    "depth": ("hf/apple/DepthPro", "hf/Intel/dpt-large"),
    "text to speech": ("hf/suno/bark", "hf/facebook/musicgen-small"),
    "french": ("hf/almanach/camembert-base", "hf/flaubert/flaubert_base_uncased"),
    "chinese": ("hf/nghuyong/ernie-3.0-base-zh",),
}


@pytest.fixture(scope="module")
def zoo(index: Path) -> Registry:
    """The plugins of this repository, without the user's own files."""
    return Registry(Environment((core(), *scan()), ()), cache=index)


@pytest.mark.parametrize(("query", "expected"), FIRST.items(), ids=str)
def test_the_first_result_is_what_is_meant(zoo: Registry, query: str, expected: str) -> None:
    assert zoo.ids(text=query, limit=1) == [expected]


@pytest.mark.parametrize(("query", "expected"), AMONG_THE_FIRST_FIVE.items(), ids=str)
def test_the_first_results_hold_what_is_meant(zoo: Registry, query: str, expected: tuple[str, ...]) -> None:
    assert set(expected) <= set(zoo.ids(text=query, limit=5))


def test_speech_models_come_before_those_of_special_tasks(zoo: Registry) -> None:
    ids = zoo.ids(text="speech")
    first_special = min(position for position, model in enumerate(ids) if "TACOTRON2" in model or "SQUIM" in model)
    assert ids.index("hf/facebook/wav2vec2-base-960h") < first_special
    assert ids.index("torchaudio/HUBERT_BASE") < first_special


def test_a_whole_word_comes_before_a_beginning(zoo: Registry) -> None:
    assert not any("facebook" in model for model in zoo.ids(text="face", limit=50))


def test_words_that_no_model_has_together_find_the_models_that_match_most(zoo: Registry) -> None:
    filters: dict[str, Any] = {"text": "resnet50 whisper quantum"}
    assert zoo.matched_texts(**filters) == ["whisper", "resnet50"]
    ids = zoo.ids(**filters)
    assert (ids[0], len(ids)) == (zoo.ids(text="whisper", limit=1)[0], zoo.count(**filters))
    assert set(ids) == {*zoo.ids(text="whisper"), *zoo.ids(text="resnet50")}
    assert zoo.matched_texts(text="mini lm") == ["minilm"]
    assert zoo.matched_texts(text="resnet 50") == zoo.matched_texts(text="zebra quantum") == []


def test_a_misspelt_search_names_the_nearest_models(zoo: Registry) -> None:
    assert any("efficientnet" in name for name in zoo.nearest("efficentnet"))


def test_an_exact_name_comes_first_for_every_short_alias(zoo: Registry) -> None:
    specs = zoo.models("timm/r*", limit=100)
    short = {spec.aliases[0].partition("/")[2]: spec.id for spec in specs if spec.aliases}
    assert {name: zoo.ids(text=name, limit=1) for name in short} == {name: [model] for name, model in short.items()}
