"""The loop that every trained part shares: seeded, checkpointed each epoch, resumable, with time left."""
