"""Fashion-MNIST: 70000 pictures of clothes in MNIST's own format, for when digits are too easy.

x uint8 (N, 1, 28, 28), 0 (ground) to 255 (cloth); y uint8 (N,), 0 to 9 (T-shirt, trouser, pullover, dress,
coat, sandal, shirt, sneaker, bag, boot). 60000 train, 10000 validate and test. Source: H. Xiao, K. Rasul, R.
Vollgraf 2017, arXiv:1708.07747 (MIT licence); files as in zalandoresearch/fashion-mnist.
"""

from __future__ import annotations

import numpy as np

from akkafka.data.published import PublishedFile, PublishedSet
from akkafka.data.source import DatasetInfo

_SET = PublishedSet(
    name="fashion-mnist",
    folders=("fashion-mnist", "FashionMNIST/raw"),  # the second is where torchvision puts them
    mirrors=(
        # plain http: that kind of address has no TLS; the hashes guard the content of every mirror alike
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
        "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
    ),
    train=(
        PublishedFile(
            stem="train-images-idx3-ubyte",
            shape=(60000, 28, 28),
            gz_bytes=26421880,
            gz_sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            plain_sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        PublishedFile(
            stem="train-labels-idx1-ubyte",
            shape=(60000,),
            gz_bytes=29515,
            gz_sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            plain_sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    test=(
        PublishedFile(
            stem="t10k-images-idx3-ubyte",
            shape=(10000, 28, 28),
            gz_bytes=4422102,
            gz_sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            plain_sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        PublishedFile(
            stem="t10k-labels-idx1-ubyte",
            shape=(10000,),
            gz_bytes=5148,
            gz_sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            plain_sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)

FASHION_MNIST = DatasetInfo(
    sample_shape=(1, 28, 28),
    dtype=np.dtype(np.uint8),
    classes=10,
    loader=_SET.load,
    value_range=(0.0, 255.0),
    samples={"train": 60000, "validation": 10000, "test": 10000},
    about="70000 pictures of clothes, 28 x 28 pixels (Xiao, Rasul, Vollgraf 2017)",
    target_shape=(),
)
