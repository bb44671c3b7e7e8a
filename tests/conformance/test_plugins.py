"""The checks of `zoo plugin check`, on every plugin of this repository."""

from __future__ import annotations

import pytest

from layerzoo.conformance.codes import Tier
from layerzoo.testing import BackboneConformance

_WITHOUT_IMPORT: tuple[Tier, ...] = ("shape", "law", "preprocess", "weights")
"""Without the tier static, which imports the plugin in another process: 2 to 10 s. `make test-slow` runs all tiers."""
_ON_RANDOM_WEIGHTS: tuple[Tier, ...] = ("shape", "law", "preprocess")


class TestToy(BackboneConformance):
    plugin = "toy"
    tiers = _WITHOUT_IMPORT


class TestStarter(BackboneConformance):
    plugin = "layerzoo-starter"
    models = ("starter/minilm-l6",)


@pytest.mark.slow
class TestOtherStarterModels(BackboneConformance):
    plugin = "layerzoo-starter"
    models = ("starter/efficientnet-lite0", "starter/efficientnet-lite0-video", "starter/whisper-tiny-en")


class TestTimm(BackboneConformance):
    plugin = "layerzoo-timm"
    models = ("timm/test_vit.r160_in1k",)
    tiers = _ON_RANDOM_WEIGHTS


class TestVideo(BackboneConformance):
    plugin = "layerzoo-video"
    models = ("video/timm/test_vit.r160_in1k",)
    tiers = ("shape", "preprocess")


class TestTorchvision(BackboneConformance):
    plugin = "layerzoo-torchvision"
    models = ("torchvision/shufflenet_v2_x0_5.IMAGENET1K_V1",)
    tiers = ("shape", "preprocess")


class TestTorchaudio(BackboneConformance):
    plugin = "layerzoo-torchaudio"
    models = ("torchaudio/logmel",)
    tiers = _ON_RANDOM_WEIGHTS


class TestHf(BackboneConformance):
    plugin = "layerzoo-hf"
    models = ("hf/mobilenet_v2",)
    tiers = ("shape", "preprocess")


@pytest.mark.slow
class TestTimmFully(BackboneConformance):
    plugin = "layerzoo-timm"


@pytest.mark.slow
class TestVideoFully(BackboneConformance):
    plugin = "layerzoo-video"
    models = ("video/timm/test_vit.r160_in1k", "video/starter/efficientnet-lite0")


@pytest.mark.slow
class TestTorchvisionFully(BackboneConformance):
    plugin = "layerzoo-torchvision"


@pytest.mark.slow
class TestTorchaudioFully(BackboneConformance):
    plugin = "layerzoo-torchaudio"


@pytest.mark.slow
class TestHfFully(BackboneConformance):
    plugin = "layerzoo-hf"
