"""What a user should know although nothing has failed."""


class Note(UserWarning):
    """A warning for users, not for programmers: the command line prints it in one line."""
