"""Packages that only some users need: imported where they are used, and asked for by name."""

import importlib
from typing import Any


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
