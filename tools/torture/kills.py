"""Signals at random moments during writes: extracting, downloading, converting weights, compiling the index, pruning.

Every command runs in a new process, on real files. The moment is drawn between the start of the command proper
(its handlers are installed) and the time that it takes without a signal.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from tests.hub import Hub
from tools.torture.outcome import Outcome

from layerzoo.disk import is_scratch

ZOO = [sys.executable, "-m", "layerzoo"]
_LINES = 1500
_PATIENCE_S = 120.0
_CLEAN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SIGNALS = (signal.SIGKILL, *_CLEAN)


@dataclass(frozen=True)
class Command:
    """A command to kill at a random moment.

    Attributes:
        name: its name in the table.
        run: the command line.
        folder: its working directory.
        environment: variables in addition to those of this process.
        begin: restores the state before a run.
        check: yields the problems after a killed run: an incomplete, changed or leftover file.
    """

    name: str
    run: Sequence[str]
    folder: Path
    environment: dict[str, str]
    begin: Callable[[], None]
    check: Callable[[], Iterator[str]]
    is_cli: bool = True
    percent: int = 50
    """Its share of the attacks: commands that import torch take 5 s each."""
    is_quiet: bool = True
    """Whether a run that was not interrupted may leave stderr empty: it may have ended before the signal."""
    watched: tuple[Path, ...] = field(default=())
    """The folders that must contain no temporary file after a signal that can be handled."""


def attacks(random_: random.Random, scratch: Path, count: int) -> Iterator[Outcome]:
    """Kill every command with every signal.

    count: the total number for each command; fewer than four kill only the fast ones, with one signal each. See
    :data:`tools.torture.outcome.Family`.
    """
    with _commands(scratch) as commands:
        is_sample = count < len(_SIGNALS)
        for command in commands[:count] if is_sample else commands:
            share = max(1, count * command.percent // (100 * len(_SIGNALS)))
            seconds = _time_of(command)
            possible = _SIGNALS if command.is_cli else (signal.SIGKILL,)
            for sent in random_.sample(possible, 1) if is_sample else possible:
                failures = [
                    failure for _ in range(share) if (failure := _attack(command, sent, random_.uniform(0.0, seconds)))
                ]
                yield Outcome(
                    f"{sent.name} during {command.name}",
                    share,
                    share - len(failures),
                    _promise(sent),
                    tuple(failures[:10]),
                )


def _promise(sent: signal.Signals) -> str:
    if sent == signal.SIGKILL:
        return "every file is whole, or as it was before; the next run removes temporary files and succeeds"
    return "as above, one line on stderr, no temporary file, and the process ends by the signal"


def _time_of(command: Command) -> float:
    """Return how long a command takes after its handlers are installed. Raises: RuntimeError if it fails."""
    command.begin()
    process = _started(command)
    _wait_for_handlers(process, command)
    began = time.monotonic()
    _, output = process.communicate(timeout=_PATIENCE_S)
    if process.returncode != 0:
        raise RuntimeError(f"{command.name} fails without a signal: {output}")
    return time.monotonic() - began


def _attack(command: Command, sent: signal.Signals, after_s: float) -> str | None:
    """Run a command, send it a signal, run it again. Returns: the broken promise, or None."""
    command.begin()
    process = _started(command)
    _wait_for_handlers(process, command)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    process.send_signal(sent)
    try:
        _, output = process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return f"after {after_s:.2f} s: it did not end"
    problems = [*_problems_of_end(process.returncode, output, sent, command)]
    problems += command.check()
    if sent in _CLEAN:
        return f"after {after_s:.2f} s: {'; '.join(problems)}" if problems else None
    again = _started(command)
    _, output_again = again.communicate(timeout=_PATIENCE_S)
    if again.returncode != 0:
        problems.append(f"the next run fails: {output_again.strip()[-300:]}")
    problems += [f"the next run left {path.name}" for path in _left(command)]
    problems += command.check()
    return f"after {after_s:.2f} s: {'; '.join(problems)}" if problems else None


def _problems_of_end(code: int, output: str, sent: signal.Signals, command: Command) -> Iterator[str]:
    if "Traceback" in output:
        yield f"a traceback: {output.strip()[-300:]}"
    if sent == signal.SIGKILL or code == 0:  # it ended before the signal
        return
    if code != -sent:
        yield f"it ended with {code}, not by {sent.name}"
    lines = output.splitlines()
    stops = [line.startswith("zoo: stopped by ") for line in lines]
    is_done = not any(stops) and (command.is_quiet or any("→" in line for line in lines))
    if sum(stops) != (not is_done) or (any(stops) and not stops[-1]) or "Exception ignored" in output:
        yield f"it said {output!r}"
    yield from (f"it left {path.name}" for path in _left(command))


def _left(command: Command) -> list[Path]:
    return [path for folder in command.watched for path in folder.rglob("*") if is_scratch(path.name)]


def _started(command: Command) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command.run,
        cwd=command.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **command.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_handlers(process: subprocess.Popen[str], command: Command) -> None:
    """Wait until a process handles SIGTERM, according to the system: before that, Python itself is starting."""
    mask = 1 << (signal.SIGTERM - 1)
    deadline = time.monotonic() + _PATIENCE_S
    while command.is_cli and process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
            if int(caught, 16) & mask:
                return
        time.sleep(0.002)


# ---------------------------------------------------------------- the commands


@contextlib.contextmanager
def _commands(scratch: Path) -> Iterator[list[Command]]:
    with Hub() as hub:
        yield [
            _index(scratch / "index"),
            _prune(scratch / "prune"),
            _pull(scratch / "pull", hub),
            _convert(scratch / "convert"),
            _extract(scratch / "parquet", "parquet", "starter/minilm-l6", percent=60),
            _extract(scratch / "npz", "npz", "toy/next-word", percent=30),
            _extract(scratch / "safetensors", "safetensors", "toy/next-word", percent=30),
        ]


def _environment(folder: Path) -> dict[str, str]:
    """Return environment variables that hide the user's files from a command."""
    return {"LAYERZOO_CACHE": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "config"), "HOME": str(folder)}


def _extract(folder: Path, suffix: str, model: str, percent: int) -> Command:
    """Extract features of texts, overwriting those of an earlier run."""
    work = folder / "work"
    work.mkdir(parents=True)
    words = ("the", "cat", "drinks", "milk", "dog", "eats", "meat")
    lines = (" ".join(words[(number + step * step) % 7] for step in range(number % 40 + 1)) for number in range(_LINES))
    (work / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    out = work / f"f.{suffix}"
    state: dict[str, Any] = {}

    def begin() -> None:
        from layerzoo.features import Features

        if "before" not in state:
            Features(("before",), {"x": np.ones((1, 3), np.float32)}).save(out)
            state["before"] = out.read_bytes()
        out.write_bytes(state["before"])

    def check() -> Iterator[str]:
        from layerzoo.errors import LayerzooError
        from layerzoo.features import Features

        content = out.read_bytes()
        if content == state["before"]:
            return
        try:
            values = Features.load(out).values
        except LayerzooError as error:
            yield f"{out.name} is damaged: {error}"
            return
        if len(values) != _LINES:
            yield f"{out.name} has {len(values)} samples"
        elif not np.array_equal(state.setdefault("values", values), values):
            yield f"{out.name} has other numbers"
        elif state.setdefault("whole", content) != content:
            yield f"{out.name} has other bytes than those of another run"

    run = [*ZOO, "extract", "texts.txt", "--model", model, "--layer", "block.0", "--out", out.name]
    name = f"zoo extract to .{suffix}"
    return Command(
        name, run, work, _environment(folder), begin, check, percent=percent, is_quiet=False, watched=(work,)
    )


def _pull(folder: Path, hub: Hub) -> Command:
    """Download a checkpoint of 24 MB from a local hub."""
    work = folder / "work"
    work.mkdir(parents=True)
    weights = save({"a": np.random.default_rng(0).random(6_000_000, np.float32)})
    hub.repository("acme/vit").commit({"config.json": "{}", "model.safetensors": weights})
    text = 'layerzoo: 1\nmodels:\n  mine/vit: {modality: vision, builder: timm, weights: "hf://acme/vit"}\n'
    (work / "registry.yaml").write_text(text, encoding="utf-8")
    environment = {
        **_environment(folder),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }

    def begin() -> None:
        shutil.rmtree(folder / "hf", ignore_errors=True)
        shutil.rmtree(folder / "cache" / "downloads", ignore_errors=True)
        (work / "layerzoo.lock").unlink(missing_ok=True)

    def check() -> Iterator[str]:
        for path in (folder / "hf").glob("hub/models--*/snapshots/*/model.safetensors"):
            if path.read_bytes() != weights:
                yield f"{path.name} is damaged"
        if (work / "layerzoo.lock").exists():
            json.loads((work / "layerzoo.lock").read_text(encoding="utf-8"))
        yield from _unsound(work, environment)

    run = [*ZOO, "pull", "mine/vit"]
    return Command("zoo pull", run, work, environment, begin, check, watched=(work, folder / "cache"))


def _index(folder: Path) -> Command:
    """Compile the index of all plugins and of 3,000 models."""
    work = folder / "work"
    work.mkdir(parents=True)
    models = "".join(f"  mine/net{number}: {{modality: text, builder: toy}}\n" for number in range(3000))
    (work / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n{models}", encoding="utf-8")
    environment = _environment(folder)

    def begin() -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)

    def check() -> Iterator[str]:
        run = [*ZOO, "list", "--format", "ids"]
        done = subprocess.run(run, cwd=work, env={**os.environ, **environment}, capture_output=True, text=True)
        listed = sum(line.startswith("mine/net") for line in done.stdout.splitlines())
        if listed != 3000:
            yield f"{listed} of 3,000 models are listed: {done.stderr.strip()[-200:]}"

    run = [*ZOO, "list", "--format", "ids"]
    return Command("compiling the index", run, work, environment, begin, check, watched=(folder,))


_CONVERSION = """
import sys, layerzoo
backbone = layerzoo.load("toy/next-word", weights=sys.argv[1], allow_pickle=True)
"""


def _convert(folder: Path) -> Command:
    """Convert a pickled checkpoint of 100 MB, in a program that uses layerzoo."""
    import torch

    from layerzoo.testing.toy import NextWord

    work = folder / "work"
    work.mkdir(parents=True)
    torch.save({**NextWord().state_dict(), "unused": torch.rand(25_000_000)}, work / "net.pth")
    environment = _environment(folder)

    def begin() -> None:
        shutil.rmtree(folder / "cache" / "converted", ignore_errors=True)

    def check() -> Iterator[str]:
        yield from _unsound(work, environment)

    run = [sys.executable, "-c", _CONVERSION, "net.pth"]
    return Command(
        "converting a pickle",
        run,
        work,
        environment,
        begin,
        check,
        is_cli=False,
        watched=(folder / "cache",),
    )


def _prune(folder: Path) -> Command:
    """Remove the files of 300 killed processes."""
    work, cache = folder / "work", folder / "cache"
    work.mkdir(parents=True)
    environment = _environment(folder)

    def begin() -> None:
        (cache / "converted").mkdir(parents=True, exist_ok=True)
        for number in range(300):
            left = cache / "converted" / f".layerzoo-{number:016x}.part"
            left.write_bytes(bytes(1000))
            os.utime(left, (0, 0))

    def check() -> Iterator[str]:
        yield from _unsound(work, environment)

    run = [*ZOO, "cache", "prune"]
    return Command("zoo cache prune", run, work, environment, begin, check)


def _unsound(work: Path, environment: dict[str, str]) -> Iterator[str]:
    """Return the damage that `zoo cache verify` finds."""
    run = [*ZOO, "cache", "verify"]
    done = subprocess.run(run, cwd=work, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        yield f"zoo cache verify exits with {done.returncode}: {done.stderr.strip()[-200:]}"
