"""Imports on demand: optional packages, modules of the user, and entry points of packages."""

import importlib
from functools import cache
from typing import Any

from foreframe.base.wording import described


def needed(module: str, extra: str, what: str) -> Any:
    """Import a module of one of foreframe's extras.

    Args:
        module: name of the module.
        extra: the extra that installs it, pip install 'foreframe[extra]'.
        what: the subject of the message, which needs the module.

    Raises:
        ValueError: it is missing, or cannot be loaded.
    """
    cure = f"pip install 'foreframe[{extra}]'"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise ValueError(f"{what} needs {module}; {cure}") from None
    except (ImportError, OSError, RuntimeError) as error:  # a wrapped library is missing
        why = (str(error).splitlines() or ["unknown reason"])[0]
        raise ValueError(f"{what} needs {module}, which cannot be loaded ({why}); {cure}") from None


def import_user_module(what: str, module: str, name: str = "") -> Any:
    """Import a module of the user, or an object in it, for the option `what`.

    Raises:
        ValueError: it cannot be imported.
    """
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    except Exception as error:  # foreign code may raise anything
        raise ValueError(f"{what}: cannot import it ({described(error)})") from error


@cache
def registered(kind: str) -> dict[str, Any]:
    """Return the entry points `foreframe.KIND` of installed packages by name, without importing
    them. The first call takes some hundredths of a second.
    """
    from importlib.metadata import entry_points

    return {p.name: p for p in entry_points(group=f"foreframe.{kind}")}


def of_package(kind: str, name: str) -> Any:
    """Import the object that an installed package registers under this name.

    Raises:
        KeyError: no package registers this name.
        ValueError: it cannot be imported.
    """
    point = registered(kind)[name]
    what = f"{name}, which the package {point.dist.name} registers as foreframe.{kind}"
    return import_user_module(what, point.module, point.attr)
