"""The tasks, training data and languages of pipelines are those that torchaudio states."""

from __future__ import annotations

import pytest

import layerzoo
from layerzoo.registry import registry


@pytest.mark.parametrize(
    ("name", "task", "trained_on", "languages"),
    [
        ("WAV2VEC2_ASR_LARGE_LV60K_100H", "automatic-speech-recognition", ("libri-light", "librispeech"), ()),
        ("VOXPOPULI_ASR_BASE_10K_DE", "automatic-speech-recognition", ("voxpopuli",), ("de",)),
        ("WAVLM_LARGE", "feature-extraction", ("libri-light", "gigaspeech", "voxpopuli"), ()),
        ("MMS_FA", "forced-alignment", (), ("multilingual",)),
        ("TACOTRON2_WAVERNN_PHONE_LJSPEECH", "text-to-speech", ("ljspeech",), ("en",)),
        ("HDEMUCS_HIGH_MUSDB", "audio-to-audio", ("musdb-hq",), ()),
        ("SQUIM_SUBJECTIVE", "speech-quality-assessment", ("bvcc", "daps"), ()),
    ],
)
def test_facts_come_from_the_class_and_the_documentation(
    name: str, task: str, trained_on: tuple[str, ...], languages: tuple[str, ...]
) -> None:
    model = layerzoo.model(f"torchaudio/{name}")
    assert (model.tasks, model.trained_on, model.languages) == ((task,), trained_on, languages)
    assert model.id in registry().ids(task=task)


def test_speech_recognition_is_found_by_language() -> None:
    found = registry().ids(task="automatic-speech-recognition", language="fr", plugin="torchaudio")
    assert found == ["torchaudio/VOXPOPULI_ASR_BASE_10K_FR"]
