"""The checks of `zoo plugin check`, on every plugin of this repository."""

from __future__ import annotations

import pytest

from layerzoo.testing import BackboneConformance

_WITHOUT_IMPORT = ("shape", "law", "preprocess", "weights")
"""Without the tier static, which imports the plugin in another process: 2 to 10 s."""


class TestToy(BackboneConformance):
    plugin = "toy"
    tiers = _WITHOUT_IMPORT


class TestStarter(BackboneConformance):
    plugin = "layerzoo-starter"
    models = ("starter/efficientnet-lite0", "starter/minilm-l6")


@pytest.mark.slow
class TestLargeStarterModels(BackboneConformance):
    plugin = "layerzoo-starter"
    models = ("starter/efficientnet-lite0-video", "starter/whisper-tiny-en")


class TestTimm(BackboneConformance):
    plugin = "layerzoo-timm"
    models = ("timm/test_vit.r160_in1k",)
    tiers = ("shape", "law", "preprocess")


@pytest.mark.slow
class TestTimmFully(BackboneConformance):
    plugin = "layerzoo-timm"


@pytest.mark.slow
class TestTorchvision(BackboneConformance):
    plugin = "layerzoo-torchvision"


@pytest.mark.slow
class TestTorchaudio(BackboneConformance):
    plugin = "layerzoo-torchaudio"


@pytest.mark.slow
class TestHf(BackboneConformance):
    plugin = "layerzoo-hf"


class TestVideo(BackboneConformance):
    plugin = "layerzoo-video"
    models = ("video/timm/test_vit.r160_in1k",)
    tiers = ("shape", "law", "preprocess")
