"""Explanations in the latents of an audio codec, decoded to sound (arXiv 2410.07530)."""
