"""Image models run on the frames of a video by their id alone, and video networks take clips of the same sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.hf_plugin.test_modalities import folder_of, own, published, registry
from tests.hub import Hub
from tests.media.clocks import video
from tests.terminal import Zoo

import layerzoo
from layerzoo.errors import SampleError, UnknownModelError, UsageError
from layerzoo.frame_sampling import FrameSampling
from layerzoo.media.video import sample_frames


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.mp4" for name in "abc"]
    for start, path in enumerate(paths):
        path.write_bytes(video(range(0, 2000, 40), show=range(start, 100 + start, 2)))
    return paths


@pytest.fixture
def image_model(home: Path) -> str:
    folder_of("vision", home / "m")
    registry(home, own("vision"))
    return "mine/m"


def images(path: Path, sampling: str, **options: Any) -> list[Any]:
    return [frame.image for frame in sample_frames(path, FrameSampling(sampling=sampling, **options))]


def test_a_users_own_image_model_is_a_video_model(image_model: str, clips: list[Path]) -> None:
    whole = layerzoo.extract(f"video/{image_model}", clips, layer="block.0")
    frames = layerzoo.extract(
        image_model, [image for clip in clips for image in images(clip, "uniform:16")], layer="block.0"
    )
    np.testing.assert_allclose(whole.values, frames.values.reshape(3, 16, 16).mean(1), atol=1e-6)
    assert whole.ids == tuple(map(str, clips))
    assert whole.provenance["model"] == "video/mine/m"


def test_a_repository_of_the_hub_is_a_video_model(
    connected: Hub, image_model: str, clips: list[Path], zoo: Zoo
) -> None:
    connected.repository("acme/m").commit(published("vision"))
    with pytest.raises(UnknownModelError, match=r"^video/hf/acme/m: .* zoo layers --trace hf/acme/m"):
        layerzoo.model("video/hf/acme/m")
    assert "block.1" in zoo("layers", "--trace", "video/hf/acme/m").out
    found = layerzoo.extract("video/hf/acme/m", clips[0])
    np.testing.assert_array_equal(found.values, layerzoo.extract(f"video/{image_model}", clips[0]).values)
    assert zoo("show", "video/hf/acme/m").code == 0


def test_frames_of_several_videos_share_batches(image_model: str, clips: list[Path]) -> None:
    backbone = layerzoo.load(f"video/{image_model}")
    sizes: list[int] = []
    pool = type(backbone).pool_with_counts

    def counted(self: Any, batch: Any, pools: Any) -> Any:
        sizes.append(batch.size)
        return pool(self, batch, pools)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backbone), "pool_with_counts", counted)
        layerzoo.extract(backbone, clips, sampling="every:10", batch_size=6)
    assert [size for size in sizes if size > 2][-3:] == [6, 6, 3]


def test_a_sequence_has_the_times_and_numbers_of_its_frames(image_model: str, clips: list[Path]) -> None:
    found = layerzoo.extract(f"video/{image_model}", clips[:2], pool="none", sampling="every:10", start_s=0.4)
    assert found.values.shape == (2, 4, 16)
    assert found.times_s == ((0.4, 0.8, 1.2, 1.6),) * 2
    assert found.frame_numbers == ((10, 20, 30, 40),) * 2
    assert [(row.id, row.frame_numbers) for row in found[1:]] == [(str(clips[1]), (10, 20, 30, 40))]
    ragged = layerzoo.extract(f"video/{image_model}", clips[:1], pool="none", sampling="fps:3", end_s=0.9)
    assert [len(row) for row in ragged.values] == [3]


def test_many_frames_are_read_while_the_network_runs(image_model: str, clips: list[Path]) -> None:
    found = layerzoo.extract(f"video/{image_model}", clips[:1], pool="none", sampling="fps:100", batch_size=16)
    few = layerzoo.extract(f"video/{image_model}", clips[:1], pool="none", sampling="every:1")
    np.testing.assert_allclose(found.values[0][::4], few.values[0], atol=1e-6)
    assert len(found.times_s[0]) == 200


def test_a_video_whose_end_is_damaged_costs_itself_alone(image_model: str, clips: list[Path]) -> None:
    clips[1].write_bytes(clips[1].read_bytes()[:-2000])
    found = layerzoo.extract(f"video/{image_model}", clips, sampling="fps:100", errors="skip")
    assert found.ids == (str(clips[0]), str(clips[2]))
    assert [error.id for error in found.errors] == [str(clips[1])]
    with pytest.raises(SampleError, match="truncated"):
        layerzoo.extract(f"video/{image_model}", clips, sampling="fps:100")


def test_a_folder_of_animations_is_read_by_a_video_model(image_model: str, tmp_path: Path) -> None:
    from tests.media.test_containers import animation

    folder = tmp_path / "animations"
    folder.mkdir()
    for suffix in ("GIF", "PNG", "WEBP"):
        (folder / f"x.{suffix.lower()}").write_bytes(animation(suffix, [100, 100]))
    (folder / "still.png").write_bytes(animation("PNG", [100]))
    found = layerzoo.extract(f"video/{image_model}", folder)
    assert [Path(name).name for name in found.ids] == ["x.gif", "x.png", "x.webp"]
    assert [Path(name).name for name in found.passed_over] == ["still.png"]


def test_clips_of_a_video_network_are_pooled_or_kept(home: Path, clips: list[Path]) -> None:
    folder_of("video", home / "m")
    registry(home, own("video"), "mine/two: {modality: video, base: mine/m, preprocess: {frames: 4, clips: 2}}")
    halves = [layerzoo.extract("mine/m", clips[:2], start_s=start, end_s=start + 1).values for start in (0, 1)]
    pooled = layerzoo.extract("mine/m", clips[:2], clips=2)
    np.testing.assert_allclose(pooled.values, np.mean(halves, axis=0), atol=1e-6)
    kept = layerzoo.extract("mine/m", clips[:2], clips=2, pool="none")
    np.testing.assert_allclose(kept.values, np.stack(halves, axis=1), atol=1e-6)
    assert kept.times_s == ((0.12, 1.12),) * 2
    assert kept.frame_numbers == ((3, 28),) * 2
    assert pooled.frame_numbers == ()
    whole = layerzoo.extract("mine/m", clips[:2])
    assert whole.frame_numbers == ((6, 18, 31, 43),) * 2
    assert [row.frame_numbers for row in whole] == list(whole.frame_numbers)
    dense = layerzoo.extract("mine/m", clips[0], sampling="every:2", clips=3)
    assert dense.values.shape == pooled.values[:1].shape
    assert not np.array_equal(dense.values, pooled.values[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips": 2}, "several frames at once"),
        ({"sampling": "nonsense"}, "Possible: uniform"),
        ({"start_s": 2, "end_s": 1}, "is not after"),
    ],
)
def test_a_mistake_is_an_error_before_anything_is_read(image_model: str, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        layerzoo.stream(f"video/{image_model}", ["missing.mp4"], **options)


def test_sampling_is_refused_for_an_image_model_with_the_id_that_takes_videos(image_model: str) -> None:
    with pytest.raises(UsageError, match=r"sampling= is for videos, and mine/m takes images\. Next: video/mine/m"):
        layerzoo.stream(image_model, ["x.png"], sampling="fps:1")


def test_the_command_line_samples_frames(image_model: str, clips: list[Path], zoo: Zoo, home: Path) -> None:
    out = home / "x.npz"
    options = ["--sampling", "fps:2", "--start", "0.5", "--end", "1.5", "--pool", "none"]
    assert zoo("extract", str(clips[0]), "--model", f"video/{image_model}", *options, "--out", str(out)).code == 0
    found = layerzoo.Features.load(out)
    assert (found.times_s, found.frame_numbers) == (((0.48, 1.0),), ((12, 25),))
    assert found.provenance["sampling"]["sampling"] == "fps:2"


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ("sampling: ever:2", "not a sampling of frames"),
        ("clips: 2", "several frames at once"),
        ("start_s: 3, end_s: 2", "is not after"),
    ],
)
def test_a_declaration_with_an_impossible_sampling_is_a_problem(home: Path, preprocess: str, message: str) -> None:
    base = "builder: frames, base: starter/efficientnet-lite0"
    registry(home, f"mine/f: {{modality: video, {base}, preprocess: {{frames: 4, {preprocess}}}}}")
    with pytest.raises(layerzoo.errors.RegistryError, match=message):
        layerzoo.model("mine/f")
