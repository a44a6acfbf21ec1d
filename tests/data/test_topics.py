"""The text is cut without overlap, its targets are what follows, and another Python's text is refused."""

from __future__ import annotations

import pydoc_data.topics

import numpy as np
import pytest

from akkafka.data import SPLITS, Dataset, DataSpec, completed, info, load, shapes, topics
from akkafka.errors import ConfigError, DataError


def splits(name: str = "topics:64") -> list[Dataset]:
    return [load(DataSpec(name=name), split) for split in SPLITS]


def text_of(dataset: Dataset) -> str:
    """Its windows, one behind the other."""
    alphabet = [*topics.ALPHABET, "\N{REPLACEMENT CHARACTER}"]
    return "".join(alphabet[number] for number in dataset.x.ravel().tolist())


def test_targets_are_the_characters_that_follow() -> None:
    for dataset in splits():
        assert dataset.x.shape == dataset.y.shape == (len(dataset), 64)
        assert dataset.x.dtype.name == dataset.y.dtype.name == "uint8"
        assert np.array_equal(dataset.y.ravel()[:-1], dataset.x.ravel()[1:])
        assert len(dataset) == info("topics:64").samples[dataset.split]


def test_splits_hold_the_reference_and_share_no_paragraph() -> None:
    whole = "".join(pydoc_data.topics.topics.values())
    train, validation, test = map(text_of, splits())
    for text in (train, validation, test):
        for paragraph in text.split("\n\n")[1:-1]:  # the first and the last are cut
            assert "\N{REPLACEMENT CHARACTER}" in paragraph or paragraph in whole
    known = set(train.split("\n\n"))
    assert not known & set(validation.split("\n\n")[1:-1])
    assert not known & set(test.split("\n\n")[1:-1])
    assert len(validation) > 0.04 * (len(train) + len(validation) + len(test)) > 10_000


def test_numbers_stand_for_newline_printable_ascii_and_all_the_rest() -> None:
    assert topics.numbered("\n ~é").tolist() == [0, 1, 95, 96]
    assert topics.CLASSES == 97


@pytest.mark.parametrize(("name", "length"), [("topics", 64), ("topics:1", 1), ("topics:128", 128)])
def test_the_name_tells_how_long_windows_are(name: str, length: int) -> None:
    found = info(name)
    assert (found.sample_shape, found.target_shape, found.classes) == ((length,), (length,), 97)


@pytest.mark.parametrize("name", ["topics:", "topics:0", "topics:4097", "topics:-3", "topics:x", "topics:²"])
def test_a_length_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no length, takes a number from 1 to 4096"):
        info(name)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        info("topic")
    assert "did you mean 'topics'" in caught.value.hint


def test_a_definition_knows_its_shapes_without_the_text_and_names_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = completed(DataSpec(name="topics:32"))
    monkeypatch.setattr(topics, "_characters", lambda: pytest.fail("the text was read"))
    assert completed(spec) == spec
    assert shapes(spec) == ((32,), np.dtype(np.uint8))
    assert (spec.target_shape, spec.classes) == ((32,), 97)
    assert spec.sha256 is not None and len(spec.sha256) == 64


def test_the_text_of_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = completed(DataSpec(name="topics:32"))
    other = topics._characters().copy()
    other[1000] ^= 1
    monkeypatch.setattr(topics, "_characters", lambda: other)
    with pytest.raises(DataError, match=f"made from has sha256 [0-9a-f]{{64}} here, {spec.sha256} there") as caught:
        load(spec, "train")
    assert "the Python that the network was defined with" in caught.value.hint
