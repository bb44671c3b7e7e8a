"""A task of MTEB with three pairs of sentences, which are in memory."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata


class SmallSts(AbsTaskSTS):  # type: ignore[misc]
    """Compares sentences; 5 is the score of equal meanings."""

    metadata = TaskMetadata(
        name="SmallSts", description="Three pairs.", reference=None, type="STS", category="t2t",
        modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="cosine_spearman",
        dataset={"path": "none/none", "revision": "1"}, date=None, domains=None, task_subtypes=None,
        license=None, annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation=None,
    )  # fmt: skip
    min_score, max_score = 0, 5

    def load_data(self, **options: Any) -> None:
        rows = {
            "sentence1": ["a fine film", "a fine film", "the cat drinks milk"],
            "sentence2": ["a good movie", "the train is late", "a kitten laps cream"],
            "score": [5.0, 0.0, 4.0],
        }
        self.dataset = DatasetDict(test=Dataset(pa.table(rows), fingerprint="small"))  # hashing it needs pickles
        self.data_loaded = True
