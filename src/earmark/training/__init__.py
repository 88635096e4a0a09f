"""The loop that every trained part shares: seeded, resumable within an epoch, on one process or several."""
