"""Open the forecasters of a comparison on the same clips."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from foreframe.addons.bench.bench_options import BenchOptions
from foreframe.addons.bench.leaderboard import scale_of
from foreframe.clips.scaling import Scaling
from foreframe.clips.units import check_units
from foreframe.data import Recordings
from foreframe.data.datasets import ClipSet, Key, clip_set
from foreframe.evaluation.scored import Scored, open_scored
from foreframe.forecasting.forecast_options import changed
from foreframe.forecasting.forecaster import Forecaster, open_forecaster
from foreframe.forecasting.recordings import check_channels
from foreframe.models import baselines_here
from foreframe.models.names import name_of


def by_name(what: Any, runs: Sequence[Path]) -> dict[str, Any]:
    """Return forecasters, and runs to be trained, by the names of their rows.

    Raises:
        ValueError: two have the same name.
    """
    several = [*(what if isinstance(what, list | tuple | Mapping) else [what]), *runs]
    named = dict(what) if isinstance(what, Mapping) else {}
    for one in several[len(named) :]:
        name = open_forecaster(one)[1] if isinstance(one, Forecaster) else name_of(os.fspath(one))
        if name in named:
            raise ValueError(f"two rows would be called {name}; rename the folder of one")
        named[name] = one
    return named


OTHER_SCALE = (
    "{} and {} scale values differently, and errors without units depend on the scale: score each "
    "in its own folder, or train with the same --scaling"
)


def open_bench(named: Mapping[str, Any], options: BenchOptions) -> list[Scored]:
    """Open the forecasters that `bench` scores. The input of each are the last past frames of the
    same clips, as many as in its training. The first trained forecaster determines the data;
    baselines and forecasts of other programs are scored together with it.

    Raises:
        ValueError: as `evaluate`; forecasters whose errors cannot be compared.
    """
    computed = options.device, options.compile
    loaded = {name: open_forecaster(one, *computed)[0] for name, one in named.items()}
    trained = {name: each for name, each in loaded.items() if not each.free}
    leading = next(iter(trained or loaded), None)
    past = options.given.get("past")
    most = past or max((each.window.past for each in trained.values()), default=None)
    base = open_scored(named[leading] if leading else None, changed(options, {"past": most}))
    others = baselines_here() if options.baselines is None else options.baselines
    others = [name for name in others if name not in named]
    if leading is None:
        return [replace(base, options=replace(options, baselines=others))]
    dataset, window = clip_set(base.dataset), base.forecaster.window
    units, contest = base.forecaster.scaling.units, []
    for name in sorted(named, key=lambda name: name != leading):
        each, leads = loaded[name], name == leading
        own = window if each.free or past else replace(window, past=each.window.past)
        check_channels(each, np.shape(dataset[0])[1], name, dataset.dtype_of(0))
        scaling = base.forecaster.scaling if each.free else each.scaling
        check_units(scaling.units, units, name, "the clips are in")
        scaling = replace(scaling, units=units)
        seen = _later(dataset, window.past - own.past, scaling)
        if isinstance(dataset, Recordings) and not units and scale_of(seen) != scale_of(dataset):
            raise ValueError(OTHER_SCALE.format(name, leading))
        how = replace(
            options,
            members=options.members if each.model.draws else None,
            baselines=others if leads else (),
        )
        began = replace(each.trained, weights="")  # its first weights have no row
        one = Forecaster(each.model, own, scaling, began, match=each.match)
        scored = replace(
            base, what=named[name], forecaster=one, name=name, dataset=seen, options=how
        )
        contest.append(scored if leads else replace(scored, clips=None, others=()))
    if options.members and not any(each.options.members for each in contest):
        raise ValueError("no forecaster here draws members: omit --members")
    return contest


def _later(dataset: ClipSet, skip: int, scaling: Scaling) -> ClipSet:
    """Return the clips without their first `skip` frames; recordings also change `scaling`."""
    if isinstance(dataset, Recordings):
        return dataset.later(skip, scaling)
    return LaterFrames(dataset, skip) if skip else dataset


class LaterFrames(ClipSet):
    """Clips without their first `skip` frames."""

    def __init__(self, of: ClipSet, skip: int) -> None:
        self.of, self.skip = of, skip
        self.name, self.scaling, self.bounded = of.name, of.scaling, of.bounded
        self.ordered, self.inputs = of.ordered, of.inputs

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, key: Any) -> Any:
        return self.of[key][self.skip :]

    def dtype_of(self, index: int) -> np.dtype:
        return self.of.dtype_of(index)

    def batch(self, keys: Sequence[Key]) -> Float[Tensor, "b t c h w"]:
        return self.of.batch(keys)[:, self.skip :]
