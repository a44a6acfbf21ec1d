"""What a setting's field says of itself, wherever that stands."""

from __future__ import annotations

from pydantic import BaseModel, Field

from akkafka.sentences import sentence


class Base(BaseModel):
    """Fields that say what they are in each of the ways that there are."""

    under: int = 0
    """Said under the field,
    over two lines."""
    within: int = Field(0, description="Said in the field.")
    silent: int = 0


class Derived(Base):
    """A field of its own, and those of its base."""

    own: int = 0
    """Said in the derived class."""
    silent: int = 1


def test_a_sentence_is_found_under_the_field_in_it_and_in_the_base() -> None:
    assert sentence(Base, "under") == "Said under the field,\nover two lines."
    assert sentence(Derived, "under") == sentence(Base, "under")
    assert sentence(Derived, "within") == "Said in the field."
    assert sentence(Derived, "own") == "Said in the derived class."


def test_where_nothing_is_said_there_is_an_empty_sentence() -> None:
    assert sentence(Derived, "silent") == ""
    assert sentence(Derived, "unknown") == ""


def test_a_class_without_a_source_says_nothing() -> None:
    made: dict[str, type[BaseModel]] = {}
    exec("class Made(BaseModel):\n    one: int = 0\n    'Unseen.'", {"BaseModel": BaseModel, "__name__": "x"}, made)
    assert sentence(made["Made"], "one") == ""
