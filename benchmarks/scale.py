"""Measure runs: ``python -m benchmarks.scale [TEXTS]``.

1,000,000 short texts (by default) go through a small network: by ``layerzoo.stream`` alone, by ``layerzoo.run``, by one
and two workers, and, where Ray is installed, by two actors, each in a separate process with one thread. They take turns
for three rounds, of which the median counts: the rate of one and the same process differs by 2 % from round to round.
Memory and time are noted at every progress report. Times begin with the first report after 5,000 texts. A shard of
50,000 texts takes about two seconds; by default a run has shards of minutes, which cost less.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.measure import own_folder

_TEXTS = 1_000_000
_MODEL = "toy/next-word"
_WORDS = ("the", "cat", "dog", "drinks", "eats", "milk", "meat")
_SHARD = 50_000
_ROUNDS = 3
_WARM = 5_000
"""Texts before the clock starts: a network is loaded and its layers are checked at the first batches."""
_TARGET_RATE = 5_000
_MEMORY = 1.05
_LINEAR = 1.1
_OVERHEAD = 1.03
_WORKERS = 1.8
_RAY = 0.9


class Mark(NamedTuple):
    """The state at one moment."""

    done: int
    seconds: float
    memory_bytes: int


def main() -> None:
    """Run all contenders, and print the targets."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _TEXTS
    with own_folder() as folder:
        texts = _write_texts(folder / "texts.txt", count)
        rounds = [_round(texts) for _ in range(_ROUNDS)]
    rates = {name: statistics.median(_rate(marks[name]) for marks in rounds) for name in rounds[0]}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} texts/s")
    quarters = [_quarters(marks["run"]) for marks in rounds]
    memory = [statistics.mean(mark.memory_bytes for both in quarters for mark in both[at]) for at in (0, 1)]
    print(f"memory of the run: {memory[0] / 1e6:,.0f} MB in the first quarter, {memory[1] / 1e6:,.0f} MB in the last")
    slowdown = statistics.median(_rate(first) / _rate(last) for first, last in quarters)
    verdicts = [
        _verdict("texts/s of the network alone", rates["stream"], _TARGET_RATE, at_least=True),
        _verdict("memory, last quarter / first", memory[1] / memory[0], _MEMORY, at_least=False),
        _verdict("time per text, last quarter / first", slowdown, _LINEAR, at_least=False),
        _verdict("time of the run / stream", rates["stream"] / rates["run"], _OVERHEAD, at_least=False),
        _verdict("two workers / one", rates["two workers"] / rates["one worker"], _WORKERS, at_least=True),
    ]
    if "two actors of Ray" in rates:
        verdicts.append(
            _verdict("Ray / two workers", rates["two actors of Ray"] / rates["two workers"], _RAY, at_least=True)
        )
    sys.exit(0 if all(verdicts) else 1)


def _round(texts: Path) -> dict[str, list[Mark]]:
    """Run each contender once. Returns: its name → its marks."""
    marks = {
        "stream": _marks("stream", texts),
        "run": _marks("run", texts),
        "one worker": _marks("workers", texts, 1),
        "two workers": _marks("workers", texts, 2),
    }
    if importlib.util.find_spec("ray"):
        marks["two actors of Ray"] = _marks("ray", texts, 2)
    for folder in texts.parent.glob(f"{texts.name}-*"):
        shutil.rmtree(folder)
    return marks


def _write_texts(path: Path, count: int) -> Path:
    random_ = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{' '.join(random_.choices(_WORDS, k=random_.randint(2, 8)))}\n" for _ in range(count))
    return path


def _marks(contender: str, texts: Path, workers: int | None = None) -> list[Mark]:
    """Run a contender in a separate process. Returns: its marks, without those of the warm-up."""
    command = [sys.executable, "-m", "benchmarks.scale", "--contender", contender, str(texts), str(workers or "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    root = Path(__file__).parents[1]
    printed = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    marks = [Mark(*mark) for mark in json.loads(printed.splitlines()[-1])]
    return [mark for mark in marks if mark.done >= _WARM]


def contender(name: str, texts: str, workers: str) -> None:
    """Run one contender, and print its marks as JSON."""
    import layerzoo

    marks: list[Mark] = []

    def note(done: int, total: int | None) -> None:
        marks.append(Mark(done, perf_counter(), _resident_bytes()))

    folder = f"{texts}-{name}{workers}"
    options: dict[str, Any] = {"out": folder, "shard_size": _SHARD, "progress": note}
    if name == "stream":
        for _ in layerzoo.stream(_MODEL, texts, errors="skip", progress=note):
            pass
    elif name == "run":
        layerzoo.run(_MODEL, texts, **options)
    elif name == "workers":
        layerzoo.run(_MODEL, texts, workers=int(workers), **options)
    else:
        layerzoo.run(_MODEL, texts, engine="ray", workers=int(workers), **options)
    print(json.dumps(marks))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _rate(marks: Sequence[Mark]) -> float:
    return (marks[-1].done - marks[0].done) / (marks[-1].seconds - marks[0].seconds)


def _quarters(marks: Sequence[Mark]) -> tuple[list[Mark], list[Mark]]:
    """Return the marks of the first and of the last quarter of the texts."""
    low, high = marks[0].done, marks[-1].done
    quarter = (high - low) / 4
    return [mark for mark in marks if mark.done <= low + quarter], [
        mark for mark in marks if mark.done >= high - quarter
    ]


def _verdict(name: str, value: float, target: float, *, at_least: bool) -> bool:
    is_reached = value >= target if at_least else value <= target
    print(
        f"{name}: {value:,.3g} ({'at least' if at_least else 'at most'} {target:,}): {'ok' if is_reached else 'MISSED'}"
    )
    return is_reached


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contender"]:
        contender(*sys.argv[2:5])
    else:
        main()
