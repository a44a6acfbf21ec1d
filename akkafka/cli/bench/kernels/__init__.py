"""`akkafka bench kernels`: layers, losses and optimizers beside PyTorch's on one thread.

Open first: `cases.py` (what is raced), `race.py` (how), `command.py` (where, and the table).
"""
