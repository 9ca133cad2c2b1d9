"""What a user should know although nothing has failed."""

import warnings


class Note(UserWarning):
    """A warning for users, not for programmers: the command line prints it in one line."""


def warn(message: str) -> None:
    """A note for whoever runs this."""
    warnings.warn(Note(message), stacklevel=3)
