"""Before the first step: what the start model makes of the problems, and whether it can learn from them."""
