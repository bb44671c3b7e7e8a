"""The demo on a handful of real samples: every chapter says what it found, keeps its features, and is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from examples.demo import tell_clips, tell_pictures, tell_sounds, tell_tweets
from examples.figure import save_figure
from examples.results import Results
from examples.samples import clips, photographs, pictures, sounds, tweets
from PIL import Image

from layerzoo import Features


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def results(samples: Path, folder: Path) -> Results:
    """The demo's results on 30 tweets, 6 pictures, 8 sounds and the last 3 clips, with their files in ``folder``."""
    (paths, classes), (others, names) = pictures(samples), photographs(samples)
    return Results(
        tweets=tell_tweets(folder, *tweets(samples, per_class=10)),
        pictures=tell_pictures(folder, paths[:4], classes[:4], others[:2], names[:2]),
        sounds=tell_sounds(folder, *(values[:8] for values in sounds(samples))),
        clips=tell_clips(folder, *(values[-3:] for values in clips(samples))),
    )


def test_every_kind_of_sample_leaves_its_features(results: Results, folder: Path):
    counts = {path.stem: len(Features.load(path)) for path in folder.glob("*.parquet")}
    assert counts == {"tweets": 30, "pictures": 6, "sounds": 8, "clips": 3}


def test_every_layer_is_scored_with_and_without_training(results: Results):
    scores = [*results.tweets.trained, *results.tweets.untrained, results.tweets.words, results.tweets.majority]
    assert len(results.tweets.trained) == len(results.tweets.untrained) == len(results.tweets.layers) == 7
    assert all(0 <= score.mean <= 1 for score in scores)
    assert results.tweets.majority.mean == pytest.approx(1 / 3)
    assert results.tweets.trained != results.tweets.untrained


def test_pictures_with_a_label_are_recognised(results: Results):
    assert results.pictures.recognised == [True, True, True, True, None, None]


def test_a_clip_and_its_distorted_copy_are_the_closest(results: Results):
    assert [results.clips.names[index] for index in results.clips.closest] == [
        "man in a car",
        "man in a car, distorted",
    ]


def test_all_of_it_is_one_picture(results: Results, folder: Path):
    save_figure(results, folder / "demo.png")
    with Image.open(folder / "demo.png") as picture:
        assert picture.size == (1760, 1100)
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 1000
