"""Checks of names in untrusted files.

Import paths, URLs, downloads and larger memory budgets are accepted only from the command line, not
from files. Generated clips and recordings on this machine are harmless.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foreframe.base.files import exists
from foreframe.base.schema import brief

IN_MEMORY = "in memory, "  # prefix of the name of data that were passed in Python
USUAL = 1.0  # GiB: the budget of weights, and that of reading


def check_harmless(
    where: str,
    named: bool,
    data: str,
    values: Iterable[tuple[Sequence[str], Any]],
    says: str = "names the data",
) -> None:
    """Check that a file names no import path, URL, download or larger budget. The message names the
    option that allows it.

    Args:
        where: the file, for messages.
        named: whether the file names the data.
        data: the data.
        values: the other values in the file, as `leaves` yields them.
        says: verb of the message.

    Raises:
        ValueError: it is not harmless.
    """
    if named and data.startswith(IN_MEMORY):
        raise ValueError(
            f"{where} {says} data {brief(data, quoted=False)} of a Python process; continue there "
            "by foreframe.fit(resume=..., data=...), or name other data with --data"
        )
    if named and not _is_local(data):
        raise ValueError(
            f"{where} {says} {brief(data)}, which is no recording on this machine; imports, URLs "
            "and downloads are for the command line alone: if you trust it, give "
            f"--data {shlex.quote(brief(data, quoted=False))}"
        )
    for path, value in values:
        remote = isinstance(value, str) and is_remote(value)
        larger = path[-1] == "budget" and isinstance(value, int | float) and value > USUAL
        if remote or larger or (path[-1] in ("download", "model_registry") and value):
            name = brief(".".join(path), quoted=False)
            raise ValueError(
                f"{where} has {name} {brief(value)}; downloads, larger budgets and remote files "
                f"are for the command line alone: if you trust it, give --{name} there"
            )


def _is_local(data: str) -> bool:
    """Return whether data are generated, or a plain file or folder on this machine."""
    if data.isidentifier() and not exists(data):
        return True  # a Dataset of foreframe; import paths have a dot
    if is_remote(data) or not exists(data):
        return False
    path = Path(data).resolve()
    return path.is_file() or (path.is_dir() and not Path.home().resolve().is_relative_to(path))


def is_remote(text: str) -> bool:
    """Return whether a path is remote: a URL, a chain of fsspec, a network share."""
    return "://" in text or "::" in text or text[:2] in ("//", "\\\\", "/\\", "\\/")


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value in nested mappings and lists, with the path of names to it."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from leaves(value, (*path, str(name)))
    elif isinstance(values, list | tuple) and values:
        for value in values:
            yield from leaves(value, path)
    elif path:
        yield path, values
