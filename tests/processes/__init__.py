"""Real processes over a real broker: started in any order, killed at any moment."""
