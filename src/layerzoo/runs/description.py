"""The request of a run, in ``DIR/run.json``, and its comparison with another request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from layerzoo.errors import InputError, RunMismatchError
from layerzoo.features.part import PartColumns

_FORMAT = 1
_RECORDED = (
    *("versions", "device", "loaded", "local_files", "other_runs", "plugin"),
    *("batch_dependent", "random", "seed"),
)
"""Parts of the provenance of features that may differ between the parts of a run."""


@dataclass(frozen=True, slots=True)
class RunDescription:
    """The request of a run, and how its inputs are divided."""

    request: Mapping[str, Any]
    """The settings that decide which features a sample has: model, weights, layers, pooling, preprocessing."""
    provenance: Mapping[str, Any]
    """The provenance of the features, as it was when the run began."""
    versions: Mapping[str, str]
    """The versions of the libraries when the run began."""
    manifest_sha256: str
    rows: int
    """The number of inputs."""
    shard_size: int
    """The number of inputs in a shard; the last one may have fewer."""
    columns: PartColumns
    inputs: Sequence[str] | None = None
    """The paths, patterns and URLs that were given; None for inputs in memory."""
    column: str | None = None
    """The column of tables with the samples, as it was given."""
    arguments: Mapping[str, Any] | None = None
    """The arguments of the extraction, to continue without repeating them; None where they hold objects."""
    passed_over: int = 0
    accepted_versions: Sequence[Mapping[str, str]] = field(default=())
    """Other versions of the libraries with which the run may be continued."""
    files: int | None = None
    """The number of files in the folders and patterns of the inputs; None where it was not counted."""
    seconds_of_sample: float | None = None
    """The time of one sample when the shard size was chosen."""

    @property
    def fingerprint(self) -> str:
        """A digest of the request, the inputs and their division."""
        facts = {"request": self.request, "manifest": self.manifest_sha256, "shard_size": self.shard_size}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.rows // self.shard_size)

    def rows_of(self, shard: int) -> tuple[int, int]:
        """Return the first row of a shard, and the row after its last."""
        first = shard * self.shard_size
        return first, min(self.rows, first + self.shard_size)

    def write(self, path: Path) -> None:
        """Write it as JSON. Raises: OSError."""
        fields = {"format": _FORMAT, "fingerprint": self.fingerprint, "shards": self.shards, **asdict(self)}
        path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> RunDescription:
        """Read it. Raises: InputError for a file that is damaged, or that a later version wrote."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if fields.pop("format") != _FORMAT:
                raise InputError(f"{path} was written by a later version of layerzoo")
            fingerprint, _ = fields.pop("fingerprint"), fields.pop("shards")
            columns = PartColumns(**fields.pop("columns"))
            description = cls(**fields, columns=columns)
            is_whole = description.fingerprint == fingerprint and description.shard_size > 0
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path} does not describe a run: {type(error).__name__}: {error}") from error
        if not is_whole:
            raise InputError(f"{path} is damaged: its fingerprint is not that of its request")
        return description

    def accepting(self, versions: Mapping[str, str]) -> RunDescription:
        """Return the description of the run that may also be continued with some versions."""
        accepted = [self.versions, *self.accepted_versions]
        return (
            self if versions in accepted else replace(self, accepted_versions=[*self.accepted_versions, dict(versions)])
        )


def request_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide which features a sample has, as JSON reads them."""
    request = {name: value for name, value in provenance.items() if name not in _RECORDED}
    if isinstance(weights := provenance.get("weights"), Mapping):
        names = ("sha256",) if weights.get("sha256") else ("source", "revision")
        request["weights"] = {name: weights.get(name) for name in (*names, "keys", "changed", "sha256_by_layer")}
    data: dict[str, Any] = json.loads(json.dumps(request))
    return data


def check_same_request(stored: Mapping[str, Any], requested: Mapping[str, Any], folder: str) -> None:
    """Compare the request of a run with another one. Raises: RunMismatchError that shows both."""
    differences = dict(_differences(stored, requested))
    if "sha256_by_layer" not in (stored.get("weights") or ()):  # a run of an earlier version
        differences.pop("weights.sha256_by_layer", None)
    if differences:
        lines = [
            f"{name}: {_short(stored_value)} in the run, {_short(requested_value)} requested"
            for name, (stored_value, requested_value) in differences.items()
        ]
        raise RunMismatchError(
            f"{folder} holds a run of another request:\n" + "\n".join(f"  {line}" for line in lines) + "\n"
            "Next: repeat the request of the run, or name another folder with --out",
            differences=differences,
        )


def check_versions(description: RunDescription, versions: Mapping[str, str], folder: str) -> None:
    """Compare the versions of libraries. Raises: RunMismatchError that shows both."""
    if versions in [description.versions, *description.accepted_versions]:
        return
    differences = dict(_differences(description.versions, versions))
    changed = ", ".join(f"{name} {old or 'absent'} → {new or 'absent'}" for name, (old, new) in differences.items())
    raise RunMismatchError(
        f"{folder} holds a run that began with other versions of libraries: {changed}\n"
        "Next: --accept-versions continues, and records the versions of every part",
        differences=differences,
    )


def _differences(stored: Mapping[str, Any], requested: Mapping[str, Any], prefix: str = "") -> Any:
    for name in dict.fromkeys([*stored, *requested]):
        stored_value, requested_value = stored.get(name), requested.get(name)
        if stored_value == requested_value:
            continue
        if isinstance(stored_value, Mapping) and isinstance(requested_value, Mapping):
            yield from _differences(stored_value, requested_value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", (stored_value, requested_value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"
