"""Windows of recordings equal the same audio alone, frames have the time of what they see, and memory is bounded."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray
from tests.hf_plugin.test_audio_models import saved, spec_of
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

import layerzoo
from layerzoo.cli import main
from layerzoo.errors import SampleError, UsageError
from layerzoo.media.audio_input import Audio
from layerzoo.runs import verify
from layerzoo.runs.export import export
from layerzoo.runtime.batch import Batch, InputRow
from layerzoo.spec import AudioPreprocess
from layerzoo.temporal import pool_sequence

RATE = 16_000
Waveform = NDArray[np.float32]


def noise(seconds: float, seed: int = 0) -> Waveform:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return small networks with random weights, by kind."""
    root = tmp_path_factory.mktemp("networks")
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "wav2vec2": (
            Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True),
            {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
        ),
        "sew": (Wav2Vec2FeatureExtractor(do_normalize=False), {"feat_extract_norm": "layer"}),
        "wav2vec2-conformer": (Wav2Vec2FeatureExtractor(do_normalize=False), {"feat_extract_norm": "layer"}),
        "wav2vec2-bert": (SeamlessM4TFeatureExtractor(), {"feature_projection_input_dim": 160}),
    }
    for kind, (extractor, fields) in kinds.items():
        saved(root / kind, kind, extractor, **fields)
    return {kind: root / kind for kind in kinds}


@pytest.fixture(scope="module")
def speech(folders: dict[str, Path]) -> layerzoo.Backbone:
    return layerzoo.load(spec_of(folders["wav2vec2"]), layer=["block.0", "block.1"])


@pytest.fixture(scope="module")
def whisper() -> layerzoo.Backbone:
    return layerzoo.load("starter/whisper-tiny-en", layer="block.0")


@pytest.mark.parametrize("model", ["speech", "whisper"])
def test_each_window_equals_the_same_audio_alone(model: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(model)
    recording = noise(4.3)
    found = layerzoo.extract(backbone, [Audio(recording, RATE)], layer="block.0", window="2s", hop=1)
    assert found.ids == ("0",) * 4
    assert list(zip(found.start_s, found.end_s, strict=True)) == [(0, 2), (1, 3), (2, 4), (3, 4.3)]
    clips = [
        Audio(recording[round(start * RATE) : round(end * RATE)], RATE)
        for start, end in zip(found.start_s, found.end_s, strict=True)
    ]
    np.testing.assert_allclose(found.values, layerzoo.extract(backbone, clips, layer="block.0").values, atol=2e-6)


def test_a_window_that_is_longer_than_the_network_takes_is_pooled_over_its_parts(whisper: layerzoo.Backbone) -> None:
    recording = noise(47)
    found = layerzoo.extract(whisper, [Audio(recording, RATE)], window=40, hop=40)
    assert found.end_s == (40, 47)
    expected = layerzoo.extract(whisper, [Audio(recording[: 40 * RATE], RATE)])
    np.testing.assert_allclose(found.values[:1], expected.values, atol=2e-6)


@pytest.mark.parametrize(
    ("temporal_pool", "pool"),
    [("mean", np.mean), ("max", np.max), ("dct:2", lambda rows, axis: pool_sequence(rows, "dct:2"))],
)
def test_windows_are_pooled_to_one_row_per_recording(speech: layerzoo.Backbone, temporal_pool: Any, pool: Any) -> None:
    recordings = [Audio(noise(seconds), RATE) for seconds in (3, 2.5)]
    pooled = layerzoo.extract(
        speech, recordings, layer="block.1", window=1, hop=0.5, temporal_pool=temporal_pool, normalize=True
    )
    assert pooled.ids == ("0", "1")
    assert (pooled.start_s, pooled.end_s) == ((0, 0), (3, 2.5))
    for number, recording in enumerate(recordings):
        rows = layerzoo.extract(speech, [recording], layer="block.1", window=1, hop=0.5)
        expected = pool(rows.values.astype(np.float64), axis=0)
        np.testing.assert_allclose(pooled.values[number], expected / np.linalg.norm(expected), atol=1e-6)


def test_a_recording_with_a_failed_window_fails_as_a_whole_when_windows_are_pooled(speech: layerzoo.Backbone) -> None:
    options: dict[str, Any] = {"layer": "block.1", "window": 0.2, "hop": 1.0, "errors": "skip"}
    inputs = [Audio(noise(2.021), RATE), Audio(noise(2.2), RATE)]  # the third window has 21 ms, a frame has 25 ms
    rows = layerzoo.extract(speech, inputs, **options)
    assert rows.ids == ("0", "0", "1", "1", "1")
    assert [error.id for error in rows.errors] == ["0"]
    pooled = layerzoo.extract(speech, inputs, **options, temporal_pool="mean")
    assert pooled.ids == ("1",)
    assert [(error.id, error.reason.split(":")[0]) for error in pooled.errors] == [("0", "too short")]


def test_every_export_of_a_run_has_the_times_of_windows(speech: layerzoo.Backbone, tmp_path: Path) -> None:
    for name, seconds in (("a.wav", 1.4), ("b.wav", 2.0)):
        soundfile.write(tmp_path / name, noise(seconds), RATE)
    paths = [tmp_path / name for name in ("a.wav", "b.wav")]
    layerzoo.run(speech, paths, layer="block.0", window=0.5, out=tmp_path / "run", shard_size=1)
    expected = layerzoo.extract(speech, paths, layer="block.0", window=0.5)
    for kind, out, table in (
        ("csv", "run.csv", "run.csv"),
        ("npy", "arrays", "arrays/ids.parquet"),
        ("hf", "dataset", "dataset/data"),
    ):
        assert export(tmp_path / "run", kind, tmp_path / out) == len(expected)  # type: ignore[arg-type]
        read = pd.read_csv if kind == "csv" else pd.read_parquet
        frame = read(tmp_path / table)
        assert tuple(frame["start_s"]) == expected.start_s
        assert tuple(frame["end_s"]) == expected.end_s


def test_a_recording_of_which_a_window_failed_is_one_sample_of_a_run(speech: layerzoo.Backbone, tmp_path: Path) -> None:
    for name, seconds in (("a.wav", 2.021), ("b.wav", 2.2)):  # the third window of the first is shorter than a frame
        soundfile.write(tmp_path / name, noise(seconds), RATE)
    paths = [tmp_path / name for name in ("a.wav", "b.wav")]
    options: dict[str, Any] = {"layer": "block.0", "window": 0.2, "hop": 1.0}
    expected = layerzoo.extract(speech, paths, **options, errors="skip")
    for is_again in (False, True):
        result = layerzoo.run(speech, paths, **options, out=tmp_path / "run", shard_size=2, retry_failed=is_again)
        assert (result.samples, result.failed, result.left) == (2, 1, 0)
        assert {check.state for check in verify(tmp_path / "run")} == {"ok"}
        features = result.load()
        assert (features.ids, features.start_s) == (expected.ids, expected.start_s)
        np.testing.assert_allclose(features.values, expected.values, atol=1e-6)


def test_times_are_kept_in_every_format(speech: layerzoo.Backbone, tmp_path: Path) -> None:
    recording = [Audio(noise(2.4), RATE)]
    found = layerzoo.extract(speech, recording, pool={"block.0": "none"}, window=1)
    assert [times[0] for times in found.times_s] == pytest.approx([0.01246875, 1.01246875, 2.01246875])
    assert [len(times) for times in found.times_s] == [len(rows) for rows in found["block.0"]]
    for suffix in ("parquet", "npz", "safetensors"):
        found.save(tmp_path / f"f.{suffix}")
        stored = layerzoo.Features.load(tmp_path / f"f.{suffix}")
        assert (stored.start_s, stored.end_s, stored.times_s) == (found.start_s, found.end_s, found.times_s)
    row = layerzoo.Features.join([found, found])[1:][0]
    assert (row.start_s, row.end_s) == (1, 2)
    frame = found[["block.1"]].to_pandas()
    assert frame["start_s"].tolist() == [0, 1, 2]
    assert found.to_arrow().column("end_s").to_pylist() == [1, 2, 2.4]


@pytest.mark.parametrize(
    ("kind", "hop", "first"),
    [
        ("wav2vec2", 320, 199.5),
        ("sew", 640, 359.5),
        pytest.param("wav2vec2-conformer", 320, 199.5, marks=pytest.mark.slow),
        pytest.param("wav2vec2-bert", 320, 279.5, marks=pytest.mark.slow),
    ],
)
def test_the_time_of_a_frame_is_the_centre_of_its_receptive_field(
    kind: str, hop: int, first: float, folders: dict[str, Path]
) -> None:
    found = layerzoo.extract(spec_of(folders[kind]), [Audio(noise(1.5), RATE)], layer="stem", pool="none")
    expected = (first + hop * np.arange(len(found.values[0]))) / RATE
    np.testing.assert_allclose(found.times_s[0], expected, atol=4e-4)


def test_an_impulse_changes_the_frames_around_its_time(folders: dict[str, Path]) -> None:
    spec = spec_of(folders["wav2vec2"])
    layers = ["module:feature_extractor.conv_layers.2", "module:feature_extractor.conv_layers.6"]
    backbone = layerzoo.load(spec, layer=layers, pool="none")
    background = noise(1.0)
    quiet = layerzoo.extract(backbone, [Audio(background, RATE)])
    for sample in (5_000, 7_777, 9_120):
        changed = background.copy()
        changed[sample] += 0.5
        loud = layerzoo.extract(backbone, [Audio(changed, RATE)])
        for layer, hop in zip(layers, (20, 320), strict=True):
            axes = next(each.axes for each in backbone.layers if each.name == layer) or ()
            difference = np.moveaxis(np.abs(loud[layer][0] - quiet[layer][0]), axes.index("time") - 1, 0)
            times = np.array(loud.frame_times_s(layer)[0])[difference.max(axis=1) > 0]
            assert abs(times.mean() - sample / RATE) <= hop / RATE / 2, layer


def test_impulses_in_the_front_ends_of_torchaudio() -> None:
    changed = np.zeros(RATE, np.float32)
    changed[8_000] = 1.0
    found = layerzoo.extract("torchaudio/spectrogram", [Audio(changed, RATE)], pool="none")
    assert found.times_s[0][0] == 0.0
    assert found.times_s[0][int(found.values[0].sum(axis=0).argmax())] == 0.5
    assert np.diff(found.times_s[0]) == pytest.approx(0.01)


@pytest.mark.parametrize("kind", ["sew", pytest.param("wav2vec2-conformer", marks=pytest.mark.slow)])
def test_clips_of_equal_length_share_a_batch(
    kind: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = layerzoo.load(spec_of(folders[kind]), layer="block.1")
    assert isinstance(backbone.spec.preprocess, AudioPreprocess)
    assert backbone.spec.preprocess.batching == "equal_lengths"
    clips = [Audio(noise(1 + number % 3 / 10, seed=number), RATE) for number in range(12)]
    alone = np.concatenate([layerzoo.extract(backbone, [clip]).values for clip in clips])
    sizes: list[int] = []
    collate = backbone.preprocess.collate

    def counted(rows: Sequence[InputRow]) -> Batch:
        sizes.append(len(rows))
        return collate(rows)

    monkeypatch.setattr(backbone.preprocess, "collate", counted)
    np.testing.assert_allclose(layerzoo.extract(backbone, clips).values, alone, atol=2e-6)
    assert sorted(sizes)[-3:] == [4, 4, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 1}, "give window=, too"),
        ({"temporal_pool": "mean"}, "give window=, too"),
        ({"window": "ten"}, "'10s', '500ms' or '2min'"),
        ({"window": 0}, "more than 0"),
        ({"window": float("nan")}, "more than 0"),
        ({"window": True}, "is not a duration"),
        ({"window": 1e-6}, "shorter than one sample at 16000 Hz"),
        ({"window": "2h"}, "a window has at most 4,194 s"),
        ({"window": 1, "temporal_pool": "median"}, "there is no temporal pooling 'median'"),
        ({"window": 1, "temporal_pool": "mean", "pool": "none"}, "is not pooled to a vector"),
    ],
)
def test_windows_that_make_no_sense_are_refused(
    speech: layerzoo.Backbone, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        layerzoo.extract(speech, [Audio(noise(1), RATE)], **options)


def test_windows_are_for_audio() -> None:
    with pytest.raises(UsageError, match="window= is for audio, and starter/minilm-l6 takes texts"):
        layerzoo.extract("starter/minilm-l6", ["a text"], window=1)


def test_a_recording_that_is_too_long_for_one_piece_names_the_windows(
    speech: layerzoo.Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERZOO_AUDIO_SECONDS", "2")
    with pytest.raises(SampleError, match=r"in windows with window= \(--window 30s\)"):
        layerzoo.extract(speech, [Audio(noise(3), RATE)])
    assert len(layerzoo.extract(speech, [Audio(noise(3), RATE)], window=1)) == 3


def test_windows_on_the_command_line(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", noise(3), RATE)
    source = f"file:{folders['wav2vec2']}/"
    declared = f"{{modality: audio, builder: transformers, weights: '{source}'}}"
    Path("registry.yaml").write_text(f"layerzoo: 1\nmodels:\n  mine/speech: {declared}\n")
    with pytest.raises(SystemExit) as caught:
        main(["extract", "a.wav", "--model", "mine/speech", "--window", "1s", "--hop", "500ms", "--out", "f.parquet"])
    assert caught.value.code == 0
    assert capsys.readouterr().err.startswith("5 windows through mine/speech")
    assert layerzoo.Features.load("f.parquet").start_s == (0, 0.5, 1, 1.5, 2)


def peak_memory(folder: Path, seconds: int) -> int:
    """Return the peak memory in MiB of a process that extracts windows of a recording of some seconds."""
    path = folder / "long.wav"
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for start in range(0, seconds, 60):
            file.write(noise(min(60, seconds - start)))
    program = f"""
        import resource, layerzoo
        with layerzoo.FeatureWriter({str(folder / "f.parquet")!r}) as writer:
            for piece in layerzoo.stream("torchaudio/logmel", {str(path)!r}, window="10s"):
                writer.write(piece)
        assert len(layerzoo.Features.load({str(folder / "f.parquet")!r})) == {-(-seconds // 10)}
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_two_hours_take_the_memory_of_forty_minutes(tmp_path: Path) -> None:
    assert peak_memory(tmp_path, 2 * 3600) < peak_memory(tmp_path, 40 * 60) + 40
