"""The deterministic simulation: real cores of a whole network against a log in memory, under a seeded scheduler."""
