"""Runs: features of any number of samples in a folder of parts, which can be stopped and continued at any time.

    layerzoo.run("starter/minilm-l6", "tweets.txt", out="tweets-run")

``DIR/manifest.parquet`` lists the inputs, ``DIR/run.json`` describes the request, and ``DIR/part-000123.parquet`` has
the features of one range of inputs. A part appears whole or not at all, under a name that only depends on its range, so
that a run that is killed loses at most the parts that were being computed, and repeats none.
"""

from layerzoo.runs.run import RunResult, run
from layerzoo.runs.status import RunStatus, status
from layerzoo.runs.verification import PartCheck, verify

__all__ = ["PartCheck", "RunResult", "RunStatus", "run", "status", "verify"]
