"""A sample of the certificate of preprocessing: real classes of the library, compared with the library's own call."""

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
"""Classes that make images of more than a thousand pixels a side, or many tiles."""
KINDS = ("CLIPImageProcessor", "ConvNextImageProcessor", "BeitImageProcessor", "EfficientNetImageProcessor",
         "VideoMAEVideoProcessor", "VivitImageProcessor", "Qwen2VLImageProcessor",
         "DINOv3ViTImageProcessor")  # fmt: skip
"""One of each kind: crop, crop or squash, plain, offset, video, video by an image processor, patches, torchvision."""


def sample() -> list[str]:
    usable = [name for name in (*image_processors(), *video_processors()) if not name.startswith(_SLOW)]
    return [*KINDS, *random.Random(0).sample(sorted(set(usable) - set(KINDS)), 6)]


@pytest.mark.parametrize("name", sample())
def test_a_class_gives_what_the_library_gives_or_is_refused(name: str) -> None:
    records = list(certified(name, inputs=4, only_default=True))
    assert [(record.verdict, record.reason) for record in records if record.verdict == "unequal"] == []
    assert records


@pytest.mark.slow
@pytest.mark.parametrize("name", [*image_processors(), *video_processors()])
def test_every_class_gives_what_the_library_gives_or_is_refused(name: str) -> None:
    records = list(certified(name))
    assert [(record.verdict, record.reason) for record in records if record.verdict == "unequal"] == []


def test_the_page_counts_and_shows_every_record() -> None:
    records = [
        Record(kind="image processor", name="A", configuration="default", backend="pil", inputs=12, verdict="equal"),
        Record(kind="tokenizer", name="B", configuration="a | b", inputs=3, verdict="refused", reason="no <words>"),
    ]
    written = page.page(records, {"transformers": "5"})
    assert "| image processor | 1 | 1 | 12 | 1 | 0 | 0 |" in written
    assert "| all | 2 | 2 | 15 | 1 | 1 | 0 |" in written
    assert "| `B` | a \\| b |  | 3 | refused | no &lt;words> |" in written
