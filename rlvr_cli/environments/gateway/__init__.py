"""An OpenAI-compatible address for a program, whose completions are an episode's turns.

`request` and `messages` read what a program sends, `turns` and `reply` write what it gets, `session` is where
the two meet, `server` the HTTP around it, `program` runs the program, `episode` has it all together.
"""
