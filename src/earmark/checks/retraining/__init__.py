"""Checks that train the classifier anew: on sounds without their evidence, and on shuffled labels."""
