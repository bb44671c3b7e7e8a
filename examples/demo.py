"""What four small pretrained networks make of real tweets, pictures, sounds and clips: ``python -m examples.demo``.

Every number it prints and draws is computed in the run. The folder ``demo`` gets one Parquet file of features for each
kind of sample, and ``demo.png``, one picture of it all.
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
    chance_of_same_kind,
    closest_pair,
    nearest_is_of_same_kind,
    score_of_majority,
    score_of_vectors,
    score_of_words,
)
from examples.results import ClipResult, FloatArray, PictureResult, Results, SoundResult, TweetResult
from examples.samples import IMAGENET_CLASSES, clips, photographs, pictures, sounds, tweets

import layerzoo
from layerzoo.spec import ImagePreprocess, VideoPreprocess

FOLDER = Path("demo")


def main() -> None:
    started = perf_counter()
    FOLDER.mkdir(exist_ok=True)
    print("layerzoo: name a model and a layer, get a feature matrix. Nothing past the layer is computed or loaded.")
    results = Results(
        tweets=tell_tweets(FOLDER, *tweets(per_class=1000)),
        pictures=tell_pictures(FOLDER, *pictures(), *photographs()),
        sounds=tell_sounds(FOLDER, *sounds()),
        clips=tell_clips(FOLDER, *clips()),
    )
    save_figure(results, FOLDER / "demo.png")
    print(f"\nAll of it in one picture: {FOLDER / 'demo.png'}")
    print(f"{perf_counter() - started:.0f} s in all.")


def tell_tweets(folder: Path, texts: Sequence[str], sentiments: Sequence[str]) -> TweetResult:
    """All layers in one pass and a classifier on each; the same with random weights, and without a network."""
    _headline(
        f"{len(texts):,} tweets: {', '.join(sorted(set(sentiments)))}?",
        "Where to cut a network is found by experiment. One pass gives the vectors of all its layers.",
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
    print(f"\n  Share of tweets that a logistic regression is right about, {FOLDS}-fold cross-validated:\n")
    print("    layer      pretrained   random weights   parameters up to here")
    for layer, with_training, without in zip(trained.layers, result.trained, result.untrained, strict=True):
        print(f"    {layer.name:10} {with_training.mean:10.3f} {without.mean:16.3f} {layer.params or 0:23,}")
    print(f"\n    {result.words.mean:.3f} from the counts of words alone, {result.majority.mean:.3f} from nothing")
    return result


def tell_pictures(
    folder: Path, labelled: Sequence[Path], classes: Sequence[int], others: Sequence[Path], names: Sequence[str]
) -> PictureResult:
    """Two layers in one pass: the vector before the classifier, and the classifier's answer."""
    paths = [*labelled, *others]
    _headline(
        f"{len(paths)} pictures: which are alike?",
        "One pass gives the vector before the network's classifier (pooled) and the classifier's answer (head).",
    )
    backbone = layerzoo.load("starter/efficientnet-lite0", layer=["pooled", "head"])
    features = _extract(backbone, paths, folder / "pictures.parquet")
    answers = features["head"].argmax(axis=1)[: len(labelled)]
    right = [bool(answer == label) for answer, label in zip(answers, classes, strict=True)]
    all_names = [*(IMAGENET_CLASSES[label] for label in classes), *names]
    first, second, cosine = closest_pair(features["pooled"])
    print(f"\n  {sum(right)} of the {len(right)} with a label are recognised.")
    print(f"  The two most alike: {all_names[first]} and {all_names[second]} (cosine {cosine:.2f}).")
    return PictureResult(
        model=backbone.spec.id,
        layer="pooled",
        names=all_names,
        thumbnails=_pictures_seen(backbone, paths),
        vectors=features["pooled"],
        recognised=[*right, *[None] * len(others)],
    )


def tell_sounds(folder: Path, paths: Sequence[Path], kinds: Sequence[str]) -> SoundResult:
    """For each sound, whether the one with the most similar vector is of the same kind, at every layer."""
    _headline(
        f"{len(paths)} sounds of games, of {len(set(kinds))} kinds: which are alike?",
        "The network has learnt from speech alone. What do its layers make of other sounds?",
    )
    backbone = layerzoo.load("starter/whisper-tiny-en", layer=["stem", "block.*", "norm"])
    features = _extract(backbone, paths, folder / "sounds.parquet")
    found = {layer: nearest_is_of_same_kind(features[layer], kinds) for layer in features.layers}
    shares = {layer: float(np.mean(answers)) for layer, answers in found.items()}
    chance = chance_of_same_kind(kinds)
    print("\n  Share of sounds whose nearest neighbour is of the same kind:\n")
    for name, share in [*shares.items(), ("by chance", chance)]:
        print(f"    {name:10} {share:10.3f}")
    best = max(shares, key=shares.__getitem__)
    return SoundResult(
        model=backbone.spec.id,
        shares=shares,
        chance=chance,
        layer=best,
        kinds=kinds,
        spectrograms=_sounds_heard(backbone, paths),
        vectors=features[best],
        found=found[best],
    )


def tell_clips(folder: Path, paths: Sequence[Path], labels: Sequence[str]) -> ClipResult:
    """Every frame a vector (pool="none" keeps them apart); their mean is the vector of the clip."""
    _headline(
        f"{len(paths)} video clips: which are alike?",
        "The network of the pictures again, cut before its classifier, on frames at even distances in time.",
    )
    names = [_clip_name(path, label) for path, label in zip(paths, labels, strict=True)]
    backbone = layerzoo.load("starter/efficientnet-lite0-video", layer="pooled", pool="none")
    features = _extract(backbone, paths, folder / "clips.parquet")
    seen = _pictures_seen(backbone, paths)
    first, second, cosine = closest_pair(features.values.mean(axis=1))
    print(f"\n  The two most alike: {names[first]} and {names[second]} (means over all frames, cosine {cosine:.2f}).")
    return ClipResult(
        model=backbone.spec.id,
        layer="pooled",
        names=names,
        thumbnails=seen.reshape(*features.values.shape[:2], *seen.shape[1:]),
        frames=features.values,
        closest=(first, second),
        similarity=cosine,
    )


def _clip_name(path: Path, label: str) -> str:
    return f"{label}, distorted" if path.stem.endswith("distorted") else label


def _headline(title: str, text: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}\n  {text}")


def _extract(backbone: layerzoo.Backbone, inputs: Sequence[Any], path: Path | None = None) -> layerzoo.Features:
    """The features of the inputs, saved where a path is given; says what was loaded and what came out."""
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
    """Such as ``27 × 1280 at pooled, 27 × 1000 at head``."""
    layers_of: defaultdict[str, list[str]] = defaultdict(list)
    for layer in features.layers:
        layers_of[" × ".join(map(str, features[layer].shape))].append(layer)
    return "; ".join(f"{shape} at {', '.join(layers)}" for shape, layers in layers_of.items())


def _pictures_seen(backbone: layerzoo.Backbone, paths: Sequence[Path]) -> FloatArray:
    """(picture or frame, height, width, 3), 0 to 1: what the network received, its normalisation undone."""
    declared = backbone.spec.preprocess
    image = declared.image if isinstance(declared, VideoPreprocess) else declared
    assert isinstance(image, ImagePreprocess)
    pixels = backbone.preprocess(paths).inputs["pixels"].permute(0, 2, 3, 1).numpy()
    std, mean = np.asarray(image.std, np.float32), np.asarray(image.mean, np.float32)
    seen: FloatArray = np.clip(pixels * std + mean, 0, 1)
    return seen


def _sounds_heard(backbone: layerzoo.Backbone, paths: Sequence[Path]) -> list[FloatArray]:
    """Per sound (mel band, time): what the network received, without the padding."""
    batch = backbone.preprocess(paths)
    assert batch.valid is not None
    spectrograms: FloatArray = batch.inputs["sound"].numpy()
    ends = batch.valid.numpy() * spectrograms.shape[-1] // batch.total
    return [spectrogram[:, :end] for spectrogram, end in zip(spectrograms, ends, strict=True)]


if __name__ == "__main__":
    main()
