"""What a user should know although nothing has failed."""


class Note(UserWarning):
    """A warning for whoever runs this, not for who wrote it: the command line prints it in one
    line, and goes on.
    """
