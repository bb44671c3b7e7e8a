"""The demo on a few real samples: every part returns results, saves its features, and is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from examples.demo import classify_tweets, compare_audio, compare_images, compare_videos
from examples.figure import save_figure
from examples.results import Results
from examples.samples import audio_clips, imagenet_images, photographs, tweets, video_clips
from PIL import Image

from layerzoo import Features


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def results(samples: Path, folder: Path) -> Results:
    """The demo's results on 30 tweets, 6 images, 8 audio clips and the last 3 videos; files are in ``folder``."""
    (paths, classes), (others, names) = imagenet_images(samples), photographs(samples)
    return Results(
        tweets=classify_tweets(folder, *tweets(samples, per_class=10)),
        images=compare_images(folder, paths[:4], classes[:4], others[:2], names[:2]),
        audio=compare_audio(folder, *(values[:8] for values in audio_clips(samples))),
        videos=compare_videos(folder, *(values[-3:] for values in video_clips(samples))),
    )


def test_features_of_every_kind_of_sample_are_saved(results: Results, folder: Path):
    counts = {path.stem: len(Features.load(path)) for path in folder.glob("*.parquet")}
    assert counts == {"tweets": 30, "images": 6, "audio": 8, "videos": 3}


def test_every_layer_is_scored_with_and_without_training(results: Results):
    scores = [*results.tweets.trained, *results.tweets.untrained, results.tweets.words, results.tweets.majority]
    assert len(results.tweets.trained) == len(results.tweets.untrained) == len(results.tweets.layers) == 7
    assert all(0 <= score.mean <= 1 for score in scores)
    assert results.tweets.majority.mean == pytest.approx(1 / 3)
    assert results.tweets.trained != results.tweets.untrained


def test_labelled_images_are_classified_correctly(results: Results):
    assert results.images.correct == [True, True, True, True, None, None]


def test_a_video_and_its_distorted_copy_are_the_closest(results: Results):
    assert [results.videos.names[index] for index in results.videos.closest] == [
        "man in a car",
        "man in a car, distorted",
    ]


def test_all_results_are_drawn_in_one_figure(results: Results, folder: Path):
    save_figure(results, folder / "demo.png")
    with Image.open(folder / "demo.png") as image:
        assert image.size == (1760, 1100)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 1000
