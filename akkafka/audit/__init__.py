"""Proofs from the log alone: `replay` rebuilds a gate's weights, `audit` checks that every batch counts once."""
