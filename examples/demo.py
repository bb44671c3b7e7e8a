"""Four small pretrained networks on real tweets, images, audio and video: ``python -m examples.demo``.

Every number that is printed and drawn is computed in the run. The folder ``demo`` gets one Parquet file of features for
each kind of sample, and ``demo.png``, a figure with all results.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from examples.figure import save_figure
from examples.measures import (
    FOLDS,
    chance_of_same_class,
    closest_pair,
    nearest_has_same_class,
    score_of_majority,
    score_of_vectors,
    score_of_words,
)
from examples.results import AudioResult, FloatArray, ImageResult, Results, TweetResult, VideoResult
from examples.samples import IMAGENET_CLASSES, audio_clips, imagenet_images, photographs, tweets, video_clips

import layerzoo
from layerzoo.spec import ImagePreprocess, VideoPreprocess

FOLDER = Path("demo")


def main() -> None:
    started = perf_counter()
    FOLDER.mkdir(exist_ok=True)
    print("layerzoo: name a model and a layer, get a feature matrix. Nothing after the layer is computed or loaded.")
    results = Results(
        tweets=classify_tweets(FOLDER, *tweets(per_class=1000)),
        images=compare_images(FOLDER, *imagenet_images(), *photographs()),
        audio=compare_audio(FOLDER, *audio_clips()),
        videos=compare_videos(FOLDER, *video_clips()),
    )
    save_figure(results, FOLDER / "demo.png")
    print(f"\nFigure with all results: {FOLDER / 'demo.png'}")
    print(f"Total time: {perf_counter() - started:.0f} s")


def classify_tweets(folder: Path, texts: Sequence[str], sentiments: Sequence[str]) -> TweetResult:
    """Score a classifier on every layer of one pass, with pretrained and random weights, and without a network."""
    _headline(
        f"{len(texts):,} tweets: {', '.join(sorted(set(sentiments)))}?",
        "The best layer to cut at is found by experiment. One forward pass gives the vectors of all layers.",
    )
    layers = ["stem", "block.*"]
    trained = layerzoo.load("starter/minilm-l6", layer=layers)
    untrained = layerzoo.load("starter/minilm-l6", layer=layers, weights="random:0")
    features = _extract(trained, texts, folder / "tweets.parquet")
    baseline = _extract(untrained, texts)
    result = TweetResult(
        model=trained.spec.id,
        count=len(texts),
        layers=features.layers,
        trained=[score_of_vectors(features[layer], sentiments) for layer in features.layers],
        untrained=[score_of_vectors(baseline[layer], sentiments) for layer in features.layers],
        words=score_of_words(texts, sentiments),
        majority=score_of_majority(sentiments),
    )
    print(f"\n  Accuracy of a logistic regression, {FOLDS}-fold cross-validated:\n")
    print("    layer      pretrained   random weights   parameters up to here")
    for layer, with_training, without in zip(trained.layers, result.trained, result.untrained, strict=True):
        print(f"    {layer.name:10} {with_training.mean:10.3f} {without.mean:16.3f} {layer.params or 0:23,}")
    print(f"\n    {result.words.mean:.3f} from word counts, {result.majority.mean:.3f} from the most frequent class")
    return result


def compare_images(
    folder: Path, labelled: Sequence[Path], classes: Sequence[int], others: Sequence[Path], names: Sequence[str]
) -> ImageResult:
    """Extract two layers in one pass: the vector before the classifier, and the classifier's scores."""
    paths = [*labelled, *others]
    _headline(
        f"{len(paths)} images: which are similar?",
        "One forward pass gives the vector before the classifier (pooled) and the scores of the classifier (head).",
    )
    backbone = layerzoo.load("starter/efficientnet-lite0", layer=["pooled", "head"])
    features = _extract(backbone, paths, folder / "images.parquet")
    predictions = features["head"].argmax(axis=1)[: len(labelled)]
    correct = [bool(prediction == label) for prediction, label in zip(predictions, classes, strict=True)]
    all_names = [*(IMAGENET_CLASSES[label] for label in classes), *names]
    first, second, cosine = closest_pair(features["pooled"])
    print(f"\n  {sum(correct)} of the {len(correct)} labelled images are classified correctly.")
    print(f"  Most similar: {all_names[first]} and {all_names[second]} (cosine {cosine:.2f}).")
    return ImageResult(
        model=backbone.spec.id,
        layer="pooled",
        names=all_names,
        thumbnails=_input_images(backbone, paths),
        vectors=features["pooled"],
        correct=[*correct, *[None] * len(others)],
    )


def compare_audio(folder: Path, paths: Sequence[Path], classes: Sequence[str]) -> AudioResult:
    """Compute, at every layer, the share of clips whose nearest neighbour has the same class."""
    _headline(
        f"{len(paths)} audio clips from games, {len(set(classes))} classes: which are similar?",
        "The network was trained on speech only. How do its layers represent other audio?",
    )
    backbone = layerzoo.load("starter/whisper-tiny-en", layer=["stem", "block.*", "norm"])
    features = _extract(backbone, paths, folder / "audio.parquet")
    matches = {layer: nearest_has_same_class(features[layer], classes) for layer in features.layers}
    shares = {layer: float(np.mean(matches_of_layer)) for layer, matches_of_layer in matches.items()}
    chance = chance_of_same_class(classes)
    print("\n  Share of clips whose nearest neighbour has the same class:\n")
    for name, share in [*shares.items(), ("by chance", chance)]:
        print(f"    {name:10} {share:10.3f}")
    best = max(shares, key=shares.__getitem__)
    return AudioResult(
        model=backbone.spec.id,
        shares=shares,
        chance=chance,
        layer=best,
        classes=classes,
        spectrograms=_input_spectrograms(backbone, paths),
        vectors=features[best],
        matches=matches[best],
    )


def compare_videos(folder: Path, paths: Sequence[Path], labels: Sequence[str]) -> VideoResult:
    """Extract one vector per frame with pool="none". The mean over the frames is the vector of a video."""
    _headline(
        f"{len(paths)} videos: which are similar?",
        "The image network again, cut before its classifier, on frames that are sampled uniformly in time.",
    )
    names = [_video_name(path, label) for path, label in zip(paths, labels, strict=True)]
    backbone = layerzoo.load("starter/efficientnet-lite0-video", layer="pooled", pool="none")
    features = _extract(backbone, paths, folder / "videos.parquet")
    frames = _input_images(backbone, paths)
    first, second, cosine = closest_pair(features.values.mean(axis=1))
    print(f"\n  Most similar: {names[first]} and {names[second]} (mean over all frames, cosine {cosine:.2f}).")
    return VideoResult(
        model=backbone.spec.id,
        layer="pooled",
        names=names,
        thumbnails=frames.reshape(*features.values.shape[:2], *frames.shape[1:]),
        frames=features.values,
        closest=(first, second),
        similarity=cosine,
    )


def _video_name(path: Path, label: str) -> str:
    return f"{label}, distorted" if path.stem.endswith("distorted") else label


def _headline(title: str, text: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}\n  {text}")


def _extract(backbone: layerzoo.Backbone, inputs: Sequence[Any], path: Path | None = None) -> layerzoo.Features:
    """Extract the features of the inputs, print their size and time, and save them if a path is given."""
    print(f"  {backbone.spec.id} up to {backbone.layers[-1].name}: {_loaded(backbone)}")
    started = perf_counter()
    features = layerzoo.extract(backbone, inputs)
    seconds = perf_counter() - started
    print(f"  {_shapes(features)}, in {seconds:.1f} s")
    if path is not None:
        features.save(path)
        print(f"  saved as {path}")
    return features


def _loaded(backbone: layerzoo.Backbone) -> str:
    loaded = backbone.provenance["loaded"]
    if not loaded["of_bytes"]:
        return "random weights, nothing loaded"
    return f"{loaded['bytes'] / 1e6:.1f} of {loaded['of_bytes'] / 1e6:.1f} MB of weights loaded"


def _shapes(features: layerzoo.Features) -> str:
    """Format the shapes by layer, as in ``27 × 1280 at pooled, 27 × 1000 at head``."""
    layers_of: defaultdict[str, list[str]] = defaultdict(list)
    for layer in features.layers:
        layers_of[" × ".join(map(str, features[layer].shape))].append(layer)
    return "; ".join(f"{shape} at {', '.join(layers)}" for shape, layers in layers_of.items())


def _input_images(backbone: layerzoo.Backbone, paths: Sequence[Path]) -> FloatArray:
    """Return the network's input without its normalisation: (image or frame, height, width, 3), 0 to 1."""
    declared = backbone.spec.preprocess
    image = declared.image if isinstance(declared, VideoPreprocess) else declared
    assert isinstance(image, ImagePreprocess)
    pixels = backbone.preprocess(paths).inputs["pixels"].permute(0, 2, 3, 1).numpy()
    std, mean = np.asarray(image.std, np.float32), np.asarray(image.mean, np.float32)
    images: FloatArray = np.clip(pixels * std + mean, 0, 1)
    return images


def _input_spectrograms(backbone: layerzoo.Backbone, paths: Sequence[Path]) -> list[FloatArray]:
    """Return the network's input for each clip, (mel band, time), without padding."""
    batch = backbone.preprocess(paths)
    assert batch.valid is not None
    spectrograms: FloatArray = next(iter(batch.inputs.values())).numpy()
    lengths = batch.valid.numpy() * spectrograms.shape[-1] // batch.total
    return [spectrogram[:, :length] for spectrogram, length in zip(spectrograms, lengths, strict=True)]


if __name__ == "__main__":
    main()
