"""What a forecaster was trained on, as its file says: plain values, checked before use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foreframe.base.typed import brief, check_plain
from foreframe.base.untrusted import check_harmless

LONGEST = 4096  # characters of a name or a path


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
