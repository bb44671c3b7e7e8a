"""The index gives the right results whatever happens to its file, to its sources and to the files next to them."""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.terminal import without_local_files_notice

from layerzoo.errors import RegistryError
from layerzoo.paths import cache_dir
from layerzoo.registry import Registry, registry
from layerzoo.registry.index.database import FILE_NAME, Database, KeptResults

Install = Callable[..., None]


@pytest.fixture
def home(small_home: Path) -> Path:
    return small_home


ASK = "import json; from layerzoo.registry import Registry; zoo = Registry(); print(json.dumps(zoo.ids()))"
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24
"""linux/capability.h and linux/prctl.h. With the first two, permissions do not apply to the superuser."""


def declare(file: Path, *models: str, modality: str = "text") -> None:
    lines = [f"  {model}: {{modality: {modality}, builder: toy}}\n" for model in models]
    file.write_text(f"layerzoo: 1\nmodels:\n{''.join(lines)}", encoding="utf-8")


def answers(zoo: Registry) -> object:
    return zoo.models(limit=50), zoo.models(text="shelf"), zoo.plugins(), zoo.problems()


def index_file() -> Path:
    return cache_dir() / FILE_NAME


def compiled(index: Path) -> list[str]:
    """Return the files whose rows are in an index, which must be intact."""
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [os.fsdecode(path) for (path,) in connection.execute("SELECT path FROM sources ORDER BY path")]


def obey_permissions() -> None:
    """Remove, in a child process, the superuser's right to ignore file permissions."""
    if os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def ask(**options: Any) -> list[str]:
    """Return the ids that another process finds. It may print only which file it uses. options: of subprocess.run."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False, **options)
    assert (done.returncode, without_local_files_notice(done.stderr)) == (0, "")
    return list(json.loads(done.stdout))


@pytest.fixture
def known(install: Install, home: Path) -> list[str]:
    """Return the ids of a registry with a good plugin and a file of the user, after compiling the index."""
    install("good")
    declare(home / "registry.yaml", "net")
    return Registry().ids()


# ---------------------------------------------------------------- the index is reused


def test_a_warm_index_gives_the_results_of_a_cold_one(known: list[str]) -> None:
    warm = answers(Registry())
    index_file().unlink()
    assert answers(Registry()) == warm


def test_unchanged_sources_are_not_written_again(known: list[str]) -> None:
    before = index_file().stat()
    assert ask() == known  # the first query of this process: other folders on its path, so that a scan is stored
    between = index_file().stat()
    assert ask() == known
    assert index_file().stat().st_mtime_ns == between.st_mtime_ns >= before.st_mtime_ns


def test_rows_of_removed_files_are_deleted(known: list[str], home: Path) -> None:
    (home / "registry.yaml").rename(home / "other.yaml")
    assert str(home / "registry.yaml") in compiled(index_file())
    declare(home / "registry.yaml", "later")
    Registry()
    (home / "registry.yaml").unlink()
    (home / "elsewhere").mkdir()
    declare(home / "elsewhere" / "registry.yaml", "far")
    os.chdir(home / "elsewhere")
    assert "mine/far" in Registry().ids()
    assert str(home / "registry.yaml") not in compiled(index_file())


def test_the_number_of_a_source_is_never_reused(known: list[str], home: Path) -> None:
    held = Registry()
    (home / "registry.yaml").unlink()
    (home / "elsewhere").mkdir()
    declare(home / "elsewhere" / "registry.yaml", "foreign")
    os.chdir(home / "elsewhere")
    assert "mine/foreign" in Registry().ids()
    assert "mine/foreign" not in held.ids()


# ---------------------------------------------------------------- the cache directory


def test_a_cache_that_cannot_be_created_changes_no_result(known: list[str], home: Path) -> None:
    file = home / "file"
    file.write_text("not a folder", encoding="utf-8")
    for cache in (file, file / "cache", home / "deep" / "er"):
        assert Registry(cache=cache).ids() == known


def test_a_cache_deleted_during_use_changes_no_result(known: list[str]) -> None:
    zoo = Registry()
    shutil.rmtree(cache_dir())
    assert zoo.ids() == known
    assert zoo.model("acme/vit-shelf")
    assert registry().ids() == known
    assert ask() == known


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_read_only_cache_changes_no_result(known: list[str], home: Path, mode: int) -> None:
    declare(home / "registry.yaml", "net", "later")
    index_file().chmod(0o444 & mode)
    cache_dir().chmod(mode)
    try:
        assert ask(preexec_fn=obey_permissions) == sorted([*known, "mine/later"])
    finally:
        cache_dir().chmod(0o755)
        index_file().chmod(0o644)


def test_a_read_only_index_is_not_compiled_again(known: list[str], home: Path) -> None:
    program = """
import os, sys
from layerzoo.registry import Registry
from layerzoo.registry.format import compile
compiled = []
sys.setprofile(lambda frame, event, _: compiled.append(frame.f_locals["source"].path)
               if event == "call" and frame.f_code is compile.compile_registry.__code__ else None)
Registry()
print(*compiled, sep="\\n")
"""
    declare(home / "registry.yaml", "net", "later")
    index_file().chmod(0o444)
    cache_dir().chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], preexec_fn=obey_permissions, capture_output=True, text=True, check=True
        )
    finally:
        cache_dir().chmod(0o755)
    assert done.stdout.split() == [str(home / "registry.yaml")]


@pytest.mark.parametrize(("room", "is_warm"), [(0, False), (60_000, False), (130_000, True)])
def test_a_full_disk_changes_no_result(known: list[str], home: Path, room: int, is_warm: bool) -> None:
    declare(home / "registry.yaml", *(f"net-{number}" for number in range(200)))
    if not is_warm:
        index_file().unlink()

    def fill_up() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    expected = sorted([*(name for name in known if name != "mine/net"), *(f"mine/net-{at}" for at in range(200))])
    assert ask(preexec_fn=fill_up) == expected
    assert ask() == expected


# ---------------------------------------------------------------- damage


def _nothing_left(index: Path) -> None:
    index.write_bytes(b"")


def _no_database(index: Path) -> None:
    index.write_bytes(b"no database at all" * 1000)


def _random_bytes(index: Path) -> None:
    index.write_bytes(random.Random(1).randbytes(index.stat().st_size))


def _random_after_the_first_page(index: Path) -> None:
    content = index.read_bytes()
    index.write_bytes(content[:4096] + random.Random(2).randbytes(len(content) - 4096))


def _cut_in_the_middle(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def _cut_after_the_first_page(index: Path) -> None:
    os.truncate(index, 4096)


def _changed(sql: str) -> Callable[[Path], None]:
    def change(index: Path) -> None:
        with closing(sqlite3.connect(index)) as connection:
            connection.executescript(sql)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        _nothing_left,
        _no_database,
        _random_bytes,
        _random_after_the_first_page,
        _cut_in_the_middle,
        _cut_after_the_first_page,
        _changed("PRAGMA user_version = 1"),
        _changed("PRAGMA user_version = 77"),
        _changed("PRAGMA user_version = 0; DROP TABLE sources; CREATE TABLE sources (other TEXT)"),
        _changed("DROP TABLE models"),
        _changed("DROP TABLE words"),
        _changed("DROP TABLE aliases"),
        _changed("DROP TABLE scans"),
        _changed("ALTER TABLE models RENAME COLUMN spec TO specification"),
        _changed("UPDATE models SET spec = substr(spec, 1, 20)"),
        _changed("UPDATE sources SET head = '{'"),
        _changed("UPDATE scans SET found = '['"),
        _changed("UPDATE models SET spec = CAST(x'ff00ff' AS TEXT)"),
    ],
)
def test_a_damaged_index_is_rebuilt(known: list[str], damage: Callable[[Path], None]) -> None:
    expected, files = answers(Registry()), compiled(index_file())
    damage(index_file())
    assert answers(Registry()) == expected
    assert compiled(index_file()) == files


def test_a_folder_in_place_of_the_index_changes_no_result(known: list[str]) -> None:
    index_file().unlink()
    index_file().mkdir()
    assert Registry().ids() == known


def test_an_index_damaged_during_use_changes_no_result(known: list[str]) -> None:
    zoo = Registry()
    expected = answers(zoo)
    _random_after_the_first_page(index_file())
    assert answers(zoo) == expected
    assert answers(Registry()) == expected


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=4))
def test_partially_written_pages_change_no_result(known: list[str], pages: list[int]) -> None:
    index_file().unlink()
    expected = Registry().models(), Registry().problems()
    content = bytearray(index_file().read_bytes())
    for page in pages:
        start = page * 4096 % len(content)
        content[start : start + 4096] = bytes(4096)
    index_file().write_bytes(content)
    again = Registry()
    assert (again.models(), again.problems()) == expected


# ---------------------------------------------------------------- several processes


@pytest.mark.parametrize("number", [2, 8])
def test_concurrently_started_processes_give_equal_results(known: list[str], number: int) -> None:
    index_file().unlink()
    command = [sys.executable, "-c", ASK]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(number)
    ]
    for child in children:
        out, err = child.communicate()
        assert (child.returncode, without_local_files_notice(err), json.loads(out)) == (0, "", known)
    assert len(compiled(index_file())) == len(set(compiled(index_file())))


def _is_writing(index: Path) -> bool:
    """Return whether compiled rows are being written to the file."""
    return index.exists() and index.stat().st_size > 300_000


def _is_compiling(index: Path) -> bool:
    return index.with_name(f"{FILE_NAME}-journal").exists()


@pytest.mark.parametrize("moment", [_is_compiling, _is_writing])
def test_a_killed_process_leaves_no_partial_index(home: Path, moment: Callable[[Path], bool]) -> None:
    models = [f"net-{number}" for number in range(3000)]
    declare(home / "registry.yaml", *models)
    with subprocess.Popen([sys.executable, "-c", ASK], stdout=subprocess.PIPE) as child:
        while child.poll() is None and not moment(index_file()):
            pass
        child.send_signal(signal.SIGKILL)
    found = Registry().ids()
    assert [name for name in found if name.startswith("mine/")] == sorted(f"mine/{model}" for model in models)
    assert str(home / "registry.yaml") in compiled(index_file())


def test_readers_do_not_wait_for_a_compiling_process(known: list[str]) -> None:
    assert ask() == known
    with closing(sqlite3.connect(index_file(), isolation_level=None)) as other:
        other.execute("PRAGMA cache_spill = OFF")  # like every connection of a registry
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM models")
        started = time.monotonic()
        assert ask() == known
        assert time.monotonic() - started < 30


# ---------------------------------------------------------------- edits


def test_an_edit_is_seen_with_any_timestamps(home: Path) -> None:
    """Equal size, equal modification time, and a change time set back or into the future."""
    file = home / "registry.yaml"
    for at, modality in enumerate(("text ", "audio", "video", "text ", "audio")):
        declare(file, "net", modality=modality)
        os.utime(file, ns=(10**18 * (at % 3), 10**18 * (at % 3)))
        assert registry().model("mine/net").modality == modality.strip()


def test_a_replaced_file_with_the_same_metadata_is_seen(home: Path) -> None:
    """Renaming a file or changing a link may keep size and times."""
    for name, modality in (("a", "text "), ("b", "audio")):
        declare(home / name, "net", modality=modality)
        os.utime(home / name, ns=(10**18, 10**18))
    for name, modality in (("a", "text"), ("b", "audio"), ("a", "text")):
        (home / "registry.yaml").unlink(missing_ok=True)
        (home / "registry.yaml").symlink_to(name)
        assert registry().model("mine/net").modality == modality


def test_an_edit_of_the_target_of_a_link_is_seen(home: Path) -> None:
    (home / "registry.yaml").symlink_to("target")
    declare(home / "target", "net")
    assert "mine/net" in registry().ids()
    declare(home / "target", "web")
    assert "mine/web" in registry().ids()


def test_an_edit_during_compilation_is_seen(home: Path) -> None:
    declare(home / "registry.yaml", *(f"net-{number}" for number in range(1500)))
    found: list[Registry] = []
    thread = threading.Thread(target=lambda: found.append(registry()))
    thread.start()
    while not _is_compiling(index_file()) and thread.is_alive():
        time.sleep(0.001)
    declare(home / "registry.yaml", "later")
    thread.join()
    time.sleep(0.05)
    assert "mine/later" in registry().ids()


def test_an_intermittent_file_is_present_or_absent(home: Path) -> None:
    """This includes a file that disappears between being found and being opened."""
    file, is_over = home / "registry.yaml", threading.Event()

    def come_and_go() -> None:
        while not is_over.is_set():
            declare(home / "new", "net")
            (home / "new").rename(file)
            time.sleep(0.002)
            file.unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert {name for name in registry().ids() if name.startswith("mine/")} <= {"mine/net"}
    is_over.set()
    thread.join()
    assert (registry().problems(), "mine/net" in registry().ids()) == ([], False)


# ---------------------------------------------------------------- special files


@pytest.fixture
def problem(home: Path) -> Callable[[], str]:
    """Return the message about ./registry.yaml. Without this file nothing is looked up: it might change the result."""

    def say() -> str:
        zoo = registry()
        for question in (lambda: zoo.model("toy/next-word"), zoo.ids, zoo.models, zoo.entries):
            with pytest.raises(RegistryError, match="--no-local-files") as caught:
                question()
            assert str(home / "registry.yaml") in str(caught.value)
        (message,) = zoo.problems()
        assert message.path == str(home / "registry.yaml")
        return str(message)

    return say


def test_a_folder_in_place_of_a_registry_file_is_reported(home: Path, problem: Callable[[], str]) -> None:
    (home / "registry.yaml").mkdir()
    assert "Is a directory" in problem()


def test_a_pipe_in_place_of_a_registry_file_does_not_block(home: Path, problem: Callable[[], str]) -> None:
    os.mkfifo(home / "registry.yaml")
    assert "it is a pipe or a device, and not a file" in problem()


def test_a_socket_in_place_of_a_registry_file_is_not_read(home: Path, problem: Callable[[], str]) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind("registry.yaml")
        assert "it is a socket, and not a file" in problem()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x00\x01\x02", "U+0000"), (b"\xff\xfe\x00", "not UTF-8"), (b"# too large\n" * 400_000, "larger than 4 MB")],
)
def test_a_binary_file_is_not_a_registry(home: Path, problem: Callable[[], str], content: bytes, message: str) -> None:
    (home / "registry.yaml").write_bytes(content)
    assert message in problem()


def test_a_device_is_not_read(home: Path, problem: Callable[[], str]) -> None:
    (home / "registry.yaml").symlink_to("/dev/zero")
    assert "it is a pipe or a device, and not a file" in problem()


@pytest.mark.parametrize(("target", "message"), [("nowhere", "No such file"), ("registry.yaml", "symbolic links")])
def test_a_dangling_link_is_reported(home: Path, problem: Callable[[], str], target: str, message: str) -> None:
    (home / "registry.yaml").symlink_to(target)
    assert message in problem()


def test_a_link_is_followed_as_soon_as_its_target_exists(home: Path) -> None:
    (home / "registry.yaml").symlink_to("target")
    with pytest.raises(RegistryError, match="No such file"):
        registry().ids()
    declare(home / "target", "net")
    assert "mine/net" in registry().ids()


def test_an_unreadable_file_is_reported_and_read_once_permitted(home: Path) -> None:
    program = "from layerzoo.registry import Registry; zoo = Registry(); print(*zoo.problems(), sep='\\n'); zoo.ids()"
    declare(home / "registry.yaml", "net")
    (home / "registry.yaml").chmod(0o000)
    done = subprocess.run(
        [sys.executable, "-c", program], preexec_fn=obey_permissions, capture_output=True, text=True, check=False
    )
    assert "registry.yaml:1:1: cannot be read: Permission denied" in done.stdout
    assert "RegistryError" in done.stderr
    if os.geteuid() == 0:
        assert "mine/net" in Registry().ids()  # the superuser may, although the file is unchanged
    (home / "registry.yaml").chmod(0o644)
    assert "mine/net" in Registry().ids()


# ---------------------------------------------------------------- other directories


def test_every_working_directory_has_its_own_registry_file(home: Path) -> None:
    for name in ("one", "two"):
        (home / name).mkdir()
        declare(home / name / "registry.yaml", name)
    for name, other in (("one", "two"), ("two", "one"), ("one", "two")):
        os.chdir(home / name)
        assert f"mine/{name}" in registry().ids()
        assert f"mine/{other}" not in registry().ids()


def test_a_directory_whose_name_is_not_unicode_can_have_a_registry_file(home: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(home) + b"/\xff\xfe"))
    folder.mkdir()
    declare(folder / "registry.yaml", "net")
    os.chdir(folder)
    assert "mine/net" in registry().ids()
    assert registry() is registry()
    assert Registry(cache=folder / "cache").ids() == registry().ids()


def test_a_removed_working_directory_has_no_registry_file(home: Path) -> None:
    (home / "gone").mkdir()
    expected = Registry().ids()
    script = f"import os, shutil; os.chdir('gone'); shutil.rmtree({str(home / 'gone')!r}); {ASK}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected


# ---------------------------------------------------------------- transactions


def test_a_failed_transaction_is_rolled_back(known: list[str]) -> None:
    database = Database.open(cache_dir())
    notes = KeptResults(database)
    before = database.rows("SELECT * FROM scans")
    with pytest.raises(TypeError, match="not JSON serializable"):
        notes.keep_scan("[]", "[]", object())
    notes.keep_scan("[]", "[]", [])
    assert database.rows("SELECT * FROM scans") == [*before, ("[]", "[]", "[]")]


def test_opening_waits_for_another_process_that_locks_the_file(home: Path) -> None:
    registry().ids()
    with closing(sqlite3.connect(index_file(), isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(0.5, other.execute, ("ROLLBACK",))
        release.start()
        database = Database.open(index_file().parent)
        release.join()
    ((_, _, path),) = database.rows("PRAGMA database_list")
    database.close()
    assert path == str(index_file()), "the file itself, and not a copy in memory"
