"""Metrics: pure functions that return one number per clip; averages and intervals are made elsewhere."""
