"""Evaluation: metrics over clips and methods, with intervals."""
