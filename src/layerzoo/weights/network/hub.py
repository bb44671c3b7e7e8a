"""Repositories of the Hugging Face hub, and huggingface_hub's own cache of them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from layerzoo.disk import replace, scratch_path
from layerzoo.errors import CacheError, ConnectionFailedError, RateLimitedError, ServerError, UnavailableError
from layerzoo.extras import needs
from layerzoo.weights.network.connection import (
    MAY_PASS,
    TRIES,
    pause,
    require_connection,
    stated_pause_s,
    timeout_s,
    translated,
)
from layerzoo.weights.network.ranges import Place
from layerzoo.weights.progress import Progress

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository at one commit."""

    name: str
    size: int
    etag: str
    """What its bytes are known by: the sha256 of a large file, git's sha1 of a small one, in hex."""

    @property
    def sha256(self) -> str | None:
        """The digest that the hub itself states; None for a small file."""
        return self.etag if len(self.etag) == 64 else None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.etag) or self.size < 0:
            raise ServerError(
                f"the hub's list of files makes no sense: {self.name} is said to have {self.size} bytes and the digest "
                f"{self.etag!r}"
            )


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]


def listing(repo: str, revision: str) -> Listing:
    """What a repository holds at a branch, a tag or a commit. One request, made again after what may pass.

    Raises: UnavailableError of the kind that fits.
    """
    label = f"hf://{repo}@{revision}"
    return _with_patience(label, lambda: _listing(label, repo, revision))


def _listing(label: str, repo: str, revision: str) -> Listing:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    with translated(label):
        api = HfApi(endpoint=_endpoint())
        try:
            found = api.model_info(repo, revision=revision, files_metadata=True, timeout=timeout_s())
            files = tuple(
                RemoteFile(str(each.rfilename), int(each.size or 0), str(each.lfs.sha256 if each.lfs else each.blob_id))
                for each in found.siblings or ()
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, HFValidationError):
                raise
            told = f"{label}: what answers at {api.endpoint} is no model hub ({type(error).__name__}: {error})"
            raise ServerError(f"{told}. Next: look at HF_ENDPOINT, and whether a proxy wants a login") from error
    if not re.fullmatch(r"[0-9a-f]{40}", found.sha or ""):
        raise ServerError(f"{label}: the hub's answer names no commit, so that nothing can be pinned by it")
    return Listing(repo, str(found.sha), files)


def download(repo: str, commit: str, name: str, progress: Progress | None = None) -> Path:
    """A whole small file, in huggingface_hub's own cache; of several processes at once, one fetches it.

    Raises: UnavailableError of the kind that fits; CacheError when the disk is full or not writable.
    """
    label = f"hf://{repo}@{commit}/{name}"
    return _with_patience(label, lambda: _download(label, repo, commit, name, progress))


def _download(label: str, repo: str, commit: str, name: str, progress: Progress | None) -> Path:
    from huggingface_hub import get_session, hf_hub_download

    hooks = get_session().event_hooks["response"]
    if _refuse_odd_etag not in hooks:
        hooks.append(_refuse_odd_etag)
    with translated(label), _quiet_hub():
        path: str = hf_hub_download(
            repo, name, revision=commit, endpoint=_endpoint(), cache_dir=hub_cache(), tqdm_class=_meter(progress)
        )
        return Path(path)


def _with_patience(label: str, ask: Callable[[], _Answer]) -> _Answer:
    """Ask, and ask again after a failure that may pass, with longer pauses each time."""
    failures = 0
    while True:
        require_connection(label)
        try:
            return ask()
        except (ConnectionFailedError, RateLimitedError, ServerError) as error:
            failures += 1
            if failures == TRIES or not _may_pass(error):
                raise
            pause(failures, stated_pause_s(answer) if (answer := _answer_of(error)) else None)


def _may_pass(error: UnavailableError) -> bool:
    answer = _answer_of(error)
    return isinstance(error, ConnectionFailedError) if answer is None else answer.status_code in MAY_PASS


def _answer_of(error: UnavailableError) -> Any | None:
    """The server's answer that an error was made of; None where there was none."""
    return getattr(error.__cause__, "response", None)


def _refuse_odd_etag(response: Any) -> None:
    """huggingface_hub calls files by what a server says in these headers, and would follow a ``..`` in them."""
    if "x-repo-commit" in response.headers:
        for name in ("x-linked-etag", "etag"):
            etag = response.headers.get(name, "").removeprefix("W/").strip('"')
            if not re.fullmatch(r"[\w-]*", etag):
                raise ServerError(f"{response.url}: the server names the file's content {etag!r}, which is no digest")


def adopt(repo: str, commit: str, file: RemoteFile, path: Path) -> Path:
    """Move a whole, verified file into huggingface_hub's cache, where other programs find it too.

    Raises: CacheError when that cannot be written, or is full.
    """
    blob = _blob(repo, file)
    try:
        blob.parent.mkdir(parents=True, exist_ok=True)
        _move(path, blob)
        return _point(repo, commit, file)
    except OSError as error:
        raise CacheError(
            f"hf://{repo}@{commit}/{file.name} was fetched, and cannot be moved into huggingface_hub's cache: {error}. "
            "HF_HOME=FOLDER chooses another place; what was fetched is not fetched again"
        ) from error


def adopted(repo: str, commit: str, file: RemoteFile) -> Path | None:
    """A file that huggingface_hub's cache has of another commit, where it is the same, made one of this commit too.

    Opens no connection. Returns: None where it has none, or cannot be written.
    """
    with contextlib.suppress(OSError):
        if _blob(repo, file).stat().st_size == file.size:
            return _point(repo, commit, file)
    return None


def _blob(repo: str, file: RemoteFile) -> Path:
    """Where huggingface_hub keeps the bytes of a file, whatever commits it is of."""
    return snapshot_folder(repo, "").parent / "blobs" / file.etag


def _move(path: Path, blob: Path) -> None:
    """Whole or not at all."""
    try:
        replace(path, blob)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with scratch_path(blob.parent) as scratch:  # the two caches are on different disks
            shutil.copyfile(path, scratch)
            replace(scratch, blob)


def _point(repo: str, commit: str, file: RemoteFile) -> Path:
    """Put a file that is among the blobs where the commit's files are."""
    pointer, blob = snapshot_folder(repo, commit) / file.name, _blob(repo, file)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links: huggingface_hub keeps the file itself there
        blob.replace(pointer)
    return pointer


def cached(repo: str, commit: str, name: str) -> Path | None:
    """A file that is in huggingface_hub's cache already. Opens no connection."""
    path = snapshot_folder(repo, commit) / name
    with contextlib.suppress(OSError):  # a name that is too long for any file
        return path if path.is_file() else None
    return None


def cached_commit(repo: str, revision: str) -> str | None:
    """The commit that a branch or tag had when huggingface_hub last saw it. Opens no connection."""
    ref = snapshot_folder(repo, "").parent / "refs" / revision
    with contextlib.suppress(OSError):
        return ref.read_text(encoding="utf-8").strip() or None
    return None


def snapshot_folder(repo: str, commit: str) -> Path:
    """Where huggingface_hub keeps the files of a repository at a commit."""
    with needs("hub"):
        from huggingface_hub.file_download import repo_folder_name

    folder: str = repo_folder_name(repo_id=repo, repo_type="model")
    return hub_cache() / folder / "snapshots" / commit


def hub_place(repo: str, commit: str, file: RemoteFile) -> Place:
    """Where the bytes of a repository's file can be asked for."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repo, file.name, revision=commit, endpoint=_endpoint())
    expected = {"x-repo-commit": commit, "x-linked-etag": file.etag}
    return Place(url, f"hf://{repo}@{commit}/{file.name}", expected, is_on_hub=True)


def _endpoint() -> str | None:
    """As the environment says now: huggingface_hub looks once, when it is imported."""
    return os.environ.get("HF_ENDPOINT")


def hub_cache() -> Path:
    """The folder of huggingface_hub's own cache: as the environment says now, else as huggingface_hub found it."""
    with needs("hub"):
        from huggingface_hub.constants import HF_HUB_CACHE

    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME")
    return Path(home).expanduser() / "hub" if home else Path(HF_HUB_CACHE)


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Without huggingface_hub's own warnings: what goes wrong is told once, as an error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _meter(progress: Progress | None) -> type[Any]:
    """huggingface_hub's progress bar, drawn nowhere, that hands on how much came."""
    from huggingface_hub.utils import tqdm

    class Meter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if progress is not None and n:
                progress(int(n))
            return None

    return Meter
