"""foreframe ensemble"""

from collections.abc import Sequence

from foreframe.base.shipped import check_forecaster, name_of
from foreframe.base.wording import plural
from foreframe.cli.parser import Parser, call


def join_runs(runs: list[str], *, output: str) -> None:
    """Join several trained runs to an ensemble: foreframe ensemble RUN RUN -o FOLDER

    Its forecast is the mean of theirs; its members are their forecasts.

    Args:
        runs: two or more, as in foreframe predict, trained with the same scaling
        output: new folder for the forecaster, for predict, evaluate and stream
    """
    from pathlib import Path

    from foreframe.base.files import check_new, check_writable

    if len(runs) < 2:
        raise ValueError(f"an ensemble is of 2 runs or more, not {len(runs)}")
    for run in runs:
        check_forecaster(run)
    check_new(output)
    folder = Path(output)
    check_writable(folder.parent)

    from foreframe.forecasting.forecaster import Forecaster, joined

    forecaster = joined([Forecaster.load(run) for run in runs], [name_of(run) for run in runs])
    forecaster.save(folder)
    n = plural(len(runs), "run")
    print(f"the ensemble of {n} lies in {output}; --members {len(runs)} shows each of them")


def parser() -> Parser:
    return Parser("ensemble", join_runs)


def main(arguments: Sequence[str]) -> None:
    call(parser(), join_runs, arguments)
