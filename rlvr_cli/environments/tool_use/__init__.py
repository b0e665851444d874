"""Tools: what they are called, what they take, and how a call of one becomes a text for the policy."""
