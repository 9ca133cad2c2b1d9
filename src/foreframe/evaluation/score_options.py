"""Options of scoring; loads neither torch nor numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from foreframe.base.schema import check_at_least, parameters
from foreframe.data.data_options import ClipOptions, ClipsAsTrained
from foreframe.forecasting.forecast_options import DeviceOptions, Match, MemberOptions

BUDGET = 2.0  # GiB
DMVFN = {"past": 2, "future": 5, "stride": 1}  # windows of films (Hu et al. 2023, CVPR)


@dataclass(frozen=True)
class ScoreOptions(MemberOptions):
    """How a forecaster is scored beside the baselines

    Args:
        clips: how many, or all; by default as many as a minute allows, about, and all where there
            are forecasts. Windows of recordings are taken evenly spread
        batch_size: clips at once, at most; fewer where these would take more than the budget
        baselines: names of models to score beside; by default all that can run here
        thresholds: of events, in the data's units, e.g. [0.5,2] for rain: CSI, POD, FAR, HSS
        scales: odd sides in pixels for the fractions skill score of these events, e.g. [5,17]
        period: adds the baseline cycle, the frame so many steps before: 24 for the same hour
            yesterday; by default that of the forecaster's guide, where it has one
        lpips: alex or vgg adds LPIPS by that network, of films; its weights are downloaded once
        precision: bf16-mixed rounds, and is often faster; auto takes it where the processor
            multiplies such numbers; the baselines are exact
        match: last, guide or [last,guide] adds rows of the run's forecasts with the values of
            these, as foreframe predict --match makes them; of members, too; by default what the run
            says; none leaves that out
        members: so many of each clip are drawn and scored as an ensemble, beside a lagged one,
            which costs nothing; their mean is a further row
        seed: of the members, which differ from clip to clip
        budget: GiB of memory that scoring a batch may take
        seconds: of scoring; fewer clips where these would take longer, a batch at least

    Raises:
        ValueError: a value out of its range.
    """

    clips: int | Literal["all"] | None = None
    batch_size: int = 16
    baselines: Sequence[str] | None = None
    thresholds: Sequence[float] = ()
    scales: Sequence[int] = ()
    period: int | None = None
    match: Sequence[Match] | Match = ()
    lpips: Literal["alex", "vgg"] | None = None
    budget: float = BUDGET
    seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, clips=self.limit)
        if not 1 <= self.batch_size <= 4096:
            raise ValueError(f"batch_size must be 1 to 4096, not {self.batch_size}")

    @property
    def limit(self) -> int | None:
        """Most clips; None for all."""
        return None if self.clips == "all" else self.clips

    @property
    def matches(self) -> Sequence[str]:
        return [self.match] if isinstance(self.match, str) else self.match


@dataclass(frozen=True)
class EvaluateOptions(ScoreOptions, DeviceOptions, ClipsAsTrained):
    """On what it is scored, and where that goes

    Args:
        data: what to score on, as in foreframe train; by default the run's own data, unless these
            are imported or fetched
        reading: how recordings are read where not as the run's own
        splits: how they are split where not as the run's own; frames are forecast and scored
            whole, in --splits.tile only where that is given
        scaling: of recordings' values, without RUN, as in foreframe train
        split: by default test; all is of a file
        protocol: dmvfn scores 2 frames in, 5 out, as papers on films do
        past: frames to look at; by default as many as the run was trained with, or 10
        future: frames to score; by default as many as the run was trained to forecast, or as
            forecasts have, or 10
        stride: frames from window to window of recordings; by default the run's
        forecasts: of other programs, a file or [several,files], to score too: .npy or .npz
            (N,S,C,H,W) in the data's own units (0 to 255 for films), in the order of the clips, or
            NetCDF, Zarr or .npz with start and lead times, as predict --every writes it
        pasts: .npy to write the past frames of the clips to, for another program to forecast from
        output: folder for the report; by default evaluation, of other data evaluation-DATA, in RUN
            or runs/NAME, or here without a run

    Raises:
        ValueError: a value out of its range.
    """

    split: Literal["train", "validation", "test", "all"] | None = None
    protocol: Literal["dmvfn"] | None = None
    forecasts: str | Sequence[str] = ()
    pasts: str | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ClipOptions.__post_init__(self)
        if self.pasts is not None and not self.pasts.lower().endswith(".npy"):
            raise ValueError(f"pasts {self.pasts}: frames for another program are written as .npy")

    @property
    def given(self) -> dict[str, Any]:
        """What is given of the fields of `ClipOptions`, and what the protocol says of others."""
        values = {name: getattr(self, name) for name in parameters(ClipOptions)}
        given = {name: value for name, value in values.items() if value is not None}
        return {**(DMVFN if self.protocol else {}), **given}
