"""Prototypes: one pass over a data set, the strongest clips of each channel, and the bank that keeps them."""
