"""The one exception a user's mistake becomes: cli.py prints it as one line and exits with 2."""


class UserError(Exception):
    """What is wrong, where (file and key or row), and what to do. One line, no traceback."""
