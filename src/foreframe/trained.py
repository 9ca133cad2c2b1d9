"""What a forecaster was trained on, as its file says: plain values, checked before they are used.

A file may come from a stranger. So nothing that it names is imported, called or fetched: import
paths, URLs and downloads come from the command line alone. Only what is harmless is opened without
asking: clips that foreframe draws itself, and recordings on this machine.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foreframe.files import exists
from foreframe.typed import brief, check_plain
from foreframe.wording import closest

IN_MEMORY = "in memory, "  # begins the name of data that were given from Python
LONGEST = 4096  # characters of a name or a path


FREE = (
    "black", "mean", "persistence", "linear_motion", "dense_motion", "optical_flow", "cycle",
)  # fmt: skip
"""Baselines by name, in the order in which they are shown: forecasters that nobody trains."""

WEIGHTS = Path(__file__).parent / "weights"


def published() -> list[str]:
    """Names of the trained forecasters in this package; each has its card in
    `weights/NAME/README.md`.
    """
    return sorted(path.parent.name for path in WEIGHTS.glob("*/model.safetensors"))


def check_forecaster(what: str | Path) -> None:
    """Refuse the name of a forecaster that does not exist, before anything heavy is loaded.

    Args:
        what: as of `foreframe.Forecaster.load`.

    Raises:
        ValueError: neither a file nor a folder, nor published, nor a baseline.
    """
    names = [*published(), *FREE]
    if not exists(what) and str(what) not in names:
        near = closest(str(what), names)
        raise ValueError(
            f"there is no folder {what}; {near and f'{near} Or '}name a run's folder (such as "
            f"runs/demo), one that `save` wrote, or what comes with foreframe: {', '.join(names)}"
        )


def name_of(what: str | Path) -> str:
    """What a forecaster is called where others read it: without the folders that it lies in.

    Args:
        what: as of `foreframe.Forecaster.load`; a run's checkpoint is called as its run.
    """
    path = Path(what).resolve()
    of_run = path.suffix == ".ckpt" and path.parent.name == "checkpoints"
    return (path.parents[1] if of_run else path).name


@dataclass(frozen=True)
class Trained:
    """What a forecaster was trained on.

    Args:
        data: as the option `data` of training: a built-in name, a path or an import path; "" where
            it is not known.
        data_args: its arguments, plain values.
        reading: those of them that say how recordings were read (fields of
            `foreframe.data.ReadOptions`), by which other recordings are read too.
        frame: H and W of the frames, None where they are not known.
        preset: of the model.
        weights: name of the published ones that it began with; "" for none.
        seed: of weights and clips.

    Raises:
        ValueError: a field out of its range.
    """

    data: str = ""
    data_args: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    frame: Sequence[int] | None = None
    preset: str = ""
    seed: int | None = None
    weights: str = ""

    def __post_init__(self) -> None:
        for name in ("data", "preset", "weights"):
            text = getattr(self, name)
            if len(text) > LONGEST or "\0" in text:
                raise ValueError(f"{name} is a name, not {brief(text)}")
        for name in ("data_args", "reading"):
            check_plain(getattr(self, name), name)
            object.__setattr__(self, name, dict(getattr(self, name)))
        if self.frame is not None:
            if len(self.frame) != 2 or not 0 < min(self.frame) <= max(self.frame) < 10**6:
                raise ValueError(f"frame is H and W in pixels, not {brief(self.frame)}")
            object.__setattr__(self, "frame", tuple(self.frame))
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed is at least 0, not {self.seed}")


def data_of(
    trained: Trained,
    where: str,
    data: str | None = None,
    data_args: Mapping[str, Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """The data to open for a forecaster, and its arguments: the user's, or harmless ones of a file.

    Args:
        trained: what its file says.
        where: the user's name for the file, for the message.
        data, data_args: from the user; the arguments change those of training where the data are
            the same.

    Raises:
        ValueError: nothing was named, and the training data are imported, fetched or missing here.
    """
    given = dict(data_args or {})
    if data is not None and data != trained.data:
        return data, given
    # The user says how much memory may be taken, not a file.
    named = {
        name: value for name, value in trained.data_args.items() if name not in (*given, "budget")
    }
    if data is None and not trained.data:
        raise ValueError(
            f"{where} does not tell what it was trained on; name what to score on: --data"
        )
    check_harmless(where, data is None, trained.data, named, "was trained on")
    return trained.data, named | given


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
        if path == ("budget",) or downloads or (isinstance(value, str) and is_remote(value)):
            name = brief(".".join(["data_args", *path]), quoted=False)
            raise ValueError(
                f"{where} has {name} {brief(value)}; budgets, downloads and what lies elsewhere "
                f"come from the command line alone: if you trust it, give --{name} there"
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
