"""Models of the add-on: they join the lists of tests/small.py."""

from typing import Any

from small import way

PRESETS: dict[str, dict[str, Any]] = {}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {}
TWINS: set[str] = set()
RECORDED: dict[str, dict[str, Any]] = {}
FREE: dict[str, tuple[str, dict[str, Any]]] = {"layered_motion": way("layered_motion")}
