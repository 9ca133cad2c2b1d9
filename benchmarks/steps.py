"""Members of rain beside STEPS, the ensemble of pysteps, on the same windows.

    python benchmarks/steps.py ARCHIVES [--members 8] [--clips 48] [--events EVENT ...]

ARCHIVES is the folder that examples/radar/prepare.py takes, and the windows are those on which
benchmarks/radar.py scores a forecaster. pysteps is no part of foreframe: pip install pysteps.

Scored are so many members of the forecaster, as they are and each matched to the last frame
(`--match last` of `foreframe predict`), as many of STEPS, which matches its own so, and the lagged
ensembles of dense motion and of optical flow, begun 0 to 4 frames ago. All see the same past. STEPS
has the settings of pysteps' own examples of it: mm/h in dBR, all below 0.1 mm/h at -15 dBR; motion
by Lucas-Kanade of the last 3 frames, perturbed by `bps`; noise nonparametric; 6 levels; else its
defaults.

STEPS has no values where rain would come in from outside a window: no row is scored on what any of
its members lacks there. All scores are foreframe's own: fair CRPS in mm/h; FSS at 5 mm/h and 17
pixels, of all members, each as a forecast; sharpness and spread over skill on the network's scale;
power at 8 pixels over the truth's, in the middle of a window, half as wide and high, and only of
lead times at which nothing is lacking there in a quarter of the windows or more.
"""

import argparse
import contextlib
import io
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from radar import READ, SMALL_READ, made_up, prepared, without
from recordings import figure, leave, machine, table
from runtimes import positive

from foreframe.base.wording import plural

EVENTS = ("mch_rain_20160711", "mch_rain_20150515")
MINUTES = 5  # from frame to frame
TOLD = (5, 10, 20, 30, 45, 60)  # minutes ahead
HEAVY, SCALE = 5, 17  # mm/h and pixels, of FSS
ENOUGH = 0.25  # of the windows, for a figure of their middle
OURS, MATCHED, STEPS = "members", "members, matched to last", "STEPS"


@dataclass(frozen=True)
class Told:
    """A score: its table's title and numbers, and which of a row's cards has it, and where."""

    title: str
    card: str
    convention: str
    score: str
    form: str = ".2f"


SCORES = (
    Told("fair CRPS, mm/h", "together", "physical", "fair_crps", ".3f"),
    Told(
        f"FSS of a member, {HEAVY} mm/h, {SCALE} pixels",
        "together", f"{HEAVY} mm/h", f"fss {SCALE}", ".3f",
    ),
    Told("sharpness over the truth's", "together", "standard", "sharpness"),
    Told("power at 8 pixels over the truth's", "middle", "standard", "power_at_8"),
    Told("spread over skill", "together", "standard", "spread_skill"),
)  # fmt: skip


def middle(frames: Any) -> Any:
    """Of the last two axes."""
    h, w = frames.shape[-2:]
    return frames[..., h // 4 : h - h // 4, w // 4 : w - w // 4]


class Row:
    """An ensemble's scores, and those of the middle of windows; and what it took, in seconds of
    this process.
    """

    def __init__(self, members: int, leads: int, scaling: Any, seed: int) -> None:
        from foreframe.evaluation.metrics import EnsembleScorecard

        units, to_units = scaling.units, scaling.to_units
        self.together, self.middle = (
            EnsembleScorecard(leads, members, units, heavy, to_units, seed, scales=[SCALE])
            for heavy in ([HEAVY], [])
        )
        self.seconds = 0.0

    def add(self, X: Any, truth: Any, window: int) -> None:
        """Members of one window, (1,M,S,1,H,W), and their truth, (1,S,1,H,W)."""
        self.together.update(X, truth, [window])
        self.middle.update(middle(X), middle(truth), [window])

    def by_lead(self, told: Told) -> list[float]:
        return getattr(self, told.card).table()[told.convention][told.score]["per_lead"]

    def by_window(self) -> list[float]:
        """Fair CRPS over all lead times."""
        errors, values = self.together.by_clip("physical", "fair_crps")
        return (errors / values).tolist()


@dataclass(frozen=True)
class Found:
    """What was scored of an event: a row for each ensemble; and by lead time, the share of what was
    measured that STEPS has values for, and of the windows that lack nothing in the middle.
    """

    rows: dict[str, Row]
    share: list[float]
    whole: list[float]

    def by_lead(self, row: str, told: Told) -> list[float]:
        values = self.rows[row].by_lead(told)
        if told.card != "middle":
            return values
        enough = zip(values, self.whole, strict=True)
        return [value if share >= ENOUGH else math.nan for value, share in enough]


@contextlib.contextmanager
def silence() -> Any:
    """For pysteps, which prints what it does, and warns of logarithms and of empty means."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def grouped(flags: str) -> dict[str, dict[str, Any]]:
    """Options of the command line, `--reading.coarsen 2`, by their groups, as Python takes them; of
    one that is there twice the last.
    """
    import yaml

    words = flags.split()
    groups: dict[str, dict[str, Any]] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        group, name = flag.removeprefix("--").split(".")
        groups.setdefault(group, {})[name] = yaml.safe_load(value)
    return groups


def check_pysteps() -> None:
    try:
        with silence():
            import pysteps  # noqa: F401
    except ImportError as error:
        leave(f"STEPS is of pysteps ({error}): pip install pysteps")


def by_steps(rain: Any, members: int, leads: int, km: float, seed: int) -> Any:
    """Members by STEPS.

    Args:
        rain: (T,H,W), mm/h, no value missing.
        km: from pixel to pixel.

    Returns:
        (M,leads,H,W), mm/h, NaN where it has no value.
    """
    with silence():
        from pysteps.motion.lucaskanade import dense_lucaskanade
        from pysteps.nowcasts import steps
        from pysteps.utils.transformation import dB_transform

        dbr = dB_transform(rain[-3:], threshold=0.1, zerovalue=-15.0)[0]
        future = steps.forecast(
            dbr, dense_lucaskanade(dbr), leads, members,
            n_cascade_levels=6, precip_thr=-10.0, kmperpixel=km, timestep=MINUTES,
            noise_method="nonparametric", vel_pert_method="bps", mask_method="incremental",
            seed=seed,
        )  # fmt: skip
        return dB_transform(future, threshold=-10.0, inverse=True)[0]


def ensembles(
    forecaster: Any, km: float, given: argparse.Namespace
) -> dict[str, tuple[int, Callable[[Any, int], Any]]]:
    """Each ensemble: how many members, and what makes them, (1,M,S,1,H,W), of a window's parts and
    number.
    """
    import torch

    from foreframe.evaluation.member_scores import LAGS, drawn_for
    from foreframe.evaluation.networks import members_of
    from foreframe.forecasting.forecast_options import LAST
    from foreframe.forecasting.matching import match_to
    from foreframe.forecasting.precision import EXACT
    from foreframe.models import Lagged

    scaling, leads = forecaster.scaling, forecaster.window.future

    def steps(parts: Any, window: int) -> Any:
        rain = scaling.to_units(parts.past[0, :, 0]).double().numpy()
        seed = given.seed + window
        future = by_steps(rain, given.members, leads, km, seed)
        return scaling.to_network(torch.from_numpy(future).float())[None, :, :, None]

    def drawn(model: Any, n: int) -> Callable[[Any, int], Any]:
        return lambda parts, window: members_of(
            model, parts, EXACT, drawn_for([window], n, given.seed, scaling.network_bounds)
        )

    own = drawn(forecaster.model, given.members)

    def matched(parts: Any, window: int) -> Any:
        future = own(parts, window)[0]
        return match_to(LAST, future, parts.last.expand(len(future), -1, -1, -1))[None]

    lags = min(LAGS, forecaster.window.past)
    return {
        OURS: (given.members, own),
        MATCHED: (given.members, matched),
        STEPS: (given.members, steps),
        "lagged dense motion": (lags, drawn(Lagged("dense_motion", lags), lags)),
        "lagged optical flow": (lags, drawn(Lagged("optical_flow", lags), lags)),
    }


def scored(forecaster: Any, dataset: Any, km: float, given: argparse.Namespace) -> Found:
    import torch

    from foreframe.data import batches, chosen
    from foreframe.models import parts_of

    leads, each = forecaster.window.future, ensembles(forecaster, km, given)
    rows = {name: Row(n, leads, forecaster.scaling, given.seed) for name, (n, _) in each.items()}
    measured, known, whole = torch.zeros(3, leads)
    windows = chosen(dataset, given.clips)
    for k, clip in zip(windows, batches(dataset, 1, among=windows), strict=True):
        parts = parts_of(clip, forecaster.window, 0)
        futures = {}
        for name, (_, forecast) in each.items():
            began = time.process_time()
            with torch.inference_mode():
                futures[name] = forecast(parts, k)
            rows[name].seconds += time.process_time() - began
        lacking = futures[STEPS].isnan().any(dim=1)
        truth = parts.truth.masked_fill(lacking, torch.nan)
        measured += (~parts.truth.isnan()).sum(dim=(0, 2, 3, 4))
        known += (~truth.isnan()).sum(dim=(0, 2, 3, 4))
        whole += ~middle(truth).isnan().any(dim=4).any(dim=3).any(dim=2)[0]
        for name, X in futures.items():
            rows[name].add(X, truth, k)
    return Found(rows, (known / measured).tolist(), (whole / len(windows)).tolist())


def tell(found: Mapping[str, Found]) -> None:
    leads = len(next(iter(found.values())).share)
    told = [minutes for minutes in TOLD if minutes <= MINUTES * leads]
    columns = [f"+{minutes} min" for minutes in told]

    def cells(values: Sequence[float], form: str) -> list[str]:
        return [figure(values[minutes // MINUTES - 1], form) for minutes in told]

    for of in SCORES:
        cells_of = {
            f"**{name}**, {event}" if name == OURS else f"{name}, {event}": cells(
                one.by_lead(name, of), of.form
            )
            for event, one in found.items()
            for name in one.rows
        }
        table(of.title, columns, cells_of)
    shares = {event: cells(one.share, ".2f") for event, one in found.items()}
    table("share of pixels that STEPS has values for", columns, shares)
    print()
    for event, one in found.items():
        own, rival = one.rows[OURS].by_window(), one.rows[STEPS].by_window()
        ahead = sum(a < b for a, b in zip(own, rival, strict=True))
        took = [f"{name} {figure(row.seconds / len(own))}" for name, row in one.rows.items()]
        print(
            f"- {event}: the members' fair CRPS over all lead times is below that of STEPS in "
            f"{ahead} of {plural(len(own), 'window')}. Seconds of a core a window: "
            f"{', '.join(took)}"
        )


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: the tables are printed, whatever they say."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    option = parser.add_argument
    option("archives", nargs="?", type=Path, metavar="ARCHIVES")
    option("--events", nargs="+", metavar="EVENT", help="by default both of MeteoSwiss")
    option("--forecaster", default="radar", metavar="NAME_OR_FOLDER")
    option("--members", type=positive, default=8, help="of the forecaster and of STEPS")
    option("--clips", type=positive, default=48, help="windows of each event, at most")
    option("--seed", type=int, default=0)
    option("--output", type=Path, help="where rain in mm/h is kept; by default runs/radar-events")
    option("--quick", action="store_true", help="small archives made here: only a try")
    given = parser.parse_args(arguments)
    check_pysteps()
    output = given.output or Path("runs/radar-events-quick" if given.quick else "runs/radar-events")
    archives = made_up(output / "made-up") if given.quick else given.archives
    events, asked = prepared(archives, output), given.events or EVENTS
    if not events:
        leave(f"{output} has no rain yet; name the folder of ARCHIVES")
    if unknown := [event for event in asked if event not in events]:
        leave(f"there is no event {unknown[0]}; choose of {', '.join(events)}")

    from foreframe.evaluation import EvaluateOptions
    from foreframe.evaluation.scored import open_scored
    from foreframe.forecasting.forecast_options import ForecastOptions

    how = grouped(f"{READ} {SMALL_READ}" if given.quick else READ)
    found = {}
    try:
        for event in asked:
            opened = open_scored(
                given.forecaster,
                EvaluateOptions(data=str(without(event, events, output)), **how),
            )
            opened.forecaster.options(ForecastOptions(members=given.members))  # has it members?
            # The archives are 1 km from pixel to pixel.
            km = float(how["reading"]["coarsen"])
            found[event] = scored(opened.forecaster, opened.dataset, km, given)
            print(f"{time.strftime('%H:%M:%S')} {event}", file=sys.stderr)
    except ValueError as error:
        leave(str(error))
    print(
        f"# {plural(given.members, 'member')} of {given.forecaster} and of STEPS, "
        f"{plural(given.clips, 'window')} of each event at most\n\n"
        f"- {machine()}, pysteps {version('pysteps')}; {time.strftime('%Y-%m-%d')}; "
        f"seed {given.seed}"
    )
    tell(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
