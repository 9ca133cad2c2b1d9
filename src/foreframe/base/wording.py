"""Phrases shared by messages: numbers with nouns, corrections of misspelt names, foreign errors."""

from collections.abc import Iterable
from difflib import get_close_matches


def plural(n: int, noun: str) -> str:
    """A number with its noun: "1 frame", "3 frames"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def closest(word: str, names: Iterable[str]) -> str:
    """The question "did you mean size?" if `word` is close to one of `names`.

    Returns "" otherwise, for use as `closest(word, names) or "..."`.
    """
    near = get_close_matches(word, list(names), n=1)
    return f"did you mean {near[0]}?" if near else ""


def described(error: Exception) -> str:
    """A foreign error in a single line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
