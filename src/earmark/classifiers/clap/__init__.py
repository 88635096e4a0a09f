"""A small CLAP of one's own: its sizes, its prompts, its training, and how well it tells sounds by words."""
