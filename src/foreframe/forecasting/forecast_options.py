"""Options of forecasts, each said once: flags, arguments in Python and what files remember are
views of these fields. Loads no torch, since `--help` reads it.
"""

from dataclasses import dataclass

from foreframe.clips.data_options import Match, ReadingAsTrained, check_at_least, check_match
from foreframe.forecasting.precision import Precision, check_precision

BUDGET = 4.0  # GiB that a forecast may take


@dataclass(frozen=True)
class ForecastOptions:
    """How a forecast is made.

    Args:
        precision: bf16-mixed, in which the network multiplies numbers of three figures (bfloat16),
            rounds, and is often faster; auto takes it where the processor multiplies such numbers
        match: last keeps the forecast's ranks and gives it, rank by rank, the values of the last
            frame; guide those of the model's guide: heavy rain does not fade; none is the plain
            forecast; by default what the forecaster says (radar: guide)
        members: so many possible futures, of a model that draws them; pictures and films show
            their mean and three of them, a .png also their spread
        seed: of the members: the same seed gives the same ones, for any past and in tiles
        budget: GiB of memory that a forecast may take; a larger one is refused

    Raises:
        ValueError: a value out of its range.
    """

    precision: Precision = "32-true"
    match: Match | None = None
    members: int | None = None
    seed: int = 0
    budget: float = BUDGET

    def __post_init__(self) -> None:
        check_precision(self.precision)
        check_match(self.match)
        check_at_least(0, budget=self.budget)
        members = self.members
        if members is not None and (
            isinstance(members, bool) or not isinstance(members, int) or members < 1
        ):
            raise ValueError(f"members are 1 or more, not {members}")


@dataclass(frozen=True)
class TiledOptions(ForecastOptions):
    """How the forecast of a recording is made.

    Args:
        tile: side of square tiles for big frames, blended where they overlap, to bound memory; 0
            takes frames whole; by default tiles only where frames are far bigger than in training
        overlap: of neighbouring tiles, in pixels; by default a quarter

    Raises:
        ValueError: a value out of its range.
    """

    tile: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tile is not None and self.tile < 0:
            raise ValueError(
                f"tiles have a side of at least 1 pixel, not {self.tile}; 0 takes frames whole"
            )


@dataclass(frozen=True)
class PredictOptions(TiledOptions):
    """What is forecast, from what, and how it is shown.

    Args:
        steps: frames to forecast, beyond the trained horizon too; 0 takes as many as it was trained
            to forecast
        past: how many frames to look at; 0 takes as many as it was trained with
        after: the last frame to look at, counted from 0; by default the last
        every: forecast anew after every so many frames, and score each by the frames that came
            later
        recording: which one, counted from 0, where the input holds several
        reading: how the input is read where not as in training
        colours: auto, grey, radar, temperature or a matplotlib colormap
        fps: of a film; by default the input's
        probability: how many of the members reach this value, in the data's units, in place of
            their values
        at: one place alone, latitude,longitude, or row,column where the input has neither, as
            values (.csv)
        device: cpu, cuda, mps; auto takes cuda if it can

    Raises:
        ValueError: a value out of its range, or options that do not go together.
    """

    steps: int = 0
    past: int = 0
    after: int | None = None
    every: int = 0
    recording: int | None = None
    reading: ReadingAsTrained = None
    colours: str = "auto"
    fps: float = 0.0
    probability: float | None = None
    at: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, steps=self.steps, past=self.past, every=self.every, fps=self.fps)
        if self.every and self.after is not None:
            raise ValueError("give after or every, not both")
        if self.every and self.at is not None:
            raise ValueError("--at is of one forecast: give --after, not --every")
        if self.probability is not None and self.members is None:
            raise ValueError("a probability is the share of members: give --members, such as 16")


@dataclass(frozen=True)
class StreamOptions(ForecastOptions):
    """What is forecast of frames as they come.

    Args:
        steps: frames to forecast; 0 takes as many as it was trained to forecast
        every: forecast after every so many frames; each frame is taken in
        state: a file to go on from if it exists, and to save to at the end and when stopped;
            keeps the place in INPUT too
        wait: seconds without a new frame after which a growing folder counts as finished
        reading: how frames are read where not as in training
        device: cpu, cuda, mps; auto takes cuda if it can

    Raises:
        ValueError: a value out of its range.
    """

    steps: int = 0
    every: int = 1
    state: str | None = None
    wait: float = 5.0
    reading: ReadingAsTrained = None
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, steps=self.steps, wait=self.wait)
        check_at_least(1, every=self.every)
