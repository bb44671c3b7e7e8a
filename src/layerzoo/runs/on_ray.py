"""Distribute the shards of a run over a Ray cluster with Ray Data.

Ray schedules and restarts the actors. That every sample is computed once follows from the names of the parts, and not
from a checkpoint of Ray: an actor first looks whether its shard has a part.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from layerzoo.errors import LayerzooError, UsageError
from layerzoo.extras import needs
from layerzoo.features.part import part_name
from layerzoo.media.limits import usable_cores
from layerzoo.runs.call import RunCall, opened_by
from layerzoo.runs.creation import description_of, opened
from layerzoo.runs.leases import Leases
from layerzoo.runs.request import prepared
from layerzoo.runs.storage import facts_of, storage
from layerzoo.runs.worker import failed_parts, work_on

_FREE_CPUS = 2
"""CPUs that no actor takes: Ray Data reads with them, and hangs without any."""
_FEWEST_CPUS = 4
_ROUNDS = 5


def run_on_ray(call: RunCall, *, address: str | None, workers: int | None) -> None:
    """Compute the shards that have no part with actors of a Ray cluster.

    Args:
        call: the run, and the choices of the caller.
        address: of the cluster. None: the one this process is connected to, else one on this machine.
        workers: the number of actors. None: one for each CPU of the cluster but two, or for each GPU.
    Raises: the error of the request, as without Ray; UsageError for a cluster without enough CPUs.
    """
    with needs("ray"):
        from ray.exceptions import RayTaskError

        import ray

    if not ray.is_initialized():
        # The working directory and the settings of this process are those of the actors, if they are on this machine.
        cpus = None if address else max(_FEWEST_CPUS, usable_cores() + _FREE_CPUS)
        ray.init(
            address=address,
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
        )
    job = call.job(call.creation)
    job["arguments"], gpus = on_one_gpu(job["arguments"])
    actors = workers or _actors(ray.cluster_resources(), gpus)
    try:
        ray.get(ray.remote(num_cpus=1, num_gpus=gpus)(_join).remote(job))
        call.joined()
        for _ in range(_ROUNDS):
            waiting, tries = _waiting(call)
            if not waiting:
                return
            _compute(ray, call, job, waiting, tries, actors, gpus)
            call = replace(call, retry_failed=False)
    except RayTaskError as error:
        if isinstance(error.cause, LayerzooError):
            raise error.cause from error
        raise


def on_one_gpu(arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """Return the arguments of an extraction for a process that sees only the GPU that Ray gives it; and its GPUs.

    Args:
        arguments: of the run. Its device may be one of several GPUs by number, or a list of these.
    """
    device = arguments["load"].get("device", "cpu")
    devices = device if isinstance(device, list) else [device]
    if not any(str(device).startswith("cuda") for device in devices):
        return arguments, 0
    return {**arguments, "load": {**arguments["load"], "device": "cuda"}}, 1


def _actors(resources: Mapping[str, float], gpus: int) -> int:
    """Return the number of actors for a cluster. Raises: UsageError where none would leave CPUs free."""
    free = int(resources.get("CPU", 0)) - _FREE_CPUS
    if free < 1:
        raise UsageError(
            f"the Ray cluster has {int(resources.get('CPU', 0))} CPUs: at least {_FREE_CPUS + 1} are necessary, since "
            f"{_FREE_CPUS} stay free for Ray Data"
        )
    return max(1, min(free, int(resources.get("GPU", 0)))) if gpus else free


def _compute(
    ray: Any,
    call: RunCall,
    job: Mapping[str, Any],
    shards: Sequence[int],
    tries: Mapping[int, int],
    actors: int,
    gpus: int,
) -> None:
    number = min(actors, len(shards))
    source = ray.data.range(len(shards), override_num_blocks=len(shards))
    results = source.map_batches(
        ShardActor,
        fn_constructor_args=(dict(job), list(shards), dict(tries)),
        batch_size=1,
        num_cpus=1,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(size=number),
    )
    with _quiet(ray):
        for batch in results.iter_batches(batch_size=None, batch_format="numpy"):
            call.report(int(batch["samples"].sum()), int(batch["failed"].sum()))


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Switch off the progress reports of Ray Data: the run has its own."""
    context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    settings = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        context.enable_progress_bars = settings[0]
        log.setLevel(settings[1])


def _waiting(call: RunCall) -> tuple[list[int], dict[int, int]]:
    """Return the shards to compute, and how often those with failed samples were tried."""
    shards = range(description_of(call.storage).shards)
    present = set(call.storage.parts())
    tries = failed_parts(call.storage, sorted(present.intersection(shards))) if call.retry_failed else {}
    return [shard for shard in shards if shard not in present or shard in tries], tries


def _join(job: Mapping[str, Any]) -> None:
    """Create the run, or check that the request is the one of the run."""
    opened_by(job, prepared(job["arguments"]))


class ShardActor:
    """An actor of Ray that computes shards. Its model is loaded once."""

    def __init__(self, job: Mapping[str, Any], shards: Sequence[int], tries: Mapping[int, int]) -> None:
        """Load the model.

        Args:
            job: see :meth:`RunCall.job`.
            shards: the numbers of the shards, by the ids of the rows of the source.
            tries: shard → how often its failed samples were tried, for shards whose failed samples are computed.
        """
        files = storage(job["folder"])
        self._run = opened(files, description_of(files))
        self._leases = Leases(files.lease_folder)
        self._shards, self._tries = list(shards), dict(tries)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._extraction = prepared(job["arguments"])

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Compute the shards of a batch: ``id`` has their positions. Returns: counts of samples, a row for each."""
        samples, failed = [], []

        def report(done: int, failed: int) -> None:
            self._leases.count(done)

        for position in batch["id"]:
            shard = self._shards[int(position)]
            with self._leases.taken(shard) as lease:
                if lease is not None:
                    work_on(self._run, self._extraction, lease, self._tries.get(shard), report)
            name = part_name(shard)
            facts = facts_of(self._run.storage, shard) if self._run.storage.exists(name) else None
            samples.append(facts.samples if facts else 0)
            failed.append(facts.failed if facts else 0)
        return {"samples": np.array(samples), "failed": np.array(failed)}
