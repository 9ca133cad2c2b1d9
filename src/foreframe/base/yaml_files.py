"""YAML as plain values: numbers, words, lists and mappings, without any other feature of YAML.

Files are untrusted: they run no code, and short files never expand to much memory. PyYAML's
SafeLoader would read `on` as true, 1e-3 as a word, and aliases.
"""

import re
from typing import Any

import yaml

MOST = 256 * 1024  # largest number of bytes of a file
DEEPEST = 32  # levels of nested lists and mappings
HINT = "YAML has values such as 8, [96,128] or {kind: log}, and lines such as `batch_size: 8`"
CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")


class _Loader(yaml.BaseLoader):
    """Loads lists, and mappings with words as unique names."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.tag is not None:
            raise _refused("aliases and tags, such as *name and !name, are not supported", event)
        if self.depth == DEEPEST and isinstance(event, yaml.CollectionStartEvent):
            raise _refused(f"more than {DEEPEST} levels of lists and mappings", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_scalar(self, node: Any) -> Any:
        return node.value if node.style else _scalar(node.value)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        made: dict[str, Any] = {}
        for key, value in node.value:
            name = self.construct_object(key)
            if not isinstance(name, str) or name in made:
                raise _refused(f"{name!s:.60} is not a name, or is repeated", key)
            made[name] = self.construct_object(value)
        return made


def plain_yaml(text: str, what: str) -> Any:
    """Read YAML as a plain value.

    Args:
        text: the content of a file, or the value of a flag.
        what: the file or flag, for messages.

    Raises:
        ValueError: invalid YAML, several documents, aliases (which can expand beyond any memory),
            tags (which create objects), more than 32 levels, names that are not words or are
            repeated; with the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark and "\n" in text.strip() else ""
        raise ValueError(f"{what}{line}: {problem or 'not YAML'}; {HINT}") from None


def _scalar(text: str) -> Any:
    """Return the value of a word without quotes, as in YAML 1.2."""
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def read_yaml(file: str) -> dict[str, Any]:
    """Read the options in a file, by name.

    Raises:
        OSError: the file cannot be read.
        ValueError: a file that is too large, not text, or no mapping; errors of `plain_yaml`.
    """
    what = f"config {file}"
    with open(file, "rb") as opened:
        raw = opened.read(MOST + 1)
    if len(raw) > MOST:
        raise ValueError(f"{what} is larger than {MOST // 1024} KiB, so it is no config")
    try:
        settings = plain_yaml(raw.decode("utf-8"), what)
    except UnicodeDecodeError:
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"{what} has no options; {HINT}")
    return settings
