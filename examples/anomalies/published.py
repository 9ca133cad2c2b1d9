"""The published data sets as they are distributed, and `foreframe anomalies` scored on them:

    python -m examples.anomalies.published ped2 UCSD_Anomaly_Dataset.v1p2/UCSDped2
    python -m examples.anomalies.published avenue "Avenue Dataset" --labels testing_label_mask

UCSD Ped2 (Mahadevan et al. 2010): folders of .tif, the masks of TestNNN in TestNNN_gt as .bmp.
CUHK Avenue (Lu et al. 2013): .avi films, the masks of each in N_label.mat. Liu et al. 2018 report
an AUC of 95.4 and 85.1, over frames of all films whose scores were brought to 0 to 1 in each.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import foreframe
from examples.anomalies.compare import PICTURES
from examples.anomalies.ranks import auc, average_precision
from foreframe.addons.anomalies.watching import WARM_UP, Watch
from foreframe.clips.clip import Clip


@dataclass(frozen=True)
class Published:
    """A data set.

    Args:
        train: films of normal footage.
        test: films with events.
        unusual: of a film of `test`, by its number, whether each frame is of an event, (T,) bool.
    """

    train: list[Path]
    test: list[Path]
    unusual: Callable[[int], np.ndarray]


def ped2(folder: Path) -> Published:
    """UCSD Ped2, or Ped1.

    Raises:
        ValueError: not the folders of that data set.
    """
    films = {
        split: sorted(p for p in (folder / split).glob(f"{split}[0-9][0-9][0-9]") if p.is_dir())
        for split in ("Train", "Test")
    }
    masks = [path.with_name(f"{path.name}_gt") for path in films["Test"]]
    if not (films["Train"] and films["Test"] and all(path.is_dir() for path in masks)):
        raise ValueError(f"{folder} holds no Train/Train001, Test/Test001 and Test/Test001_gt")

    def unusual(number: int) -> np.ndarray:
        from PIL import Image

        pictures = sorted(masks[number].glob("*.bmp"))
        return np.array([np.asarray(Image.open(path)).any() for path in pictures])

    return Published(films["Train"], films["Test"], unusual)


def avenue(folder: Path, labels: Path) -> Published:
    """CUHK Avenue; `labels` is the folder of its pixel masks, which are a file of their own.

    Raises:
        ValueError: not the folders of that data set.
    """
    train = sorted((folder / "training_videos").glob("*.avi"))
    test = sorted((folder / "testing_videos").glob("*.avi"))
    masks = [labels / f"{int(path.stem)}_label.mat" for path in test]
    if not (train and test and all(path.is_file() for path in masks)):
        raise ValueError(
            f"{folder} holds no training_videos and testing_videos, or {labels} no 1_label.mat"
        )

    def unusual(number: int) -> np.ndarray:
        from scipy.io import loadmat

        volumes = loadmat(masks[number])["volLabel"].ravel()
        return np.array([np.asarray(mask).any() for mask in volumes])

    return Published(train, test, unusual)


def watched(data: Published, watch: Watch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and labels of each test film, after all normal footage."""
    for path in data.train:
        _look(watch, path)
    for number, path in enumerate(data.test):
        scores, unusual = _look(watch, path), data.unusual(number)
        if len(scores) != len(unusual):
            raise ValueError(f"{path}: {len(scores)} frames, but masks of {len(unusual)}")
        yield scores[WARM_UP:], unusual[WARM_UP:]


def _look(watch: Watch, path: Path) -> np.ndarray:
    clip: Clip = foreframe.clips_from(str(path), colour="grey", cuts=False)[0]
    watch.begin()
    return np.array([watch.look(clip.frames[k : k + 1][0])[0] for k in range(len(clip))])


def table(films: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """AUC and average precision by film, over all, and over all with scores of 0 to 1 by film."""
    scaled = [((s - s.min()) / max(1e-9, np.ptp(s)), y) for s, y in films]
    lines = []
    for name, measure in (("AUC", auc), ("average precision", average_precision)):
        over_all = [
            measure(*(np.concatenate(parts) for parts in zip(*each, strict=True)))
            for each in (films, scaled)
        ]
        mean = np.nanmean([measure(s, y) for s, y in films if y.any() and not y.all()])
        lines.append(
            f"{name}: {100 * over_all[1]:.1f} normalised by film, as papers do; "
            f"{100 * over_all[0]:.1f} not; {100 * mean:.1f} in the mean of films"
        )
    return "\n".join(lines)


def main() -> None:
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", choices=["ped2", "avenue"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=Path, help="the folder of Avenue's masks")
    parser.add_argument("--weights", default="scenes")
    asked = parser.parse_args()
    if asked.name == "avenue":
        data = avenue(asked.folder, asked.labels or asked.folder / "testing_label_mask")
    else:
        data = ped2(asked.folder)
    print(table(list(watched(data, Watch(foreframe.Forecaster.load(asked.weights), PICTURES)))))


if __name__ == "__main__":
    main()
