"""The command line: `main.py` finds the verb, whose file has the rest."""
