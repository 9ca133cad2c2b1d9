"""What a file may name, which may come from a stranger.

Nothing that it names is imported, called or fetched: import paths, URLs and downloads come from the
command line alone. Only what is harmless is opened without asking: clips that foreframe draws
itself, and recordings on this machine.
"""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foreframe.base.files import exists
from foreframe.base.schema import brief

IN_MEMORY = "in memory, "  # begins the name of data that were given from Python


def check_harmless(
    where: str, named: bool, data: str, args: Mapping[str, Any], says: str = "names the data"
) -> None:
    """Refuse what a file names and only the command line may: an import path, a URL, a download.

    The message says which option to give for it.

    Args:
        where: the file, as the user calls it.
        named: whether the file names the data; else only its arguments are checked.
        data, args: what it names.
        says: the verb of the message.

    Raises:
        ValueError: it is not harmless.
    """
    if named and data.startswith(IN_MEMORY):
        raise ValueError(
            f"{where} {says} data {brief(data, quoted=False)}, which only Python has; go on with "
            "it there, by foreframe.fit(resume=..., data=...), or name other data with --data"
        )
    if named and not _is_here(data):
        raise ValueError(
            f"{where} {says} {brief(data)}, which is no recording on this machine; imports, URLs "
            "and downloads come from the command line alone: if you trust it, give "
            f"--data {shlex.quote(brief(data, quoted=False))}"
        )
    for path, value in leaves(args):
        downloads = path[-1] == "download" and value
        if downloads or (isinstance(value, str) and is_remote(value)):
            name = brief(".".join(["data_args", *path]), quoted=False)
            raise ValueError(
                f"{where} has {name} {brief(value)}; downloads and what lies elsewhere come "
                f"from the command line alone: if you trust it, give --{name} there"
            )


def _is_here(data: str) -> bool:
    """Whether foreframe draws the clips itself, or reads them from a plain file or folder here."""
    if data.isidentifier() and not exists(data):
        return True  # the name of a Dataset of foreframe's; what is imported has a dot
    if not data or "\0" in data or is_remote(data):
        return False
    try:
        path = Path(data).resolve()
        if path.parts[1:2] in (("dev",), ("proc",), ("sys",), ("net",)):
            return False  # devices, and folders that fetch what is named in them
        return path.is_file() or (path.is_dir() and not Path.home().resolve().is_relative_to(path))
    except (OSError, ValueError, RuntimeError):
        return False


def is_remote(text: str) -> bool:
    """Whether a path leaves this machine: a URL, a chain of fsspec's, a share in a network."""
    return "://" in text or "::" in text or text[:2] in ("//", "\\\\", "/\\", "\\/")


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in nested mappings and lists, with the names that lead to it."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from leaves(value, (*path, str(name)))
    elif isinstance(values, list | tuple) and values:
        for value in values:
            yield from leaves(value, path)
    elif path:
        yield path, values
