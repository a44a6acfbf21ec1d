"""Faults thrown at real processes over a real broker, and the parts that throw them."""
