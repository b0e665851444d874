"""The command line: `main.py` finds the verb, one file has each."""
