"""Options of scoring. Loads neither torch nor numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from foreframe.base.schema import PositiveFloat, PositiveInt, Range, parameters
from foreframe.data.data_options import ClipOptions, ClipsAsTrained
from foreframe.forecasting.forecast_options import DeviceOptions, MemberOptions, check_match

BUDGET = 3.0  # GiB: films of 1080x1920 by layers
DMVFN = {"past": 2, "future": 5, "stride": 1}  # windows of films (Hu et al. 2023, CVPR)


@dataclass(frozen=True)
class ScoreOptions(MemberOptions):
    """Scores

    Args:
        clips: number of clips, or all; by default as many as can be scored in about a minute, or
            all if there are forecasts. Windows of recordings are spread evenly
        batch_size: largest number of clips at a time; fewer if they exceed the budget
        baselines: names of baselines to score; by default all that are installed
        thresholds: thresholds of events, in the data's units, e.g. [0.5,2] for rain: CSI, POD,
            FAR, HSS
        scales: odd sides in pixels for the fractions skill score of these events, e.g. [5,17]
        period: adds the baseline cycle, the frame this many steps before: 24 for the same hour
            yesterday; by default the period of the forecaster's guide, if it has one
        lpips: alex or vgg adds LPIPS of films by that network, whose weights are downloaded once
        precision: bf16-mixed rounds and is often faster; auto uses it if the processor supports
            it; baselines are always exact
        match: last, guide or [last,guide] adds rows of the run's forecasts with matched values, as
            in foreframe predict --match, also for members; by default the run's choice; none adds
            no row
        members: number of members per clip, scored as an ensemble and compared with the lagged
            ensemble; their mean is another row
        seed: seed of the members, which differ from clip to clip
        budget: memory limit of scoring a batch in GiB
        seconds: time limit, which reduces the number of clips to a batch at least

    Raises:
        ValueError: a value out of its range.
    """

    clips: PositiveInt | Literal["all"] | None = None
    batch_size: Annotated[int, Range(least=1, most=4096)] = 16
    baselines: Sequence[str] | None = None
    thresholds: Sequence[float] = ()
    scales: Sequence[int] = ()
    period: int | None = None
    match: Sequence[str] | str = ()
    lpips: Literal["alex", "vgg"] | None = None
    budget: PositiveFloat = BUDGET
    seconds: float | None = None

    def check(self) -> None:
        check_match(*self.matches)

    @property
    def limit(self) -> int | None:
        """Largest number of clips; None for all."""
        return None if self.clips == "all" else self.clips

    @property
    def matches(self) -> Sequence[str]:
        return [self.match] if isinstance(self.match, str) else self.match


@dataclass(frozen=True)
class EvaluateOptions(ScoreOptions, DeviceOptions, ClipsAsTrained):
    """Input and output

    Args:
        data: data to score on, as in foreframe train; by default the run's data, unless they are
            imported or downloaded
        reading: read options other than the run's
        splits: split options other than the run's; frames are forecast and scored whole unless
            --splits.tile is given
        scaling: scaling of values, without RUN, as in foreframe train
        split: by default test; all uses a whole file
        protocol: dmvfn scores 2 frames in, 5 out, as papers on films do
        past: number of past frames; by default as in training, or 10
        future: number of frames to score; by default as in training or in the forecasts, or 10
        stride: frames between the starts of two windows; by default the run's
        forecasts: forecasts of other programs to score, a file or [several,files]: .npy or .npz
            (N,S,C,H,W) in the data's own units (0 to 255 for films), in the order of the clips, or
            NetCDF, Zarr or .npz with start and lead times, as from predict --every
        pasts: .npy to write the past frames of the clips to, for another program to forecast from
        output: folder for the report; auto, the default of the command, is evaluation, or
            evaluation-DATA for other data, in RUN, runs/NAME, or here without a run

    Raises:
        ValueError: a value out of its range.
    """

    split: Literal["train", "validation", "test", "all"] | None = None
    protocol: Literal["dmvfn"] | None = None
    forecasts: str | Sequence[str] = ()
    pasts: str | None = None
    output: str | None = None

    def check(self) -> None:
        if self.pasts is not None and not self.pasts.lower().endswith(".npy"):
            raise ValueError(f"pasts {self.pasts}: frames for another program are written as .npy")

    @property
    def given(self) -> dict[str, Any]:
        """The user's fields of `ClipOptions`, and the protocol's values of others."""
        values = {name: getattr(self, name) for name in parameters(ClipOptions)}
        given = {name: value for name, value in values.items() if value is not None}
        return {**(DMVFN if self.protocol else {}), **given}
