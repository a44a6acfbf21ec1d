"""Samples and their order: data sets by name, and batches that follow from their cursor alone.

Open first: `dataset.load` (the samples of a split), `epochs.Plan` (which of them a batch holds), `registry`
(the names).
"""

from akkafka.data.dataset import Dataset, DataSpec, completed, load, shapes
from akkafka.data.epochs import Cursor, Plan, Shard, permutation, take
from akkafka.data.registry import DATASETS, info, register
from akkafka.data.source import SPLITS, DatasetInfo, LoadContext, Progress, Split, data_dir_from_env

__all__ = [
    "DATASETS",
    "SPLITS",
    "Cursor",
    "DataSpec",
    "Dataset",
    "DatasetInfo",
    "LoadContext",
    "Plan",
    "Progress",
    "Shard",
    "Split",
    "completed",
    "data_dir_from_env",
    "info",
    "load",
    "permutation",
    "register",
    "shapes",
    "take",
]
