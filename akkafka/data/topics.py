"""A text that every Python carries: the language reference as `pydoc` shows it, for models of characters.

`topics:T` are windows of T characters (`topics` alone: 64), each with the characters that follow: x uint8 (N, T),
values 0 to 96, y uint8 (N, T), y[:, t] the character behind x[:, t]. Number i below 96 stands for ALPHABET[i], 96 for
every other character. Some 380,000 characters (Python Software Foundation, PSF License Version 2).

Topics repeat each other: every paragraph is taken once, where it comes first. The order of topics is that of the sha256
of their names, so that all splits are of all parts of the language; the first 90 % of the characters train, the next
5 % validate, the last 5 % test. Windows follow one another without overlap, and none reaches into the next split.

The text changes with Python's version, so a definition names the sha256 of its characters (`completed` fills it in),
and a sentinel whose Python carries another text is refused: it would train on other samples under the same numbers.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from akkafka.data.source import SPLITS, Arrays, DatasetInfo, LoadContext, Split
from akkafka.errors import ConfigError, DataError

NAME = "topics"
PREFIX = f"{NAME}:"
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
CLASSES = len(ALPHABET) + 1
LENGTH = 64  # characters in a window, unless the name tells
LONGEST = 4096
SHARES = (0.90, 0.95)  # where training ends and where validation ends


def is_topics(name: str) -> bool:
    """Whether a data set of that name is cut from this text."""
    return name == NAME or name.startswith(PREFIX)


def topics_info(name: str) -> DatasetInfo:
    """Windows as the name says; reads the text (some 20 ms).

    Raises ConfigError for a length that is no number from 1 to 4096, DataError for a Python without the text.
    """
    length = _length(name)
    characters = _characters()
    return DatasetInfo(
        sample_shape=(length,),
        dtype=np.dtype(np.uint8),
        classes=CLASSES,
        loader=partial(_load, length),
        value_range=(0.0, CLASSES - 1.0),
        samples={split: _windows(characters, split, length) for split in SPLITS},
        about=f"{length} characters each of the language reference in pydoc_data.topics, and those that follow",
        target_shape=(length,),
        sha256=hashlib.sha256(characters.tobytes()).hexdigest(),
    )


def numbered(text: str) -> NDArray[np.uint8]:
    """The numbers of a text's characters, (len(text),) uint8: what a network of this alphabet takes."""
    table = {character: number for number, character in enumerate(ALPHABET)}
    return np.fromiter((table.get(character, CLASSES - 1) for character in text), np.uint8, len(text))


def _length(name: str) -> int:
    told = name.removeprefix(NAME).removeprefix(":")
    if name == NAME:
        return LENGTH
    if not (told.isascii() and told.isdigit() and 1 <= int(told) <= LONGEST):
        raise ConfigError(
            f"[data] name = {name!r}: {told!r} is no length, takes a number from 1 to {LONGEST}",
            hint=f"{PREFIX}64 are windows of 64 characters",
        )
    return int(told)


def _load(length: int, split: Split, context: LoadContext) -> Arrays:
    """The windows of a split; nothing is read from or written to `context`."""
    characters, count = _characters(), _windows(_characters(), split, length)
    start = _part(characters, split).start
    x = characters[start : start + count * length]
    y = characters[start + 1 : start + 1 + count * length]
    return x.reshape(count, length), y.reshape(count, length)


def _windows(characters: NDArray[np.uint8], split: Split, length: int) -> int:
    """How many windows a split has; the last character of the last one is followed by one of the same split."""
    part = _part(characters, split)
    return (part.stop - part.start - 1) // length


def _part(characters: NDArray[np.uint8], split: Split) -> range:
    cuts = [0, *(int(len(characters) * share) for share in SHARES), len(characters)]
    at = SPLITS.index(split)
    return range(cuts[at], cuts[at + 1])


@lru_cache(maxsize=1)
def _characters() -> NDArray[np.uint8]:
    """The whole text, numbered, read-only."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            f"{NAME}: this Python has no pydoc_data.topics: {error}",
            hint="some distributions leave the documentation out: install their package of it, or another Python",
        ) from error
    order = sorted(topics, key=lambda name: hashlib.sha256(name.encode()).digest())
    texts = (topics[name].strip("\n") for name in order)
    paragraphs = dict.fromkeys(paragraph for text in texts for paragraph in text.split("\n\n"))
    found = numbered("\n\n".join(paragraphs))
    found.flags.writeable = False
    return found
