"""A user's own reward function: found, recognised by its parameters, called as it expects, its answer read.

`load` imports it, `recognise` says which convention it follows, `arguments` makes a call out of a `Case`,
`results` makes verdicts of what it returns. `inspect_code` has the first two done in a process of its own, so
that nothing of the user's is imported by the trainer.
"""
