"""Functions that take the fields of dataclasses by name, shown with these as arguments."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Call = TypeVar("Call", bound=Callable[..., Any])


def takes(*groups: type) -> Callable[[Call], Call]:
    """Show the fields of dataclasses as arguments of a function that takes them by name: in its
    signature with their defaults, and in its help.
    """

    def show(function: Call) -> Call:
        signature = inspect.signature(function)
        shown = {p.name: p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD}
        for group in groups:
            usual = group()
            for name, option in inspect.signature(group).parameters.items():
                named = option.replace(kind=option.KEYWORD_ONLY, default=getattr(usual, name))
                shown.setdefault(name, named)
        parts = [part for group in groups for part in group.__mro__[:-1]]
        about = [inspect.cleandoc(part.__doc__ or "") for part in (function, *parts)]
        given: Any = function
        given.__signature__ = signature.replace(parameters=list(shown.values()))
        given.__doc__ = "\n\n".join(about)
        return function

    return show
