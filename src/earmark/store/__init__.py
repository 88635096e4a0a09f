"""Explanations, banks and score tables on disk: JSON, safetensors, Parquet and FLAC; no pickle."""
