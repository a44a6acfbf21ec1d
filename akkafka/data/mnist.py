"""MNIST: 70000 handwritten digits, the yardstick that everybody knows.

x uint8 (N, 1, 28, 28), 0 (paper) to 255 (ink); y uint8 (N,), 0 to 9. 60000 train, 10000 validate and test.
Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", 1998. Four IDX
files, byte for byte those of its first home; hashes computed from files whose md5 sums are the ones in common
use.
"""

from __future__ import annotations

import numpy as np

from akkafka.data.published import PublishedFile, PublishedSet
from akkafka.data.source import DatasetInfo

_SET = PublishedSet(
    name="mnist",
    folders=("mnist", "MNIST/raw"),  # the second is where torchvision puts them
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/ae608a02b796c9ee908c082585a5f006fe05258e/",
    ),
    train=(
        PublishedFile(
            stem="train-images-idx3-ubyte",
            shape=(60000, 28, 28),
            gz_bytes=9912422,
            gz_sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            plain_sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        PublishedFile(
            stem="train-labels-idx1-ubyte",
            shape=(60000,),
            gz_bytes=28881,
            gz_sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            plain_sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    test=(
        PublishedFile(
            stem="t10k-images-idx3-ubyte",
            shape=(10000, 28, 28),
            gz_bytes=1648877,
            gz_sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            plain_sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        PublishedFile(
            stem="t10k-labels-idx1-ubyte",
            shape=(10000,),
            gz_bytes=4542,
            gz_sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            plain_sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

MNIST = DatasetInfo(
    sample_shape=(1, 28, 28),
    dtype=np.dtype(np.uint8),
    classes=10,
    loader=_SET.load,
    value_range=(0.0, 255.0),
    samples={"train": 60000, "validation": 10000, "test": 10000},
    about="70000 handwritten digits of 28 x 28 pixels (LeCun, Cortes, Burges 1998)",
    target_shape=(),
)
