"""The registry of a process: renewed when a file changes, queried by many threads, and usable after a fork."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import layerzoo
from layerzoo.errors import UnknownModelError
from layerzoo.paths import cache_dir
from layerzoo.registry import Registry, registry

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"

Install = Callable[..., None]


@pytest.fixture
def home(small_home: Path) -> Path:
    return small_home


def declare(file: Path, *models: str, modality: str = "text") -> None:
    """Write a file atomically, as editors do, so that no reader sees half of it."""
    lines = [f"  {model}: {{modality: {modality}, builder: toy}}\n" for model in models]
    new = file.with_name(f"{file.name}.new")
    new.write_text(f"layerzoo: 1\nmodels:\n{''.join(lines)}", encoding="utf-8")
    new.replace(file)


def questions(zoo: Registry) -> dict[str, Callable[[], Any]]:
    """Return every query, by name."""
    return {
        "model": lambda: zoo.model("acme/vit-shelf"),
        "alias": lambda: zoo.model("acme/shelf"),
        "based": lambda: zoo.model("acme/shelf-video"),
        "models": lambda: zoo.models(limit=50),
        "filtered": lambda: zoo.models(modality="vision", max_params=10**8, plugin="acme"),
        "search": lambda: zoo.models(text="shelf"),
        "ids": zoo.ids,
        "weights": zoo.weights,
        "default": lambda: zoo.default_model("text"),
        "plugins": zoo.plugins,
        "plugin": lambda: zoo.plugin("acme"),
        "builder": lambda: zoo.builder_plugin("acme"),
        "published": zoo.published,
        "problems": zoo.problems,
        "outcome": lambda: zoo.outcome(zoo.plugin("acme")),
        "unknown": lambda: refusal(zoo, "acme/vit-shelff"),
    }


def refusal(zoo: Registry, model: str) -> str:
    with pytest.raises(UnknownModelError) as caught:
        zoo.model(model)
    return str(caught.value)


def answers(zoo: Registry) -> dict[str, Any]:
    return {name: question() for name, question in questions(zoo).items()}


# ---------------------------------------------------------------- changes of files and plugins


def test_the_registry_of_the_process_is_reused_while_nothing_changes(install: Install) -> None:
    install("good")
    assert registry() is registry()


def test_an_edit_of_equal_size_is_seen_immediately(home: Path) -> None:
    file = home / "registry.yaml"
    for modality in ("text", "audio", "text", "audio"):
        declare(file, "net", modality=f"{modality:5}")
        assert layerzoo.model("mine/net").modality == modality


def test_an_added_and_a_removed_file_are_seen_immediately(home: Path) -> None:
    assert "mine/net" not in registry().ids()
    declare(home / "registry.yaml", "net")
    assert "mine/net" in registry().ids()
    (home / "registry.yaml").unlink()
    assert "mine/net" not in registry().ids()


def test_installing_and_uninstalling_are_seen_immediately(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = home / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    assert "acme/vit-shelf" not in registry().ids()
    shutil.copytree(ON_DISK / "good", site, dirs_exist_ok=True)
    assert "acme/vit-shelf" in registry().ids()
    shutil.rmtree(site / "acme_zoo-1.0.dist-info")
    assert "acme/vit-shelf" not in registry().ids()


def test_an_edited_catalogue_is_seen_immediately(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ON_DISK / "good", home / "site")
    monkeypatch.syspath_prepend(home / "site")
    assert "acme/late" not in registry().ids()
    with (home / "site" / "acme_zoo" / "models.jsonl").open("a", encoding="utf-8") as catalogue:
        catalogue.write('{"id": "late", "modality": "text", "builder": "acme"}\n')
    assert "acme/late" in registry().ids()


def test_a_restored_catalogue_is_seen_immediately(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ON_DISK / "good", home / "site")
    monkeypatch.syspath_prepend(home / "site")
    catalogue = home / "site" / "acme_zoo" / "models.jsonl"
    for _ in range(2):
        assert "acme/cat/one" in registry().ids()
        catalogue.rename(catalogue.with_suffix(".old"))
        assert "acme/cat/one" not in registry().ids()
        catalogue.with_suffix(".old").rename(catalogue)


# ---------------------------------------------------------------- lookups are pure


def test_equal_queries_have_equal_results(install: Install) -> None:
    install("good", "half_valid")
    zoo = Registry()
    assert answers(zoo) == answers(zoo) == answers(Registry())


def test_a_query_does_not_depend_on_earlier_queries(install: Install) -> None:
    install("good", "half_valid")
    for name, answer in answers(Registry()).items():
        assert questions(Registry())[name]() == answer, name


def test_lookups_write_nothing(install: Install) -> None:
    install("good", "half_valid")
    zoo = registry()
    answers(zoo)  # results that depend on several files are computed and stored at the first query
    before = {path: path.stat().st_mtime_ns for path in cache_dir().rglob("*")}
    answers(zoo)
    assert {path: path.stat().st_mtime_ns for path in cache_dir().rglob("*")} == before
    assert registry() is zoo


def test_results_are_immutable(install: Install) -> None:
    install("good", "half_valid")
    zoo = Registry()
    spec, manifest, problem = zoo.model("acme/vit-shelf"), zoo.plugin("acme"), zoo.problems()[0]
    for found in (spec, spec.layers[0], spec.preprocess, spec.default, manifest, problem):
        with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
            setattr(found, next(iter(type(found).__dataclass_fields__)), None)  # type: ignore[union-attr]
    assert spec.args["stages"] == (2, 3)
    with pytest.raises(TypeError):
        spec.args["width"] = 5  # type: ignore[index]


def test_a_returned_list_is_a_copy(install: Install) -> None:
    install("good")
    zoo = Registry()
    expected = answers(zoo)
    for found in (zoo.models(), zoo.ids(), zoo.plugins(), zoo.problems()):
        found.clear()  # type: ignore[attr-defined]
    for facts in zoo.published().values():
        facts.clear()
    assert answers(zoo) == expected


# ---------------------------------------------------------------- threads


def test_many_threads_can_query_one_registry(install: Install) -> None:
    install("good", "half_valid")
    zoo = Registry()
    expected = answers(zoo)
    with ThreadPoolExecutor(8) as pool:
        assert all(answer == expected for answer in pool.map(lambda _: answers(zoo), range(24)))


def test_many_threads_can_query_while_files_are_edited(install: Install, home: Path) -> None:
    """Every result belongs to a version of the file, and an older registry can still be queried."""
    install("good")
    file, is_over = home / "registry.yaml", threading.Event()
    declare(file, "net", "first")
    held = registry()

    def edit() -> None:
        for at in range(25):
            declare(file, "net", ("first", "second")[at % 2], modality=("text", "audio")[at % 2])
            time.sleep(0.01)
        is_over.set()

    def ask(zoo: Callable[[], Registry]) -> None:
        while not is_over.is_set():
            own = {name for name in zoo().ids() if name.startswith("mine/")}
            assert own in ({"mine/net", "mine/first"}, {"mine/net", "mine/second"})
            assert zoo().model("mine/net").modality in ("text", "audio")
            assert zoo().model("acme/vit-shelf").layers
            assert zoo().problems() == []
            assert [plugin.namespace for plugin in zoo().plugins() if plugin.namespace == "acme"]

    with ThreadPoolExecutor(7) as pool:
        asking = [pool.submit(ask, zoo) for zoo in (registry, registry, registry, lambda: held, lambda: held)]
        pool.submit(edit).result()
        for each in asking:
            each.result()
    assert registry().model("mine/first").modality == "text"


def test_many_threads_can_query_an_index_that_becomes_damaged(install: Install) -> None:
    install("good")
    zoo = Registry()
    expected = answers(zoo)
    (file,) = cache_dir().glob("*.sqlite3")
    content = file.read_bytes()
    file.write_bytes(content[:4096] + bytes(len(content) - 4096))
    with ThreadPoolExecutor(8) as pool:
        assert all(answer == expected for answer in pool.map(lambda _: answers(zoo), range(16)))


# ---------------------------------------------------------------- forks

# A fork of the process that runs the tests could hang where a thread of a library holds a lock. These programs have
# only the threads that they start.
PRELUDE = """
import os, signal, sys, threading, time
from layerzoo.paths import cache_dir
from layerzoo.registry import Registry, registry

def in_child(question):
    if (child := os.fork()) == 0:
        signal.alarm(20)
        try:
            os._exit(0 if question() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0

def answers(zoo):
    return zoo.ids(), zoo.models(text="shelf"), zoo.model("acme/vit-shelf"), zoo.plugins(), zoo.problems()
"""
BOTH_SIDES = """
from layerzoo.registry.installed.health import ImportOutcome
zoo = {registry}()
outcome = ImportOutcome.success(0.1)
zoo.keep_outcome(zoo.plugin("acme"), outcome)
expected = answers(zoo)
for _ in range(3):
    assert in_child(lambda: answers(zoo) == expected == answers(registry()))
    assert in_child(lambda: zoo.outcome(registry().plugin("acme")) == outcome)
    assert answers(zoo) == expected
"""
WHILE_A_THREAD_COMPILES = """
thread = threading.Thread(target=registry)
thread.start()
while thread.is_alive() and not list(cache_dir().glob("*-journal")):
    time.sleep(0.001)
assert in_child(lambda: "mine/net-7" in registry().ids())
thread.join()
assert "mine/net-7" in registry().ids()
"""
POOL = """
import multiprocessing
def ids(_):
    return registry().ids()
expected = registry().ids()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(ids, range(8)) == [expected] * 8
"""
AN_EDIT = """
registry()
with open("registry.yaml", "w") as file:
    file.write("layerzoo: 1\\nmodels: {net: {modality: text, builder: toy}}\\n")
assert in_child(lambda: "mine/net" in registry().ids())
assert "mine/net" in registry().ids()
"""


def runs(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["registry", "Registry"])
def test_both_sides_of_a_fork_can_query_a_registry(install: Install, name: str) -> None:
    install("good")
    runs(BOTH_SIDES.format(registry=name))


def test_a_child_does_not_wait_for_a_thread_of_its_parent(install: Install, home: Path) -> None:
    install("good")
    declare(home / "registry.yaml", *(f"net-{number}" for number in range(1500)))
    runs(WHILE_A_THREAD_COMPILES)


def test_forked_workers_can_query_the_registry(install: Install) -> None:
    install("good")
    runs(POOL)


def test_a_child_sees_an_edit_after_its_fork(home: Path) -> None:
    runs(AN_EDIT)
