"""One call of a run, as the engines see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from layerzoo.errors import UsageError
from layerzoo.runs.creation import Creation, joined
from layerzoo.runs.shards import OpenRun, Report
from layerzoo.runs.storage import RunStorage, storage
from layerzoo.runs.worker import Share

if TYPE_CHECKING:
    from layerzoo.runtime.extraction import PreparedExtraction


@dataclass(frozen=True, slots=True)
class RunCall:
    """The folder, the request and the choices of one call."""

    storage: RunStorage
    arguments: Mapping[str, Any] | None
    """Those of the extraction; None where they hold objects of this process."""
    creation: Creation | None
    """With which the run is created; None where it exists."""
    share: Share
    shard_size: int | None
    retry_failed: bool
    accept_versions: bool
    report: Report
    """Is called after each batch."""
    joined: Callable[[], object]
    """Is called when the run exists, and other calls may join it."""

    def opened(self, extraction: PreparedExtraction) -> OpenRun:
        """Create the run or join it. Raises: RunMismatchError."""
        return joined(
            self.storage,
            extraction,
            self.creation,
            accept_versions=self.accept_versions,
            shard_size=self.shard_size,
        )

    def job(self, creation: Creation | None) -> dict[str, Any]:
        """Return the job of a process: see :func:`layerzoo.runs.process.main`.

        Args:
            creation: with which the process creates the run; None where it exists.
        Raises: UsageError where the arguments hold objects of this process.
        """
        if self.arguments is None:
            raise UsageError(
                "workers= and engine='ray' start other processes, which load the model by its id: pass the id, and not "
                "a backbone or a spec"
            )
        return {
            "folder": self.storage.label,
            "arguments": self.arguments,
            "creation": None if creation is None else asdict(creation),
            "accept_versions": self.accept_versions,
            "retry_failed": self.retry_failed,
            "share": [self.share.index, self.share.count],
            "shard_size": self.shard_size,
        }


def opened_by(job: Mapping[str, Any], extraction: PreparedExtraction) -> OpenRun:
    """Create the run of a job or join it, in the process that got the job of :meth:`RunCall.job`.

    Args:
        job: as it was sent.
        extraction: with the arguments of the job.
    Raises: RunMismatchError.
    """
    return joined(
        storage(job["folder"]),
        extraction,
        None if job["creation"] is None else Creation(**job["creation"]),
        accept_versions=job["accept_versions"],
        shard_size=job["shard_size"],
    )
