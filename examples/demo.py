"""What four small pretrained networks make of real tweets, pictures, sounds and clips: ``python -m examples.demo``.

Every number it prints and draws is computed in the run. The folder ``demo`` gets one Parquet file of features for each
kind of sample, and ``demo.png``, one picture of it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import layerzoo
import numpy as np
from examples import measures, samples
from examples.figure import save_figure
from examples.results import ClipResult, FloatArray, PictureResult, Results, SoundResult, TweetResult
from layerzoo.spec import ImagePreprocess, VideoPreprocess

FOLDER = Path(__file__).resolve().parents[1] / "demo"


def main() -> None:
    started = perf_counter()
    FOLDER.mkdir(exist_ok=True)
    print("layerzoo: name a model and a layer, get a feature matrix. Nothing past the layer is computed or loaded.")
    results = Results(
        tweets=tell_tweets(FOLDER, *samples.tweets(per_class=1000)),
        pictures=tell_pictures(FOLDER, *samples.pictures(), *samples.photographs()),
        sounds=tell_sounds(FOLDER, *samples.sounds()),
        clips=tell_clips(FOLDER, *samples.clips()),
    )
    save_figure(results, FOLDER / "demo.png")
    print(f"\nAll of it in one picture: {FOLDER / 'demo.png'}")
    print(f"{perf_counter() - started:.0f} s in all.")


def tell_tweets(folder: Path, texts: Sequence[str], sentiments: Sequence[str]) -> TweetResult:
    """Where to cut is found by experiment: every layer in one pass, and a classifier on each."""
    _headline(f"{len(texts):,} tweets: {', '.join(sorted(set(sentiments)))}. At which layer should a network be cut?")
    trained = layerzoo.load("starter/minilm-l6", layer=["stem", "block.*"])
    untrained = layerzoo.load("starter/minilm-l6", layer=["stem", "block.*"], weights="random:0")
    features = _extract(trained, texts, folder / "tweets.parquet")
    baseline = _extract(untrained, texts)
    result = TweetResult(
        model=trained.spec.id,
        count=len(texts),
        layers=features.layers,
        trained=[measures.score_of_vectors(features[layer], sentiments) for layer in features.layers],
        untrained=[measures.score_of_vectors(baseline[layer], sentiments) for layer in features.layers],
        words=measures.score_of_words(texts, sentiments),
        majority=measures.score_of_majority(sentiments),
    )
    print("\n  A logistic regression on each layer, 5-fold cross-validated; the share of tweets it is right about:\n")
    print("    layer      pretrained  random weights")
    for layer, with_training, without in zip(result.layers, result.trained, result.untrained, strict=True):
        print(f"    {layer:10} {with_training.mean:10.3f} {without.mean:15.3f}")
    print(f"\n    words counted, no network {result.words.mean:.3f}; always the same answer {result.majority.mean:.3f}")
    return result


def tell_pictures(
    folder: Path, labelled: Sequence[Path], classes: Sequence[int], others: Sequence[Path], names: Sequence[str]
) -> PictureResult:
    """Two layers in one pass: the vector before the classifier, and the classifier's answer."""
    _headline(f"{len(labelled) + len(others)} pictures: what is on them, and which are alike?")
    backbone = layerzoo.load("starter/efficientnet-lite0", layer=["pooled", "head"])
    paths = [*labelled, *others]
    features = _extract(backbone, paths, folder / "pictures.parquet")
    answers = features["head"].argmax(axis=1)
    right = [bool(answer == label) for answer, label in zip(answers[: len(labelled)], classes, strict=True)]
    print(f"\n  {sum(right)} of {len(right)} with a label are recognised (layer head, the first of 1,000 answers).")
    result = PictureResult(
        model=backbone.spec.id,
        layer="pooled",
        names=[*(samples.IMAGENET_CLASSES[label] for label in classes), *names],
        thumbnails=_pictures_seen(backbone, paths),
        vectors=features["pooled"],
        recognised=[*right, *[None] * len(others)],
    )
    first, second, cosine = measures.closest_pair(result.vectors)
    print(
        f"  The two most alike: {result.names[first]} and {result.names[second]} (layer pooled, cosine {cosine:.2f})."
    )
    return result


def tell_sounds(folder: Path, paths: Sequence[Path], kinds: Sequence[str]) -> SoundResult:
    """A network that was trained on speech alone hears game sounds."""
    _headline(f"{len(paths)} sounds of games, of {len(set(kinds))} kinds: is the nearest sound of the same kind?")
    backbone = layerzoo.load("starter/whisper-tiny-en", layer=["stem", "block.*", "norm"])
    features = _extract(backbone, paths, folder / "sounds.parquet")
    neighbours = {layer: measures.nearest_neighbours(features[layer]) for layer in features.layers}
    shares = {layer: measures.share_of_same_kind(near, kinds) for layer, near in neighbours.items()}
    chance = measures.chance_of_same_kind(kinds)
    best = max(shares, key=shares.__getitem__)
    print("\n    layer      of the same kind")
    for layer, share in shares.items():
        print(f"    {layer:10} {share:16.3f}")
    print(f"    {'by chance':10} {chance:16.3f}")
    return SoundResult(
        model=backbone.spec.id,
        layers=features.layers,
        shares=list(shares.values()),
        chance=chance,
        layer=best,
        kinds=kinds,
        spectrograms=_sounds_heard(backbone, paths),
        vectors=features[best],
        neighbours=neighbours[best],
    )


def tell_clips(folder: Path, paths: Sequence[Path], labels: Sequence[str]) -> ClipResult:
    """Every frame a vector (pool="none" keeps them apart); their mean is the vector of the clip."""
    _headline(f"{len(paths)} video clips: which are alike?")
    names = [
        f"{label}, distorted" if "distorted" in path.stem else label for path, label in zip(paths, labels, strict=True)
    ]
    backbone = layerzoo.load("starter/efficientnet-lite0-video", layer="pooled", pool="none")
    features = _extract(backbone, paths, folder / "clips.parquet")
    seen = _pictures_seen(backbone, paths)
    first, second, cosine = measures.closest_pair(features.values.mean(axis=1))
    print(
        f"\n  The two most alike: {names[first]} and {names[second]} (cosine of the means over all frames {cosine:.2f})."
    )
    return ClipResult(
        model=backbone.spec.id,
        layer="pooled",
        names=names,
        thumbnails=seen.reshape(*features.values.shape[:2], *seen.shape[1:]),
        frames=features.values,
        closest=(first, second),
        similarity=cosine,
    )


def _headline(text: str) -> None:
    print(f"\n{text}")


def _extract(backbone: layerzoo.Backbone, inputs: Sequence[Any], path: Path | None = None) -> layerzoo.Features:
    """The features of the inputs, saved where a path is given; says what was loaded and what came out."""
    print(f"  {backbone.spec.id} up to {backbone.layers[-1].name}: {_loaded(backbone)}")
    started = perf_counter()
    features = layerzoo.extract(backbone, inputs)
    seconds = perf_counter() - started
    shapes = ", ".join(f"{layer} {_times(features[layer].shape[1:])}" for layer in features.layers)
    print(f"  {len(features):,} samples in {seconds:.1f} s, numbers for each: {shapes}")
    if path is not None:
        features.save(path)
        print(f"  saved as {path}")
    return features


def _loaded(backbone: layerzoo.Backbone) -> str:
    loaded = backbone.provenance["loaded"]
    if not loaded["of_bytes"]:
        return "random weights, nothing loaded"
    return f"{loaded['bytes'] / 1e6:.1f} of {loaded['of_bytes'] / 1e6:.1f} MB of weights loaded"


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _pictures_seen(backbone: layerzoo.Backbone, paths: Sequence[Path]) -> FloatArray:
    """(picture or frame, height, width, 3), 0 to 1: what the network received, its normalisation undone."""
    declared = backbone.spec.preprocess
    image = declared.image if isinstance(declared, VideoPreprocess) else declared
    assert isinstance(image, ImagePreprocess)
    pixels = backbone.preprocess(paths).inputs["pixels"].permute(0, 2, 3, 1).numpy()
    seen: FloatArray = np.clip(pixels * np.float32(image.std) + np.float32(image.mean), 0, 1)
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
