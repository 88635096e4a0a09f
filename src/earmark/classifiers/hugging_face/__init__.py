"""Audio classifiers of the library transformers: from a local folder, or by their name on the Hugging Face hub."""
