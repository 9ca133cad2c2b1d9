"""Which of a file's variables are read: those that are asked for, or the only one."""

from collections.abc import Mapping, Sequence


def asked_for(
    variable: str | Sequence[str] | None,
    names: Sequence[str],
    where: str,
    kinds: tuple[str, str] = ("variable", "variables"),
    spellings: Mapping[str, str] | None = None,
) -> list[str]:
    """The names that are asked for, or the only one.

    Args:
        variable: a name, several, or None for the only one.
        names: what the file holds.
        where: the file's name, for messages.
        kinds: what the file calls one of them, and several.
        spellings: other spellings of the names, and the names themselves, each with its name.

    Raises:
        ValueError: no such name; several where none is asked for.
    """
    spellings = spellings or dict(zip(names, names, strict=True))
    wanted = [variable] if isinstance(variable, str) else list(variable or names)
    if variable is None and len(names) > 1:
        raise ValueError(
            f"{where} holds several {kinds[1]}: {', '.join(names)}; name one, or a list that "
            "become channels"
        )
    for name in wanted:
        if name not in spellings:
            raise ValueError(f"{where} has no {kinds[0]} {name}; it holds {', '.join(names)}")
    return [spellings[name] for name in wanted]
