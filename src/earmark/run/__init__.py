"""What long runs share: which of their results are there already."""
