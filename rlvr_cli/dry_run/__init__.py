"""A recipe without its run: what its files, first rows, prompts and golds look like, and what it changes. No
torch."""
