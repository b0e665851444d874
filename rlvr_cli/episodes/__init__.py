"""Episodes: an engine and environments in turns, token for token."""
