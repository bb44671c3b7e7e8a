"""The repositories and files of a hub, and its responses to requests."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, unquote

from tests.hub.exchange import Answer, Request, content, error
from tests.hub.repository import Blob, Commit, Repository

_NAME = r"(?P<name>[^/]+/[^/]+)"


class Refused(Exception):
    """A request that is refused with ``answer``."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Contents:
    """Repositories, and files outside of them.

    cdn: the base URL of large files; None to serve them directly.
    """

    def __init__(self, cdn: str | None = None) -> None:
        self.cdn = cdn
        self.repositories: dict[str, Repository] = {}
        self.files: dict[str, bytes] = {}

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, which may be a refusal."""
        try:
            return self._answer(request)
        except Refused as refused:
            return refused.answer

    def _answer(self, request: Request) -> Answer:
        if match := re.fullmatch(r"/files/(.+)", request.path):
            return self._file(request, unquote(match[1]))
        if match := re.fullmatch(rf"/cdn/{_NAME}/(?P<sha256>\w+)/.+", request.path):
            return self._large_file(request, match["name"], match["sha256"])
        if match := re.fullmatch(rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", request.path):
            return self._resolve(request, *(unquote(part) for part in match.groups()))
        if match := re.fullmatch(rf"/api/models/{_NAME}(?P<verb>/.+)?", request.path):
            verb = [unquote(part) for part in (match["verb"] or "").split("/")[1:]]
            return self._api(request, match["name"], verb)
        raise Refused(error(404, message="Sorry, we can't find the page you are looking for."))

    # ------------------------------------------------------------ files

    def _file(self, request: Request, name: str) -> Answer:
        if name not in self.files:
            raise Refused(error(404, message="Not Found"))
        return content(request, self.files[name])

    def _resolve(self, request: Request, name: str, revision: str, file: str) -> Answer:
        repository = self._visible(request, name)
        if not _may_read(request, repository):
            raise Refused(_gated(request, repository))
        commit = _commit(repository, revision)
        if file not in commit.files:
            raise Refused(error(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit.revision))
        blob = commit.files[file]
        headers = {"ETag": blob.etag, "X_Repo_Commit": commit.revision}
        if blob.lfs:
            headers |= {"X_Linked_Etag": blob.etag, "X_Linked_Size": str(len(blob.content))}
        if self.cdn is None or not blob.lfs:
            return content(request, blob.content, **headers)
        url = f"{self.cdn}/{name}/{blob.sha256}/{quote(file)}"
        redirect = Answer(302, {"Location": url, "Accept-Ranges": "bytes"}, f"Found. Redirecting to {url}".encode())
        return redirect.with_headers(**headers)

    def _large_file(self, request: Request, name: str, sha256: str) -> Answer:
        """Serve a file of the CDN without a token and with the storage's own ETag, as the real CDN does."""
        for commit in self.repositories[name].commits.values():
            for blob in commit.files.values():
                if blob.lfs and blob.sha256 == sha256:
                    return content(request, blob.content)
        raise Refused(error(403, message="AccessDenied"))

    # ------------------------------------------------------------ the API

    def _api(self, request: Request, name: str, verb: list[str]) -> Answer:
        repository = self._visible(request, name)
        match verb:
            case [] | ["revision", _]:
                commit = _commit(repository, verb[1] if verb else "main")
                return _json(_model(repository, commit, blobs=_is_set(request, "blobs")))
            case ["tree", revision, *folders]:
                return _tree(_commit(repository, revision), "/".join(folders), recursive=_is_set(request, "recursive"))
            case ["paths-info", revision]:
                commit = _commit(repository, revision)
                return _json([commit.entry(path) for path in request.form["paths"] if path in commit])
            case ["refs"]:
                return _json(_refs(repository))
            case ["commits", revision]:
                return _json([_logged(commit) for commit in _commit(repository, revision).history()])
        raise Refused(error(404, message="Not Found"))

    def _visible(self, request: Request, name: str) -> Repository:
        """Return the repository, if the client may know that it exists."""
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not _may_read(request, repository)):
            raise Refused(error(404 if request.token else 401, "RepoNotFound", "Repository not found"))
        return repository


def _may_read(request: Request, repository: Repository) -> bool:
    return repository.token in (None, request.token)


def _gated(request: Request, repository: Repository) -> Answer:
    restricted = f"Access to model {repository.name} is restricted"
    if request.token is None:
        return error(401, "GatedRepo", f"{restricted}. You must have access to it and be authenticated to access it.")
    return error(403, "GatedRepo", f"{restricted} and you are not in the authorized list.")


def _commit(repository: Repository, revision: str) -> Commit:
    try:
        return repository.at(revision)
    except KeyError:
        raise Refused(error(404, "RevisionNotFound", f"Invalid rev id: {revision}")) from None


# ---------------------------------------------------------------- JSON


def _model(repository: Repository, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    return {
        "id": repository.name,
        "author": repository.name.split("/")[0],
        "sha": commit.revision,
        "lastModified": _date(commit),
        "private": repository.private,
        "gated": "manual" if repository.token and not repository.private else False,
        "tags": [],
        "siblings": [_sibling(path, blob, blobs=blobs) for path, blob in sorted(commit.files.items())],
    }


def _sibling(path: str, blob: Blob, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    size = len(blob.content)
    lfs = {"lfs": {"sha256": blob.sha256, "size": size, "pointerSize": len(blob.pointer)}} if blob.lfs else {}
    return {"rfilename": path, "blobId": blob.id, "size": size, **lfs}


def _tree(commit: Commit, folder: str, *, recursive: bool) -> Answer:
    if folder and folder not in commit:
        missing = f"{folder} does not exist on revision {commit.revision}"
        raise Refused(error(404, "EntryNotFound", missing, X_Repo_Commit=commit.revision))
    return _json(commit.listing(folder, recursive=recursive))


def _refs(repository: Repository) -> dict[str, list[dict[str, str]]]:
    def formatted(kind: str, refs: dict[str, Commit]) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": commit.revision} for n, commit in refs.items()]

    branches, tags = formatted("heads", repository.branches), formatted("tags", repository.tags)
    return {"branches": branches, "tags": tags, "converts": [], "pullRequests": []}


def _logged(commit: Commit) -> dict[str, Any]:
    authors = [{"user": "acme"}]
    return {"id": commit.revision, "title": commit.title, "message": "", "date": _date(commit), "authors": authors}


def _date(commit: Commit) -> str:
    return f"{commit.date:%Y-%m-%dT%H:%M:%S.000Z}"


def _is_set(request: Request, name: str) -> bool:
    return request.query.get(name, ["false"])[0].lower() in ("true", "1")


def _json(data: Any) -> Answer:
    return Answer(200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(data).encode())
