"""Compare a GPU with the CPU, and measure it: ``make gpu-check``, or ``python -m tools.gpu_check [--device cuda]``.

Needs no network and takes less than five minutes. What is not installed is skipped, and named. Four checks:

- every starter and toy model gives the features of the CPU, in float32 with TF32 off;
- ``extract`` on tensors in memory is nearly as fast as the bare network on a batch that is on the GPU already;
- batches of clips that are padded to a few lengths give the features of one clip at a time;
- replicas on several GPUs give the features of one, where there are several.

Exits with 0 if all targets are reached, 1 if one is missed, and 77 without a GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import layerzoo
from layerzoo import Features, ModelSpec
from layerzoo.errors import LayerzooError, MissingLibraryError
from layerzoo.runtime.precision import Precision
from layerzoo.spec import FrozenMap, Modality

NO_GPU = 77
"""The exit code of a check that was skipped, as in automake."""
ERROR = 1e-4
"""Largest norm of the difference of all features of a layer, relative to their norm."""
SPEED = 0.9
"""Smallest speed of ``extract``, relative to the bare network."""
_IMAGES, _TEXTS, _PASSES = 4096, 8192, 3
_CLIPS_S = (0.4, 0.7, 1.0, 1.3, 1.9, 2.2, 3.1, 4.0)
_RATE_HZ = 16_000
_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_WORDS = {"toy": "the cat drinks milk", "starter": "a fine film and a waste of time in the evening"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check. is_reached: None for a check that was skipped, or that has no target."""

    message: str
    is_reached: bool | None = None

    def __str__(self) -> str:
        return f"{ {True: 'ok     ', False: 'MISSED ', None: '       '}[self.is_reached] }{self.message}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks, and print a line for each. Returns: the exit code."""
    parser = argparse.ArgumentParser(description="Compare a GPU with the CPU, and measure it.")
    parser.add_argument("--device", default="cuda", help="a torch device (default: cuda)")
    device = torch.device(parser.parse_args(arguments).device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU: CUDA is not available on this machine")
        return NO_GPU
    print(describe(device))
    missed = 0
    for outcome in checks(device):
        print(outcome, flush=True)
        missed += outcome.is_reached is False
    return 1 if missed else 0


def describe(device: torch.device) -> str:
    """Return the name of a device and the versions of the software that uses it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, layerzoo {version('layerzoo')}"


def checks(device: torch.device) -> Iterator[Outcome]:
    """Run all checks on a device."""
    with tempfile.TemporaryDirectory() as folder, without_tf32():
        for spec in small_models():
            yield skipping(spec.id, partial(equals_the_cpu, spec, device, Path(folder)))
        yield skipping("padded clips", partial(padded_clips, device))
        yield skipping("several GPUs", partial(several_devices, device))
    for precision in _PRECISIONS:
        yield skipping("images", partial(image_speed, device, precision, _IMAGES))
        yield skipping("texts", partial(text_speed, device, precision, _TEXTS))


def skipping(name: str, check: Callable[[], Outcome]) -> Outcome:
    """Run a check. One whose libraries are not installed is skipped."""
    try:
        return check()
    except (ModuleNotFoundError, MissingLibraryError) as error:
        return Outcome(f"{name}: skipped, {error}")
    except LayerzooError as error:
        return Outcome(f"{name}: {type(error).__name__}: {error}", is_reached=False)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute products of float32 without TF32, which has 10 bits of precision."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def small_models() -> list[ModelSpec]:
    """Return the installed models of the starter and the toy plugin."""
    return [*layerzoo.models("starter/*"), *layerzoo.models("toy/*")]


def equals_the_cpu(spec: ModelSpec, device: torch.device, folder: Path) -> Outcome:
    """Compare the features of all layers of a model on two devices."""
    inputs = example_inputs(spec, folder)
    names = [layer.name for layer in spec.layers] or None
    here, there = (layerzoo.extract(spec, inputs, layer=names, pool="mean", device=each) for each in ("cpu", device))
    return verdict(f"{spec.id}: {len(here.layers)} layers on {device} and on the CPU", largest_error(here, there))


def verdict(name: str, error: float) -> Outcome:
    return Outcome(f"{name}: relative error {error:.1e} (target: at most {ERROR:.0e})", error <= ERROR)


def largest_error(one: Features, other: Features) -> float:
    """Return the largest relative error of a layer."""
    return max(
        float(np.linalg.norm(one[name] - other[name]) / max(float(np.linalg.norm(one[name])), 1e-12))
        for name in one.layers
    )


def example_inputs(spec: ModelSpec, folder: Path) -> Any:
    """Return generated inputs for a model: eight samples, of different lengths where the modality has lengths."""
    make: dict[Modality, Callable[[], Any]] = {
        "vision": lambda: list(images(8)),
        "text": lambda: texts(8, spec.namespace),
        "audio": clips,
        "video": lambda: write_video(folder / "clip.mp4"),
    }
    return make[spec.modality]()


def images(count: int, height: int = 300, width: int = 400) -> Iterator[NDArray[np.uint8]]:
    """Yield images of waves and noise, (height, width, 3)."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / 40
    for number in range(count):
        waves = np.stack([np.sin(x + number), np.cos(y * (1 + number / 8)), np.sin(x * y / 9)], axis=-1)
        yield np.clip(127 + 90 * waves + generator.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)


def texts(count: int, namespace: str) -> list[str]:
    """Return texts of different lengths, in words that the models of a plugin know."""
    words = _WORDS[namespace].split()
    return [" ".join((words * 3)[: 1 + number % (3 * len(words))]) for number in range(count)]


def clips() -> list[tuple[NDArray[np.float32], int]]:
    """Return audio clips of noise, of different lengths, each with its sample rate."""
    generator = np.random.default_rng(0)
    return [(generator.normal(0, 0.1, round(seconds * _RATE_HZ)).astype(np.float32), _RATE_HZ) for seconds in _CLIPS_S]


def write_video(path: Path) -> list[Path]:
    """Write a video of 24 frames. Raises: ModuleNotFoundError without PyAV."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for image in images(24, 240, 320):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return [path]


def padded_clips(device: torch.device) -> Outcome:
    """Compare clips that share padded batches with one clip at a time, for a small wav2vec2 with random weights."""
    import transformers  # noqa: F401 - skipped without it

    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    args = FrozenMap({"model_type": "wav2vec2", "config": FrozenMap(config)})
    spec = ModelSpec(id="check/wav2vec2", modality="audio", builder="transformers", args=args)
    backbone = layerzoo.load(spec, layer="block.-1", weights="random:0", device=device)
    many = clips() * 4
    layerzoo.extract(backbone, many)  # warm
    together, seconds = timed(lambda: layerzoo.extract(backbone, many))
    alone, seconds_alone = timed(lambda: layerzoo.extract(backbone, many, batch_size=1))
    name = f"padded clips: {seconds_alone / seconds:.1f} times as fast as one at a time"
    return verdict(name, largest_error(alone, together))


def several_devices(device: torch.device) -> Outcome:
    """Compare replicas on all GPUs with one of them; on a CPU, two replicas."""
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if device.type == "cuda" else ["cpu"] * 2
    if len(devices) < 2:
        return Outcome("several GPUs: skipped, this machine has one")
    inputs = list(images(64))
    one, several = (
        layerzoo.extract("starter/efficientnet-lite0", inputs, device=each, batch_size=8) for each in (device, devices)
    )
    return verdict(f"replicas on {', '.join(devices)}", largest_error(one, several))


def image_speed(device: torch.device, precision: Precision, count: int) -> Outcome:
    """Compare the speed of ``extract`` on preprocessed images in memory with that of the bare network."""
    backbone = layerzoo.load("starter/efficientnet-lite0", device=device, precision=precision)
    some = [torch.from_numpy(row) for row in np.asarray(backbone.preprocess(list(images(32))).inputs["pixels"])]
    return compared(backbone, (some * (count // len(some) + 1))[:count], count, f"images/s, {precision}")


def text_speed(device: torch.device, precision: Precision, count: int) -> Outcome:
    """Compare the speed of ``extract`` on texts of one length in memory with that of the bare network."""
    backbone = layerzoo.load("starter/minilm-l6", device=device, precision=precision)
    tokens = torch.arange(1000, 1064)
    return compared(backbone, [tokens] * count, count * len(tokens), f"tokens/s, {precision}")


def compared(backbone: layerzoo.Backbone, inputs: list[torch.Tensor], units: int, unit: str) -> Outcome:
    """Compare the speed of ``extract`` with that of the bare network on one batch that is on the device.

    Args:
        backbone: a loaded network.
        inputs: preprocessed samples of equal size.
        units: number of images or tokens in them.
        unit: for the message, for example ``images/s``.
    """
    size = min(256, len(inputs))
    batch = backbone.preprocess(inputs[:size]).to(backbone.device)
    passes = len(inputs) // size

    def bare() -> None:
        for _ in range(passes):
            backbone.activations(batch)  # up to the cut, without pooling
        wait_for(backbone.device)

    layerzoo.extract(backbone, inputs[:size], batch_size="auto")  # warm
    bare()
    if backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(backbone.device)
    ours = min(timed(lambda: layerzoo.extract(backbone, inputs, batch_size="auto"))[1] for _ in range(_PASSES))
    peak = torch.cuda.max_memory_allocated(backbone.device) >> 20 if backbone.device.type == "cuda" else 0
    theirs = min(timed(bare)[1] for _ in range(_PASSES)) * len(inputs) / (passes * size)
    message = f"{units / ours:,.0f} {unit}; bare network {units / theirs:,.0f}; peak memory {peak:,} MiB"
    return Outcome(f"{message} (target: at least {SPEED} times the bare network)", theirs / ours >= SPEED)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return a function's result and the seconds that it took."""
    started = perf_counter()
    result = run()
    return result, perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
