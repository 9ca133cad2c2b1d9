"""Checks of names in untrusted files.

Nothing named in a file is imported, called or fetched: import paths, URLs and downloads are
accepted from the command line alone. Generated clips and recordings on this machine are harmless
and opened without confirmation.
"""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foreframe.base.files import exists
from foreframe.base.schema import brief

IN_MEMORY = "in memory, "  # prefix of the name of data that were passed in Python


def check_harmless(
    where: str, named: bool, data: str, args: Mapping[str, Any], says: str = "names the data"
) -> None:
    """Refuse an import path, a URL or a download that a file names.

    The message names the option that allows it.

    Args:
        where: the file, as in messages.
        named: whether the file names the data; else only their arguments are checked.
        data, args: the data and their arguments.
        says: verb of the message.

    Raises:
        ValueError: it is not harmless.
    """
    if named and data.startswith(IN_MEMORY):
        raise ValueError(
            f"{where} {says} data {brief(data, quoted=False)}, which only Python has; go on with "
            "it there, by foreframe.fit(resume=..., data=...), or name other data with --data"
        )
    if named and not _is_local(data):
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


def _is_local(data: str) -> bool:
    """Whether the data are generated, or a plain file or folder on this machine."""
    if data.isidentifier() and not exists(data):
        return True  # a Dataset of foreframe; import paths have a dot
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
    """Whether a path leads off this machine: a URL, a chain of fsspec, a network share."""
    return "://" in text or "::" in text or text[:2] in ("//", "\\\\", "/\\", "\\/")


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in nested mappings and lists, with the path of names to it."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from leaves(value, (*path, str(name)))
    elif isinstance(values, list | tuple) and values:
        for value in values:
            yield from leaves(value, path)
    elif path:
        yield path, values
