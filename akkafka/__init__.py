"""akkafka: train a neural network as a chain of small services over Apache Kafka.

What to open first: `protocol/messages.py` (what travels), `gate/core.py` (what a gate decides), `sentinel/` (who brings
the data), `nn/` and `optim/` (the numbers), `broker/base.py` (the log's face), `cli/` (the commands).
"""

__version__ = "0.1.0"
