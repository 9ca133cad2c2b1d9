"""What many messages say alike: numbers with nouns, what a misspelt name meant, others' errors."""

from collections.abc import Iterable
from difflib import get_close_matches


def plural(n: int, noun: str) -> str:
    """`n` and its noun: "1 frame", "3 frames"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def closest(word: str, names: Iterable[str]) -> str:
    """A question for a message: "did you mean size?", where `word` is nearly one of `names`.

    Returns "" where nothing is near, so that `closest(word, names) or "..."` says something else.
    """
    near = get_close_matches(word, list(names), n=1)
    return f"did you mean {near[0]}?" if near else ""


def described(error: Exception) -> str:
    """An error of somebody else's code in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
