"""For tests, also those of other packages: toy classifiers whose explanation is known."""
