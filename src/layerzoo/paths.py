"""The paths of everything that layerzoo keeps on disk. No other module builds one.

``docs/stores.md`` describes each store: its key, what makes it invalid, and how to remove it. Standard library only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from layerzoo.user_folders import cache_folder, config_folder

REGISTRY_NAME = "registry.yaml"
LOCK_NAME = "layerzoo.lock"
DISABLED_NAME = "disabled-plugins.txt"
TEMPORARY = (".layerzoo-", ".part")
"""How the name of a temporary file begins and ends."""


class Store(NamedTuple):
    """Files of one kind that layerzoo keeps.

    Attributes:
        name: what ``zoo cache list`` and the documentation call it.
        folder: ``cache`` (see :func:`cache_dir`), ``configuration`` (see :func:`user_folder`), ``hub`` (the cache of
            huggingface_hub) or ``any`` (the folder of the file that is written).
        pattern: the paths of its files below that folder; capital letters are variable parts.
        owner: the module that reads and writes them.
    """

    name: str
    folder: Literal["cache", "configuration", "hub", "any"]
    pattern: str
    owner: str


STORES = (
    Store("index", "cache", "registry-VERSION.sqlite3", "layerzoo.registry"),
    Store("identified", "cache", "identified/NAMESPACE/ORG--REPO/{COMMIT.json,refs/REVISION}", "layerzoo.registry"),
    Store("traces", "cache", "traces/MODEL.SHA256.trace", "layerzoo.facts"),
    Store("catalogues", "cache", "catalogues/NAMESPACE.ledger", "layerzoo.jobs.ledger"),
    Store("listings", "cache", "repositories/ORG--REPO/{COMMIT.json,refs/REVISION}", "layerzoo.weights.listings"),
    Store("download", "cache", "downloads/DIGEST/", "layerzoo.weights.partial"),
    Store("converted", "cache", "converted/SHA256.CONVERSION.safetensors", "layerzoo.weights.cache"),
    Store("digests", "cache", "digests-VERSION.sqlite3", "layerzoo.weights.digests"),
    Store("features", "cache", "features-VERSION.sqlite3", "layerzoo.features.cache"),
    Store("locks", "cache", "{locks/DIGEST,hub,converted/FILE,downloads/DIGEST}.lock", "layerzoo.weights.locking"),
    Store("hub", "hub", "models--ORG--REPO/", "layerzoo.weights.network.hub"),
    Store("registry", "configuration", REGISTRY_NAME, "layerzoo.registry"),
    Store("lock", "configuration", LOCK_NAME, "layerzoo.lock"),
    Store("disabled", "configuration", DISABLED_NAME, "layerzoo.registry"),
    Store("scratch", "any", ".layerzoo-MACHINE-RANDOM.part", "layerzoo.disk"),
)
"""Every store, in the order of ``docs/stores.md``."""


def cache_dir() -> Path:
    """Return the folder of everything that can be computed or fetched again. It may not exist yet.

    It is the value of ``LAYERZOO_CACHE``, else the user's cache folder.
    """
    if folder := os.environ.get("LAYERZOO_CACHE"):
        return Path(folder).expanduser().absolute()
    return cache_folder()


def user_folder() -> Path:
    """Return the folder of the user's own registry.yaml, layerzoo.lock and list of disabled plugins."""
    return config_folder()


def index_name(version: int) -> str:
    """Return the file name of the compiled registries in the cache folder. version: of its tables."""
    return f"registry-{version}.sqlite3"


def traces_dir() -> Path:
    """Return the folder of traces."""
    return cache_dir() / "traces"


def trace_path(model: str, digest: str) -> Path:
    """Return the file of a trace.

    Args:
        model: the id of the model, of which the name begins with the letters and digits.
        digest: the sha256 of everything that the trace depends on, in hex.
    """
    return traces_dir() / f"{trace_prefix(model)}{digest}.trace"


def trace_prefix(model: str) -> str:
    """Return how the file names of the traces of a model begin; those of another model may begin so, too."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in model)[:80] + "."


def ledger_path(namespace: str) -> Path:
    """Return the file of the traces that ``zoo catalogue build`` made for a plugin's namespace."""
    return cache_dir() / "catalogues" / f"{namespace}.ledger"


def identified_dir() -> Path:
    """Return the folder of what plugins found repositories to be: ``NAMESPACE/ORG--REPO/COMMIT.json``."""
    return cache_dir() / "identified"


def identified_folder(namespace: str, repo: str) -> Path:
    """Return the folder of what one plugin found one repository to be. repo: ``ORG/REPO``."""
    return identified_dir() / namespace / repo_name(repo)


def listings_dir() -> Path:
    """Return the folder of the file lists of repositories: ``ORG--REPO/COMMIT.json``, ``ORG--REPO/refs/REVISION``."""
    return cache_dir() / "repositories"


def listings_folder(repo: str) -> Path:
    """Return the folder of the file lists of one repository. repo: ``ORG/REPO``."""
    return listings_dir() / repo_name(repo)


def branches_folder(folder: Path) -> Path:
    """Return the folder of the recorded commits of branches. folder: of a repository, in one of the two stores."""
    return folder / "refs"


def branch_path(folder: Path, revision: str) -> Path:
    """Return the file with the recorded commit of a branch or tag. folder: as in :func:`branches_folder`."""
    from urllib.parse import quote

    return branches_folder(folder) / quote(revision, safe="")


def downloads_dir() -> Path:
    """Return the folder of files that are fetched in parts, or from a link: one folder for each file."""
    return cache_dir() / "downloads"


def download_folder(source: str, digest: str) -> Path:
    """Return the folder of one downloaded file.

    Args:
        source: where it comes from: a link, or ``hf://ORG/REPO/FILE``.
        digest: of the whole file, in hex.
    """
    return downloads_dir() / _digest(f"{source} {digest}")


def converted_dir() -> Path:
    """Return the folder of checkpoints that were converted to safetensors."""
    return cache_dir() / "converted"


def digests_path() -> Path:
    """Return the database of the sha256 of files."""
    return cache_dir() / "digests-1.sqlite3"


def feature_cache_path() -> Path:
    """Return the database of cached features."""
    return cache_dir() / "features-1.sqlite3"


def lock_turn_path(path: Path) -> Path:
    """Return the file that is locked while a ``layerzoo.lock`` is changed. path: of that ``layerzoo.lock``."""
    return cache_dir() / "locks" / _digest(str(path))


def run_leases_dir(url: str) -> Path:
    """Return the folder of the leases of a run whose folder is not on this machine. url: of that folder."""
    return cache_dir() / "leases" / _digest(url)


def hub_turn_path() -> Path:
    """Return the file that is locked while files of huggingface_hub's cache are removed."""
    return cache_dir() / "hub"


def repo_name(repo: str) -> str:
    """Return the name of a repository's folder, ``ORG--REPO``. repo: ``ORG/REPO``."""
    return repo.replace("/", "--")


def is_commit(revision: str) -> bool:
    """Return whether a revision is a commit, which cannot change: 40 hex digits."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def _digest(text: str) -> str:
    import hashlib  # loads OpenSSL, which takes 3 ms

    return hashlib.sha256(text.encode()).hexdigest()[:40]
