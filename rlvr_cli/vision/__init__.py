"""Images: how data sets have them, what stands for them among a prompt's tokens, and the one processor."""
