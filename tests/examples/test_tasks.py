"""The worked examples run at a small size: tasks, style transfer, and fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from examples.fine_tune import accuracy, load, save, train
from examples.samples import SENTIMENTS, tweets
from examples.style import transfer
from examples.tasks import TASKS, solve
from PIL import Image

LAYERS = {"sentiment": ["block.1", "block.3"], "audio": ["block.0", "block.2"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if name != "direction"])
def test_a_task_is_solved_better_than_by_the_majority(name: str, tmp_path: Path, samples: Path) -> None:
    layers = LAYERS.get(name, ["stage.1", "stage.3"])
    found = solve(name, 3, tmp_path / name, layers=layers, folds=3, repeats=1)
    if name != "clusters":
        assert found.score > found.baselines[0].score
    assert (tmp_path / name / "sweep.html").is_file()


@pytest.mark.slow
def test_the_direction_of_a_video_is_found(tmp_path: Path, samples: Path) -> None:
    found = solve("direction", 2, tmp_path, layers="stage.1", folds=2, repeats=1, baselines=False)
    assert (found.task, found.samples, found.groups) == ("classify", 16, 8)
    assert found.score > 0.5


def test_style_transfer_lowers_the_loss_and_changes_the_image(tmp_path: Path, samples: Path) -> None:
    paths = sorted((samples / "skimage/data").glob("c*.png"))[:2]
    image, losses = transfer(*paths, 12, side=64)
    assert losses[-1] < 0.5 * losses[0]
    original = Image.open(paths[0]).convert("RGB").resize((64, 64))
    assert np.abs(np.asarray(image, float) - np.asarray(original, float)).mean() > 2


@pytest.mark.slow
def test_a_fine_tuned_network_predicts_the_same_after_it_was_loaded(tmp_path: Path, samples: Path) -> None:
    texts, sentiments = tweets(per_class=12)
    labels = torch.tensor([SENTIMENTS.index(sentiment) for sentiment in sentiments])
    backbone, head = train(texts, labels, 4)
    assert accuracy(backbone, head, texts, labels) > 0.6
    save(tmp_path, backbone, head)
    assert accuracy(*load(tmp_path), texts, labels) == accuracy(backbone, head, texts, labels)
