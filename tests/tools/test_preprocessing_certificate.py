"""Preprocessing of a sample of the library's classes, compared with the library's own call."""

from __future__ import annotations

import random

import pytest
from tools.certify.preprocessing import page
from tools.certify.preprocessing.images import certified, image_processors, video_processors
from tools.certify.preprocessing.record import Record

_SLOW = (
    "DepthPro",
    "Donut",
    "DeepseekVLHybrid",
    "Owlv2",
    "PerceptionLM",
    "UltraVBert",
    "SmolVLM",
    "Idefics3",
    "GotOcr2",
)
"""Classes that return images of more than a thousand pixels per side, or many tiles."""
REPRESENTATIVES = (
    "CLIPImageProcessor",
    "ConvNextImageProcessor",
    "BeitImageProcessor",
    "EfficientNetImageProcessor",
    "VideoMAEVideoProcessor",
    "VivitImageProcessor",
    "Qwen2VLImageProcessor",
    "DINOv3ViTImageProcessor",
)
"""A class for each kind of preprocessing: crop, crop or squash, plain, offset, video, video with an image processor,
patches, torchvision."""


def sample() -> list[str]:
    usable = [name for name in (*image_processors(), *video_processors()) if not name.startswith(_SLOW)]
    return [*REPRESENTATIVES, *random.Random(0).sample(sorted(set(usable) - set(REPRESENTATIVES)), 6)]


@pytest.mark.parametrize("name", sample())
def test_a_class_equals_the_library_or_is_refused(name: str) -> None:
    records = list(certified(name, inputs=4, only_default=True))
    assert [(record.verdict, record.reason) for record in records if record.verdict == "unequal"] == []
    assert records


@pytest.mark.slow
@pytest.mark.parametrize("name", [*image_processors(), *video_processors()])
def test_every_class_equals_the_library_or_is_refused(name: str) -> None:
    records = list(certified(name))
    assert [(record.verdict, record.reason) for record in records if record.verdict == "unequal"] == []


def test_the_page_counts_and_lists_every_record() -> None:
    records = [
        Record(kind="image processor", name="A", configuration="default", backend="pil", inputs=12, verdict="equal"),
        Record(kind="tokenizer", name="B", configuration="a | b", inputs=3, verdict="refused", reason="no <words>"),
    ]
    written = page.page(records, {"transformers": "5"})
    assert "| image processor | 1 | 1 | 12 | 1 | 0 | 0 |" in written
    assert "| all | 2 | 2 | 15 | 1 | 1 | 0 |" in written
    assert "| `B` | a \\| b |  | 3 | refused | no &lt;words> |" in written
