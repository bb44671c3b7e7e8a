"""A plugin adds poolings, a weights format and media decoders. Any model uses them, and they are isolated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from tests.terminal import Zoo

import layerzoo
from layerzoo.errors import LayerzooError, PluginError, PoolingError
from layerzoo.frame_sampling import FrameSampling
from layerzoo.media.decoder import IN_PROCESS, Decoder, Workers
from layerzoo.media.sniff import kind_of_file
from layerzoo.plugins import formats
from layerzoo.plugins.formats import FileFormat, format_of
from layerzoo.plugins.pooling import plugin_pooling

ON_DISK = Path(__file__).parent / "extending"
TEXTS = ["the cat drinks milk", "meat"]


@pytest.fixture(autouse=True)
def plugin(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the plugin on the path of this process and of decode processes."""
    monkeypatch.syspath_prepend(ON_DISK)
    monkeypatch.setattr(formats, "_cached_formats", (0.0, ()))
    yield
    sys.modules.pop("extending_zoo", None)
    formats._cached_formats = (0.0, ())


def words(**options: object) -> layerzoo.Features:
    return layerzoo.extract("toy/next-word", TEXTS, layer="block.0", **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- poolings


def test_a_pooling_of_a_plugin_ignores_padding() -> None:
    raw = words(pool="none").values
    expected = [np.sqrt((np.asarray(each, np.float64) ** 2).mean(0)) for each in raw]
    pooled = words(pool="extending/rms")
    np.testing.assert_allclose(pooled.values, expected, rtol=1e-6)
    assert pooled.provenance["pooling"] == {"block.0": "extending/rms"}


def test_a_pooling_is_made_once_for_all_batches() -> None:
    assert plugin_pooling("extending/range") is plugin_pooling("extending/range")


def test_the_parts_of_a_long_sample_are_merged_as_the_plugin_states() -> None:
    text = " ".join(["the cat drinks milk the dog eats meat"] * 5)  # 40 tokens, three chunks of at most 16
    chunked = layerzoo.extract("toy/next-word", [text], layer="block.0", pool="none", chunks=True).values[0]
    merged = layerzoo.extract("toy/next-word", [text], layer="block.0", pool="extending/rms", chunks=True)
    np.testing.assert_allclose(merged.values[0], np.sqrt((np.asarray(chunked) ** 2).mean(0)), rtol=1e-5)
    with pytest.raises(PoolingError, match=r"'extending/range' cannot be merged over the \d+ parts"):
        layerzoo.extract("toy/next-word", [text], layer="block.0", pool="extending/range", chunks=True)


@pytest.mark.parametrize(
    ("pool", "error", "message"),
    [
        ("extending/rsm", PoolingError, r"the plugin 'extending' \(.*1\.0\) has none of this name"),
        ("absent/rms", PoolingError, "there is no pooling 'absent/rms'"),
        ("extending/failing", PluginError, "the pooling 'extending/failing' failed: TypeError"),
        ("extending/scalar", PluginError, r"and not a tensor \(row, width\)"),
        ("extending/wrong-type", PluginError, "answers str for 'wrong-type'"),
    ],
)
def test_a_wrong_pooling_is_an_error_that_names_the_plugin(pool: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        words(pool=pool)
    assert words(pool="mean").values.shape == (2, 3)


def test_a_pooling_is_refused_at_a_layer_without_positions_before_anything_is_loaded(home: Path) -> None:
    with pytest.raises(PoolingError, match="needs positions to run over"):
        layerzoo.load("extending/cnn", layer="pooled", pool="extending/rms", weights="random:0")


def test_a_registry_file_may_name_the_pooling_of_a_plugin(home: Path) -> None:
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/words: {modality: text, builder: toy, base: toy/next-word, "
        "default: {layer: block.0, pool: extending/rms}}\n",
        encoding="utf-8",
    )
    np.testing.assert_array_equal(layerzoo.extract("mine/words", TEXTS).values, words(pool="extending/rms").values)


# ---------------------------------------------------------------- weights


def test_a_weights_format_of_a_plugin_is_read_for_the_model_of_another(tmp_path: Path) -> None:
    network = layerzoo.build("toy/next-word")
    torch.manual_seed(0)
    arrays = {name: torch.randn(tensor.shape).numpy() for name, tensor in network.state_dict().items()}
    np.savez(tmp_path / "words.npz", **arrays)
    save_file(arrays, tmp_path / "words.safetensors")
    expected = words(weights=tmp_path / "words.safetensors").values
    np.testing.assert_array_equal(words(weights=tmp_path / "words.npz").values, expected)
    (tmp_path / "folder").mkdir()
    (tmp_path / "words.npz").rename(tmp_path / "folder/words.NPZ")
    np.testing.assert_array_equal(words(weights=tmp_path / "folder").values, expected)


def test_a_damaged_checkpoint_is_an_error_of_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "words.npz").write_bytes(b"not a zip archive")
    with pytest.raises(PluginError, match="the plugin 'extending' failed in layerzoo_read_weights"):
        words(weights=tmp_path / "words.npz")


# ---------------------------------------------------------------- media


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)


def test_a_folder_with_a_format_of_a_plugin_gives_the_features_of_its_images(
    zoo: Zoo, home: Path, pixels: NDArray[np.uint8]
) -> None:
    for folder in ("grey", "png"):
        (home / folder).mkdir()
    (home / "grey/a.grey").write_bytes(bytes([60, 80]) + pixels.tobytes())
    Image.fromarray(pixels).save(home / "png/a.png")
    for folder in ("grey", "png"):
        arguments = f"extract {folder} --model extending/cnn --layer stem --weights random:0 --out {folder}.npz"
        done = zoo(*arguments.split())
        assert done.code == 0, done.err
    grey, png = (layerzoo.Features.load(f"{folder}.npz").values for folder in ("grey", "png"))
    np.testing.assert_array_equal(grey, png)


def test_a_file_that_the_plugin_cannot_decode_costs_only_itself(home: Path, pixels: NDArray[np.uint8]) -> None:
    (home / "photos").mkdir()
    (home / "photos/a.grey").write_bytes(b"\x05\x05damaged")
    (home / "photos/b.grey").write_bytes(bytes([60, 80]) + pixels.tobytes())
    features = layerzoo.extract("extending/cnn", "photos", layer="stem", weights="random:0", errors="skip")
    assert features.ids == ("photos/b.grey",)
    assert "its decoding fails in the plugin 'extending': ValueError" in str(features.errors[0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"crash", "its decoder ended with code 3"), (b"connect", "asked for a connection to 192.0.2.1")],
)
def test_a_decoder_that_crashes_or_opens_a_connection_is_an_error(home: Path, content: bytes, reason: str) -> None:
    Path("a.grey").write_bytes(content)
    with Workers() as workers, pytest.raises(LayerzooError, match=reason):
        decoded(workers, "image", "a.grey")


def test_a_plugin_that_cannot_be_imported_is_an_error_that_names_it(home: Path) -> None:
    Path("a.breaking").write_bytes(b"image")
    with Workers() as workers, pytest.raises(PluginError, match=r"'breaking' .* cannot be used: .*a_missing_library"):
        decoded(workers, "image", "a.breaking")


def decoded(decoder: Decoder, operation: str, source: object, **options: object) -> list[Any]:
    return decoder.result(operation, source, options, lambda parts: [part.data for part in parts])


def test_a_decode_process_that_began_without_the_plugin_is_not_used(
    home: Path, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(pixels).save("a.png")
    Path("b.grey").write_bytes(bytes([60, 80]) + pixels.tobytes())
    with monkeypatch.context() as without:
        without.setattr(sys, "path", [entry for entry in sys.path if entry != str(ON_DISK)])
        with Workers() as workers:
            assert len(decoded(workers, "image", "a.png")) == 1
    monkeypatch.setattr(formats, "_cached_formats", (0.0, ()))  # which is kept for a moment
    with Workers() as workers:
        assert len(decoded(workers, "image", "b.grey")) == 1


def test_audio_and_video_of_a_plugin_equal_the_same_samples_in_memory(home: Path) -> None:
    samples = np.random.default_rng(0).integers(-3000, 3000, 16000).astype("<i2")
    Path("a.pcm").write_bytes((8000).to_bytes(4, "little") + samples.tobytes())
    memory = layerzoo.Audio(samples.astype(np.float32) / 32768, 8000)
    clip = np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), np.uint8)
    with Path("a.frames").open("wb") as file:
        np.save(file, clip)
    audio = {"sample_rate_hz": 16000, "channels": 1}
    video = {"sampling": FrameSampling(frames=3).to_plain()}
    with Workers() as workers:
        np.testing.assert_array_equal(
            decoded(workers, "audio", "a.pcm", **audio), decoded(IN_PROCESS, "audio", memory, **audio)
        )
        frames = decoded(workers, "video", "a.frames", **video)
    expected = decoded(IN_PROCESS, "video", clip, **video)
    np.testing.assert_array_equal([np.asarray(frame) for frame in frames], [np.asarray(each) for each in expected])


def test_the_kind_of_a_file_is_known_without_importing_the_plugin(home: Path) -> None:
    Path("a.grey").write_bytes(b"text")
    assert kind_of_file("a.grey") == "vision"
    assert "extending_zoo" not in sys.modules
    assert format_of("a.NPZ") is None
    assert format_of("a.NPZ", "weights") == FileFormat("weights", "*.npz", "extending")


def test_an_invalid_declaration_of_formats_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, text in enumerate(
        [
            '[[formats]]\nkind = "smell"\nnames = ["*.s"]',
            '[[formats]]\nkind = "audio"\nnames = ["*"]',
            "[[formats",
            "formats = 3",
        ]
    ):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, encoding="utf-8")
        assert formats._read(path, 0, "acme") == ()
    assert caplog.text.count("are ignored") == 4
