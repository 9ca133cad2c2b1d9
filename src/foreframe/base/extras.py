"""Packages that only some users need, and modules of their own: imported where they are used."""

import importlib
import os
import sys
from typing import Any

from foreframe.base.wording import described


def needed(module: str, extra: str, what: str) -> Any:
    """A module that comes with one of foreframe's extras.

    Args:
        module: its name.
        extra: that installs it, pip install 'foreframe[extra]'.
        what: needs it, for the message.

    Raises:
        ValueError: it is not installed, or cannot be loaded.
    """
    cure = f"pip install 'foreframe[{extra}]'"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise ValueError(f"{what} needs {module}; {cure}") from None
    except (ImportError, OSError, RuntimeError) as error:  # a library that it wraps is not found
        why = (str(error).splitlines() or ["unknown reason"])[0]
        raise ValueError(f"{what} needs {module}, which cannot be loaded ({why}); {cure}") from None


def own(what: str, module: str, name: str = "") -> Any:
    """A module of the user's own, or what has that name in it; `what` asked for it.

    Raises:
        ValueError: it cannot be imported.
    """
    # A file beside the user is meant to be found, as `python -m` would.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    except Exception as error:  # importing runs somebody else's code, which may raise anything
        raise ValueError(f"{what}: cannot import it ({described(error)})") from error
