"""Codecs: frozen networks between sounds and latents, and classifiers that decide on latents."""
