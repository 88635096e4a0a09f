"""earmark."""
