"""Dense optical flow by OpenCV, and the last frame moved along it: the baseline of nowcasting."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.extras import needed
from foreframe.models.checks import within
from foreframe.models.interface import Model, State, push_ring
from foreframe.models.motion import NARROW, Field, advected, moving


class OpticalFlow(Model):
    """The last frame, moved on along the motion of the last frames, which differs from place to
    place.

    1. Motion V(x): polynomial expansion (Farneback 2003, SCIA) by OpenCV, in a pyramid of 3 levels,
       between neighbours of the last `pairs` + 1 frames; the mean over those pairs, weighted by
       brightness and by a Gaussian of 4 px, so that empty places move with what is around them.
    2. Semi-Lagrangian advection (`motion.advected`), as in pysteps. V is constant.

    Outside the frame is the nearest value of its edge, which on radar is much better than zero. In
    frames with a side below 8 pixels nothing moves. Any number of channels; the motion is that of
    their mean. No parameters, and no gradient through the motion.

    OpenCV's other dense method, inverse search (DIS), is as good on radar, but crashes Python on
    long, narrow frames.

    Args:
        pairs: number of the last pairs of frames that the motion is averaged over; fewer where
            fewer were seen.

    Raises:
        ValueError: pairs below 1 or above 1000; in a forecast, where OpenCV is missing.
    """

    def __init__(self, pairs: int = 3) -> None:
        super().__init__()
        within(1, 1000, pairs=pairs)
        self.pairs = pairs

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last `pairs` + 1 frames, and how many of them were seen."""
        return push_ring(past, state, self.pairs + 1)

    def exogenous(self, state: State, steps: int) -> State:
        return {"motion": _motion(state["frames"], state["frames_seen"])}

    def begin(self, state: State) -> State:
        return {"frame": state["frames"][:, -1]} | moving(state["motion"])

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 c h w"], State]:
        return advected(state)


def _motion(frames: Float[Tensor, "b k c h w"], seen: Float[Tensor, " b"]) -> Field:
    """The mean motion of each clip in pixels a frame, from the pairs that were seen."""
    b, k, c, h, w = frames.shape
    V = torch.zeros(b, 2, h, w, device=frames.device)
    # On the meta device there are no values.
    if frames.is_meta or min(h, w) < NARROW:
        return V
    grey = frames.detach().float().mean(dim=2).clamp(0, 1).cpu().numpy()
    moved = [_flow(clip[-int(n) :]) for clip, n in zip(grey, seen.tolist(), strict=True)]
    return torch.from_numpy(np.stack(moved)).to(V)


def _flow(frames: np.ndarray) -> np.ndarray:
    """Frames (K,H,W) in [0,1] -> their mean motion (2,H,W); zero for a single frame."""
    cv2 = needed("cv2", "flow", "optical_flow")  # OpenCV
    # Scale and levels; window and iterations; neighbours and their sigma.
    pyramid, area, expansion = (0.5, 3), (15, 3), (5, 1.2)
    bytes_ = np.rint(frames * 255).astype(np.uint8)
    h, w = frames.shape[1:]
    total, weights = np.zeros((h, w, 2), np.float32), np.full((h, w, 1), 1e-9, np.float32)
    for k in range(len(frames) - 1):
        V = cv2.calcOpticalFlowFarneback(
            bytes_[k], bytes_[k + 1], None, *pyramid, *area, *expansion, 0
        )
        # Above 0, since the surroundings may be dark everywhere.
        seen = np.maximum(frames[k], frames[k + 1])[..., None] + 0.02
        total += cv2.GaussianBlur(seen * V, (0, 0), 4.0)
        weights += cv2.GaussianBlur(seen, (0, 0), 4.0)[..., None]
    return (total / weights).transpose(2, 0, 1)
