"""Names and settings of topics: what keeps the log readable after a week's rest, and what keeps the disk small."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.protocol.definition import NAME
from akkafka.protocol.topics import MAX_MESSAGE_BYTES, Topic, Topics, network_of, segment_bytes
from tests.protocol.cases import unhurried

TOPICS = Topics("mnist", gates=3, lanes=5)
ALL = {topic.name: topic for topic in TOPICS.all()}
KAFKA_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # org.apache.kafka.common.internals.Topic


def matching(pattern: str) -> list[Topic]:
    found = [topic for name, topic in ALL.items() if re.fullmatch(pattern, name)]
    assert found
    return found


def test_a_network_has_an_edge_more_than_gates_and_one_topic_of_each_other_kind() -> None:
    edges = [f"{way}.{i}" for i in range(4) for way in ("forward", "backward")]
    gates = [f"{what}.{i}" for i in range(3) for what in ("journal", "snapshot")]
    assert ALL.keys() == {f"akkafka.mnist.{name}" for name in (*edges, *gates, "definition", "data", "metrics", "dead")}
    assert len(TOPICS.all()) == len(ALL)


def test_the_definition_is_created_first_so_that_nobody_finds_a_network_without_one() -> None:
    assert TOPICS.all()[0].name == TOPICS.definition


def test_topics_are_named_alike_by_methods_and_list() -> None:
    for gate in range(4):
        assert {TOPICS.forward(gate), TOPICS.backward(gate)} <= ALL.keys()
    for gate in range(3):
        assert {TOPICS.journal(gate), TOPICS.snapshot(gate)} <= ALL.keys()
    assert {TOPICS.metrics, TOPICS.dead} <= ALL.keys()


@unhurried
@given(st.from_regex(NAME, fullmatch=True))
def test_a_network_of_any_name_has_topic_names_that_kafka_takes(network: str) -> None:
    topics = Topics(network, gates=256, lanes=1)
    assert all(KAFKA_NAME.fullmatch(topic.name) for topic in topics.all())
    assert network_of(topics.definition) == network


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "definition",
        "akkafka.definition",
        "akkafka..definition",
        "akkafka.mnist.definition.0",
        "xakkafka.mnist.definition",
        "akkafka.mnist.forward.0",
        "akkafka.mnist.Definition",
        "__consumer_offsets",
    ],
)
def test_other_topics_are_nobodys_definition(topic: str) -> None:
    assert network_of(topic) is None


def test_a_name_with_a_dot_is_no_networks() -> None:
    """`akkafka.a.b.definition` would else be network `a.b`, whose topics could be taken for those of `a`."""
    assert network_of("akkafka.a.b.definition") is None


def test_edges_have_a_partition_a_lane_data_have_one_for_manifests_and_one_for_pieces_and_all_else_has_one() -> None:
    edges = {topic.name for topic in matching(r"akkafka\.mnist\.(for|back)ward\.\d")}
    expected = dict.fromkeys(edges, 5) | {TOPICS.data: 2}
    assert all(topic.partitions == expected.get(name, 1) for name, topic in ALL.items())


def test_edges_journals_and_the_definition_are_never_trimmed_by_time_or_size() -> None:
    for topic in matching(r".*\.(forward|backward|journal)\.\d|.*\.definition"):
        settings = topic.settings
        assert (settings["retention.ms"], settings["retention.bytes"], settings["cleanup.policy"]) == (
            "-1",
            "-1",
            "delete",
        )


def test_snapshots_and_data_sets_are_compacted_and_nothing_else_is() -> None:
    compacted = matching(r".*\.snapshot\.\d|.*\.data")
    assert all((topic.settings["cleanup.policy"] == "compact") == (topic in compacted) for topic in ALL.values())


def test_figures_and_refused_records_are_bounded_by_time_and_bytes() -> None:
    for topic in matching(r".*\.(metrics|dead)"):
        assert int(topic.settings["retention.ms"]) > 0
        assert 0 < int(topic.settings["segment.bytes"]) < int(topic.settings["retention.bytes"])


def test_whatever_carries_arrays_takes_large_records() -> None:
    for topic in matching(r".*\.(forward|backward|journal|snapshot)\.\d"):
        assert topic.settings["max.message.bytes"] == str(MAX_MESSAGE_BYTES)


def test_segments_are_no_smaller_than_kafka_4_takes() -> None:
    assert all(int(topic.settings["segment.bytes"]) >= 1 << 20 for topic in ALL.values())


@given(st.integers(0, MAX_MESSAGE_BYTES))
def test_a_segment_takes_the_largest_record_with_what_its_batch_holds_besides(largest: int) -> None:
    beside = 2 << 20  # BATCH_BYTES of other records and the envelopes
    assert segment_bytes(largest) >= min(largest + beside, MAX_MESSAGE_BYTES)
    for topic in Topics("mnist", gates=1, lanes=1).all(largest):
        if re.fullmatch(r".*\.(forward|backward|journal)\.\d", topic.name):
            assert topic.settings["segment.bytes"] == str(segment_bytes(largest))


def test_the_segments_of_small_networks_are_small() -> None:
    assert segment_bytes(200 << 10) == 16 << 20
    assert segment_bytes(10 << 20) == 40 << 20
    assert segment_bytes(MAX_MESSAGE_BYTES) == MAX_MESSAGE_BYTES


def test_all_settings_are_texts_as_the_admin_client_wants_them() -> None:
    assert all(isinstance(value, str) for topic in ALL.values() for value in topic.settings.values())
