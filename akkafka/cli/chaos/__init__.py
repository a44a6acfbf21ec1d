"""`akkafka chaos`: train a small network, throw faults at it, and look whether the promises hold.

Open first: `schedule.py` (which faults, when: pure), `command.py` (the steps), `proxy.py` (faults of the network),
`checks.py` (what is looked at in the end).
"""
