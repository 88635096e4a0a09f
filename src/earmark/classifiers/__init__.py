"""What is explained: a classifier as a chain of named stages, its head, its geometry."""
