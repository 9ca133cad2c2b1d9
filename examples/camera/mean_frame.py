"""What a picture of the empty scene would score: the mean of all training frames as every forecast,
on the test windows of a run.

    python examples/camera/mean_frame.py RUN
"""

import sys
from dataclasses import asdict, replace

import torch

from foreframe import Forecaster
from foreframe.data import batches, open_dataset
from foreframe.forecasting.trained import data_of


def main(run: str) -> None:
    forecaster = Forecaster.load(run)
    window = forecaster.window
    data = data_of(forecaster.trained, run, asdict(window))
    # A mirrored scene is another one.
    data = replace(data, splits=replace(data.splits, augment="none"))
    train, test = (open_dataset(data, split, forecaster.scaling) for split in ("train", "test"))
    mean = torch.cat([batch.mean(dim=(0, 1), keepdim=True) for batch in batches(train, 64)]).mean(
        dim=0
    )
    errors = torch.cat(
        [(window.split(batch)[1] - mean).square().sum(dim=(2, 3, 4)) for batch in batches(test, 64)]
    )
    print("mean of all training frames, MSE (openstl) by lead time:")
    print(
        "  ".join(
            f"+{lead} {error:.1f}" for lead, error in enumerate(errors.mean(dim=0).tolist(), 1)
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
