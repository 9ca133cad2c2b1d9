"""The training of a forecaster as its file describes it: plain values, checked before use."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from foreframe.base.schema import check_at_least, check_plain, typed
from foreframe.base.untrusted import check_harmless, leaves
from foreframe.clips.clip import in_seconds
from foreframe.data.data_options import (
    BUDGET,
    DataOptions,
    ReadOptions,
    SplitOptions,
    as_published,
    not_usual,
)


@dataclass(frozen=True)
class Trained:
    """Description of a forecaster's training.

    Args:
        data: the option `data` of training: a built-in name, a path or an import path; "" if
            unknown.
        data_args: its arguments, plain values.
        reading: how recordings were read, and how other recordings are read.
        splits: how they were split.
        frame: H and W of the frames; None if unknown.
        preset: name of the model's preset.
        weights: name of the published weights that training began with; "" for none.
        seed: seed of weights and clips.
        step: seconds from frame to frame of the scored data; None if unknown.
        spacing: the smallest and largest distance of its rows, in metres; None if unknown.

    Raises:
        ValueError: a field out of its range.
    """

    data: str = ""
    data_args: Mapping[str, Any] = field(default_factory=dict)
    reading: ReadOptions = ReadOptions()  # noqa: RUF009 (frozen)
    splits: SplitOptions = SplitOptions()  # noqa: RUF009
    frame: tuple[int, int] | None = None
    preset: str = ""
    seed: int | None = None
    weights: str = ""
    step: int | None = None
    spacing: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_plain(self.data_args, "data_args")
        check_at_least(0, seed=self.seed)
        if self.frame is not None:
            check_at_least(1, frame=min(self.frame))

    def pace(self, step: Any) -> float:
        """A time step relative to the scored data's; 1 if either is unknown."""
        return in_seconds(step) / self.step if step is not None and self.step else 1.0

    def config(self) -> dict[str, Any]:
        """Plain values; of reading and splits only those that differ from the defaults."""
        groups = {"reading": not_usual(self.reading), "splits": not_usual(self.splits)}
        return asdict(self) | groups


def data_of(trained: Trained, where: str, given: Mapping[str, Any]) -> DataOptions:
    """The data to open for a forecaster: the user's, or harmless ones that its file names.

    Args:
        trained: what its file says.
        where: the user's name for the file, for the message.
        given: from the user, fields of `DataOptions`; for the data of training they change the
            arguments, reading and splits of training.

    Raises:
        ValueError: no data are named, and the data of training are unknown, imported, fetched or
            missing here; invalid options.
    """
    data, args = given.get("data"), dict(given.get("data_args") or {})
    if data is not None and data != trained.data:
        return typed(DataOptions, as_published(given), "")
    if not trained.data:
        raise ValueError(
            f"{where} does not tell what it was trained on; name what to score on: --data"
        )
    kept = {name: value for name, value in trained.data_args.items() if name not in args}
    values = leaves(kept, ("data_args",))
    check_harmless(where, data is None, trained.data, values, "was trained on")
    reading = replace(trained.reading, budget=BUDGET)  # a user's limit, not a file's
    of_training = {
        "data": trained.data,
        "data_args": kept | args,
        "reading": reading.changed(given.get("reading") or {}),
        "splits": asdict(trained.splits) | (given.get("splits") or {}),
    }
    return typed(DataOptions, {**given, **of_training}, "")
