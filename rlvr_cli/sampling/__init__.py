"""What training and evaluation share: a start model and its engine, prompts to verified groups."""
