"""What delayed gradients do to training, shown in one process with the gates' own layers and optimizers.

Open first: `chain.py` (a network at given delays), `tables.py` (the experiments A to D). Knows nothing of Kafka.
"""
