"""LPIPS, the distance of pictures as a network of classification sees them; torchmetrics has it."""

import torch

from foreframe.base.extras import needed
from foreframe.evaluation.metrics.pair import Pair, PerFrame
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import ratio, whole_frames


def lpips(net: str, channels: int, side: int) -> Score:
    """LPIPS (Zhang, Isola, Efros, Shechtman & Wang 2018, CVPR), the mean over frames without a
    missing value; 0 is perfect. The forecast is clipped to [0,1]; a grey picture has three equal
    channels.

    Args:
        net: "alex" or "vgg", whose weights torchvision downloads once.
        channels, side: of the frames; their shorter side in pixels.

    Raises:
        ValueError: torchvision or torchmetrics is missing, the weights cannot be downloaded, or
            frames are no pictures, or too small.
    """
    if channels not in (1, 3) or side < 32:  # AlexNet has nothing left of smaller pictures
        raise ValueError("lpips is of films: 1 or 3 channels, and 32 pixels or more a side")
    needed("torchvision", "lpips", f"lpips {net}")
    module = needed("torchmetrics.image.lpip", "lpips", f"lpips {net}")
    try:
        network = module.LearnedPerceptualImagePatchSimilarity(net).net
    except OSError as error:
        raise ValueError(f"lpips {net}: its weights cannot be downloaded ({error})") from error

    def distance(pair: Pair) -> PerFrame:
        network.to(pair.P.device)
        P, Y = (X.expand(-1, -1, 3, -1, -1).flatten(0, 1) for X in (pair.clipped.P, pair.Y))
        # One by one: the maps of a large frame fill the memory.
        each = [network(*two, normalize=True) for two in zip(P.split(1), Y.split(1), strict=True)]
        of_frames = torch.stack(each).view(pair.P.shape[:2])
        return of_frames.where(pair.of(whole_frames) > 0, 0)

    return Score(ratio, distance, whole_frames)
