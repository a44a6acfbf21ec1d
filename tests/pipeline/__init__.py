"""Whole networks: real gates and sentinels over the memory broker and over Kafka."""
