"""Moving objects as a layer of their own in front of a background that the past shows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from foreframe.addons.films.camera import affine, continued, path_of, stabilised
from foreframe.forecasting.matches import Match
from foreframe.models.interface import (
    Future,
    Model,
    Past,
    State,
    part_of,
    push_ring,
    with_prefix,
)
from foreframe.models.motion import (
    Field,
    advected,
    blurred,
    exactly,
    motion_of,
    pixels,
    residuals,
    sampled,
)  # fmt: skip
from foreframe.models.noise import Noise

Map = Float[Tensor, "b 1 h w"]
Frame = Float[Tensor, "b c h w"]

KEPT, PAIRS = 10, 4  # frames that a state keeps, and pairs of frames that motion is found from
OUTLIER = 0.03  # residual at which a pixel is taken as unexplained, as a share of the range
LENIENCE = 0.1, 0.4  # for motion against rest, where a pixel is as usual and where it differs
SLOWEST = 0.02  # pixels a frame
DEVIATES = 0.02, 0.06  # from the background, as a share of the range: where the object begins
SMOOTH = 6.0  # pixels: motion within an object
FAR = slice(5, 9)  # lags that motion was not found from, which judge whether it lasts
FRONT = 3.0  # per pixel a frame: which of two objects that meet is in front, by their motion
LEAST = 0.75  # share of the speed that is left after a frame, if it did not last
CHECKS = 1, 5  # past frames that a hindcast forecasts from the frames before
NOISE = 0.004  # of a hindcast, as a share of the range: a grey level
TOLERANCE = 1.4  # of the hindcasts' squared error, relative to that at rest or of fading
JUMP = 4.0  # times the largest squared change of a step before: frames that differ more are a cut
ANY_WAY = 0.3  # of a member's motion, whatever the direction of its objects
LAYERS = "layers/"


class LayeredMotion(Model):
    """Objects that move on with their shape and contrast, in front of the background.

    0. If an affine motion explains most of the frame, the camera moves: past frames are shown from
       its place at the last one, and the forecast goes on as the camera did.
    1. Motion V of the last frame as in `DenseMotion`. A pixel may move if V explains the frames
       before about as well as rest does. If it differs from their median, less suffices.
    2. Background: the mean of those past frames in which no moving pixel covers it. Objects are
       pixels that may move and differ from it; if no past frame shows it, all that may move.
    3. V is averaged over neighbouring pixels of objects. It slows down if it does not explain the
       frames 6 to 9 before the last: the speed is multiplied by 0.75 to 1 each frame. All this is
       found on frames of at most 400 pixels a side.
    4. Objects are moved forward, mask and appearance together, by one bicubic interpolation of the
       last frame. If two meet, one is in front, by the direction of its motion. They uncover the
       background. If the past does not show it, the last frame is moved as in `DenseMotion`.

    Forecasts are as sharp as the last frame. Any number of channels; the motion is that of their
    mean. No parameters. In frames with a side below 8 pixels nothing moves.
    """

    sized = True

    def __init__(self) -> None:
        super().__init__()
        self.channels = None  # any

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last frames, and how many of them were seen."""
        return push_ring(past, state, KEPT)

    def begin(self, state: State) -> State:
        frames, seen = state["frames"].float(), state["frames_seen"]
        with exactly(frames):
            path, moves = path_of(frames.mean(dim=2), seen)
            moves = moves.view(-1, 1)
            if moves.is_meta or moves.any():
                frames = stabilised(frames, path * moves.unsqueeze(2))
            layers = _layers(frames, seen)
        camera = {"camera": continued(path, seen) * moves, "moves": moves, "lead": 0 * seen}
        return layers | camera

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 c h w"], State]:
        V, frame, mask = state["V"], state["frame"], state["mask"]
        with exactly(frame):
            x, travelled = pixels(V), 1 + state["lasts"] * state["travelled"]
            D = V * travelled
            weight = state["front"] * (mask > 0.5) + 1e-6 * mask  # not by faint edges
            landed = _splatted(torch.cat([weight * D, weight, mask], dim=1), x + D)
            near = blurred(landed, 1.0)  # closes gaps where an object grows
            sparse = landed[:, 3:] < 0.3
            back = _mean(near[:, :3]).where(sparse, _mean(landed[:, :3]))
            moved = sampled(mask, x - back) * ((near[:, 3:] - 0.15) * 3).clamp(0, 1)
            dense = {"frame": frame, "V": state["dense"], "D": state["D"]}
            carried, dense = advected(dense)
            behind = state["behind"] + state["unknown"] * carried[:, 0]
            future = moved * _cubic(frame, x - back) + (1 - moved) * behind
            lead = state["lead"] + 1
            view = affine(lead[:, None] * state["camera"], x.expand(len(V), -1, -1, -1))
            future = _cubic(future, x - view).where(state["moves"][..., None, None], future)
        stepped = {"travelled": travelled, "D": dense["D"], "lead": lead}
        return future.unsqueeze(1), state | stepped


class Layered(Model):
    """Layered motion for clips that it suits; another model's forecast for all others.

    Layers suit a clip if they forecast its last frame and its last five frames from the earlier
    ones. Their squared error E must be at most 1.4 times that of a frame at rest, of a frame that
    fades on, and what frames changed before, which excludes cuts. They need six past frames. If
    the other model draws members, each is moved by

        V + √E (z_1 V + z_2 V⊥ + 0.3 |V| (z_3, z_4)),

    where |V| is the mean speed of the objects, and by the camera's motion times 1 + √E z_5. All z
    are normal.

    Args:
        plain: the other model.
    """

    def __init__(self, plain: Model) -> None:
        super().__init__()
        self.plain, self.layers = plain, LayeredMotion()
        self.noise = Noise(whole=5)
        self.channels, self.horizon, self.stride = plain.channels, plain.horizon, plain.stride
        self.draws, self.reduces, self.sized = plain.draws, plain.reduces, True

    def stride_in(self, size: Sequence[int]) -> int:
        return self.plain.stride_in(size)

    def encode(self, past: Past, state: State | None = None) -> State:
        before = None if state is None else part_of(state, LAYERS)
        layers = self.layers.encode(past, before)
        return self.plain.encode(past, state) | with_prefix(LAYERS, layers)

    def exogenous(self, state: State, steps: int) -> State:
        plain = _without_layers(state)
        entering = self.plain.exogenous(plain, steps) if _some_plain(state) else {}
        return entering | self._drawn(state)

    def _drawn(self, state: State) -> State:
        """z of each member."""
        return {"z": self.noise(state, (1, 1))[:, 0]} if "key" in state else {}

    def precompute(self, state: State, steps: int) -> State:
        """The layers, and what members of the other model share, as far as the clips need them."""
        shared = self._layered(state)
        plain = _without_layers(state)
        return shared | (self.plain.precompute(plain, steps) if _some_plain(shared) else {})

    def begin(self, state: State) -> State:
        begun = self._layered(state)
        plain = _without_layers(state)
        return begun | (self.plain.begin(plain) if _some_plain(begun) else {})

    def rollout(self, state: State, steps: int) -> tuple[Future, State]:
        """Each model by its own, which bounds memory."""
        begun = self._layered(state | self._drawn(state))
        chosen, plain = {"error": begun["error"]}, _some_plain(begun)
        made = []
        if layers := part_of(begun, LAYERS):
            made.append(self.layers.advance(layers, steps, last=True)[0])
        del begun, layers
        if plain:
            made.append(self.plain.rollout(_without_layers(state), steps)[0])
        return _chosen(chosen, made), {}

    def _layered(self, state: State) -> State:
        """The error of hindcasts, and the layers, unless no clip needs them; of members moved by
        their own motion.
        """
        layers = part_of(state, LAYERS)
        if "error" not in state:
            error = self.hindcast_error(layers)
            layers = self.layers.begin(layers) if error.is_meta or _suits(error).any() else {}
        else:
            error = state["error"]
        if layers and "z" in state:
            layers |= _perturbed(layers, error, state["z"])
        return {"error": error} | with_prefix(LAYERS, layers)

    def hindcast_error(self, state: State) -> Float[Tensor, " b"]:
        """The squared error of hindcasts by layers, relative to that at rest or of fading, of grey
        frames of moderate size; infinite for fewer than six frames.
        """
        frames, seen = state["frames"].float().mean(dim=2), state["frames_seen"]
        if frames.is_meta:  # memory is measured, and the layers take more
            return seen.float()
        grey = _reduced(frames).unsqueeze(2)
        ratios = []
        for steps in CHECKS:
            past, truth = grey[:, :-steps], grey[:, -steps:]
            known = self.layers.encode(past) | {"frames_seen": (seen - steps).clamp(min=1)}
            lead = torch.arange(1, steps + 1, device=seen.device).view(-1, 1, 1, 1)
            fading = past[:, -1:] + lead * (past[:, -1:] - past[:, -5:-4]) / 4
            hindcasts = self.layers.decode(known, steps), past[:, -1:], fading
            by_layers, *others = (
                (hindcast - truth).square().mean(dim=(1, 2, 3, 4)) for hindcast in hindcasts
            )
            changes = past.diff(dim=1).square().mean(dim=(2, 3, 4))
            others.append(steps**2 * JUMP * changes.amax(dim=1))
            least = torch.stack(others).amin(dim=0)
            ratios.append((by_layers - NOISE**2) / (least + NOISE**2))
        return torch.stack(ratios).mean(dim=0).where(seen > max(CHECKS), torch.inf)

    def advance(self, state: State, steps: int, last: bool = False) -> tuple[Future, State]:
        if "error" not in state:
            return self.plain.advance(state, steps, last)
        made, after = [], {"error": state["error"]}
        if layers := part_of(state, LAYERS):
            frames, layers = self.layers.advance(layers, steps, last)
            made.append(frames)
            after |= with_prefix(LAYERS, layers)
        if _some_plain(state):
            frames, plain = self.plain.advance(_without_layers(state), steps, last)
            made.append(frames)
            after |= plain
        return _chosen(state, made), after

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        return self.advance(state, self.horizon, last)


MATCH = Match("in layers", "objects moved as layers", model=Layered, inputs=False)


def _suits(error: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
    return error <= TOLERANCE


def _some_plain(state: State) -> bool:
    """Whether some clip needs the other model."""
    error = state.get("error")
    return error is None or error.is_meta or not bool(_suits(error).all())


def _chosen(state: State, made: list[Future]) -> Future:
    """The forecast by layers where they suit a clip, else the last."""
    suits = _suits(state["error"]).view(-1, 1, 1, 1, 1)
    return made[0].where(suits, made[-1].to(made[0].dtype))


def _without_layers(state: State) -> State:
    """The state of the other model."""
    own = "error", "z"
    return {n: value for n, value in state.items() if n not in own and not n.startswith(LAYERS)}


def _perturbed(layers: State, error: Float[Tensor, " b"], z: Float[Tensor, "b 5 1 1"]) -> State:
    """The motion of a member's objects and camera: see `Layered`."""
    V, mask = layers["V"], layers["mask"]
    size = error.clamp(0, TOLERANCE).sqrt().view(-1, 1, 1, 1)
    squares = (mask * V.square().sum(dim=1, keepdim=True)).sum(dim=(2, 3), keepdim=True)
    speed = (squares / mask.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)).sqrt()
    across = torch.cat([-V[:, 1:], V[:, :1]], dim=1)
    moved = z[:, :1] * V + z[:, 1:2] * across + ANY_WAY * speed * z[:, 2:4]
    camera = layers["camera"] * (1 + size * z[:, 4:])[..., 0, 0]
    return {"V": V + size * moved, "camera": camera}


def _layers(frames: Float[Tensor, "b k c h w"], seen: Float[Tensor, " b"]) -> State:
    """Objects, their motion and what is behind them, at the last frame."""
    frame, few = frames[:, -1], _reduction(frames)
    small = _reduced(frames.flatten(1, 2)).unflatten(1, frames.shape[1:3])
    grey = small.mean(dim=2)
    V = motion_of(grey[:, -1 - PAIRS :], seen.clamp(max=1 + PAIRS), PAIRS)
    rest, along = (residuals(grey, seen, field) for field in (0 * V, V))
    near, far = slice(0, PAIRS), FAR
    trust, energy = _explained(rest[:, near], along[:, near], 4.0)
    lasting, _ = _explained(rest[:, far], along[:, far], 6.0)
    advantage = _unexplained(rest) - _unexplained(along)
    advantage = blurred(advantage, 1.0) + _widely(advantage, 3.0) / 2
    dense = V * trust
    speed = dense.square().sum(dim=1, keepdim=True).sqrt()
    free = ((speed - SLOWEST) / SLOWEST).clamp(0, 1)
    unusual = _differs(small[:, -1], small.median(dim=1).values)
    advantage = advantage + LENIENCE[0] + (LENIENCE[1] - LENIENCE[0]) * unusual
    mobile = torch.sigmoid(20 * advantage) * free
    weight = mobile * energy.sqrt() * trust
    dense, mobile, weight, lasting = (
        _enlarged(each, frame) for each in (few * dense, mobile, weight, lasting)
    )
    background, known = _background(frames, seen, mobile, _within(dense, weight))
    differs = _differs(frame, background)
    mask = (blurred(known * differs + (1 - known) * mobile, 0.8) * 1.5).clamp(0, 1)
    mask = mask * ((_widely(mobile, 3.0) - 0.05) * 5).clamp(0, 1)
    weight = weight * mask
    lasts = LEAST + (1 - LEAST) * lasting
    weight = weight + 1e-7
    lasts = _widely(weight * lasts, 8.0) / _widely(weight, 8.0)
    filled, known = _filled(background, known)
    V = _within(dense, weight)
    return {
        "frame": frame,
        "V": V,
        # Two objects that meet would be torn if their motions were averaged: one is in front.
        "front": (FRONT * (V[:, :1] + V[:, 1:] / 2)).clamp(-12, 12).exp(),
        "lasts": lasts,
        "travelled": torch.zeros_like(lasts),
        "mask": mask,
        "behind": mask * known * filled + (1 - mask) * frame,
        "unknown": mask * (1 - known),
        "dense": dense,
        "D": torch.zeros_like(dense),
    }


def _differs(frame: Frame, background: Frame) -> Map:
    off = (frame - background).abs().mean(dim=1, keepdim=True)
    return ((off - DEVIATES[0]) / (DEVIATES[1] - DEVIATES[0])).clamp(0, 1)


def _explained(
    rest: Float[Tensor, "b j h w"], along: Float[Tensor, "b j h w"], sigma: float
) -> tuple[Map, Map]:
    """Trust in the motion as in `DenseMotion`, and the squared residuals of rest."""
    E_0, E_V = (_widely(r.square().sum(dim=1, keepdim=True), sigma) for r in (rest, along))
    return (2 * (1 - E_V / (E_0 + 1e-5))).clamp(0, 1), E_0


def _unexplained(residual: Float[Tensor, "b j h w"]) -> Map:
    """The share of the last six pairs in which a pixel is an outlier."""
    squares = residual[:, :6].square()
    return (squares / (squares + OUTLIER**2)).mean(dim=1, keepdim=True)


def _within(V: Field, weight: Map) -> Field:
    """The mean motion of an object's pixels nearby; further away of all that move."""
    sums = torch.cat([(weight + 1e-7) * V, weight + 1e-7], dim=1)
    return _mean(_widely(sums, SMOOTH) + 0.02 * _widely(sums, 3 * SMOOTH))


def _widely(values: Float[Tensor, "b n h w"], sigma: float) -> Float[Tensor, "b n h w"]:
    """As `blurred`, computed on reduced frames if they are large."""
    few = _reduction(values)
    return _enlarged(blurred(_reduced(values), sigma / few), values)


def _reduction(values: Tensor) -> int:
    return -(-max(values.shape[-2:]) // 400)


def _reduced(values: Float[Tensor, "b n h w"]) -> Float[Tensor, "b n _ _"]:
    few = _reduction(values)
    return values if few == 1 else F.avg_pool2d(values, few, ceil_mode=True)


def _enlarged(reduced: Float[Tensor, "b n _ _"], like: Tensor) -> Float[Tensor, "b n h w"]:
    size = like.shape[-2:]
    if reduced.shape[-2:] == size:
        return reduced
    return F.interpolate(reduced, size, mode="bilinear", align_corners=False)


def _mean(sums: Float[Tensor, "b 3 h w"]) -> Field:
    return sums[:, :2] / sums[:, 2:].clamp(min=1e-12)


def _background(
    frames: Float[Tensor, "b k c h w"], seen: Float[Tensor, " b"], mobile: Map, V: Field
) -> tuple[Frame, Map]:
    """The mean of past frames without what moves, and how well they show it, 0 to 1."""
    few, k = _reduction(mobile), frames.shape[1]
    small, step = _reduced(mobile), _reduced(V) / few
    open_ = []
    for lag in range(1, k):
        cover = blurred(_splatted(small, pixels(step) - lag * step), 2 / few) * 2.5
        real = (seen > lag).to(V).view(-1, 1, 1, 1)
        open_.append((1 - _enlarged(cover, mobile)).clamp(0, 1) * real)
    before, total = frames.unbind(dim=1)[-2::-1], torch.stack(open_, dim=1).sum(dim=1)
    background = torch.zeros_like(frames[:, 0])
    for outliers in (False, True, True):  # outliers count less
        sums, mass = torch.zeros_like(background), torch.full_like(total, 1e-6)
        for past, weight in zip(before, open_, strict=True):
            if outliers:
                off = (past - background).abs().mean(dim=1, keepdim=True)
                weight = weight / (1 + (off / 0.05).square())
            sums, mass = sums + weight * past, mass + weight
        background = sums / mass
    return background, ((total - 0.3) / 0.7).clamp(0, 1)


def _filled(background: Frame, known: Map) -> tuple[Frame, Map]:
    """The background, continued over a few pixels into places that no frame shows."""
    near = _widely(torch.cat([background * known, known], dim=1), 3.0)
    continued = near[:, :-1] / (near[:, -1:] + 1e-6)
    filled = known * background + (1 - known) * continued
    return filled, known.maximum((2 * near[:, -1:]).clamp(0, 1))


def _splatted(values: Float[Tensor, "b n h w"], places: Field) -> Float[Tensor, "b n h w"]:
    """Each value added to the four pixels around its place, by bilinear weights."""
    b, n, h, w = values.shape
    corner = places.floor()
    out, flat = values.new_zeros(b, n, h * w), values.flatten(2)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = corner[:, 0] + right, corner[:, 1] + down
        near = (1 - (places[:, 0] - column).abs()) * (1 - (places[:, 1] - row).abs())
        near = near * ((column >= 0) & (column < w) & (row >= 0) & (row < h))
        index = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)
        index = index.long().flatten(1).unsqueeze(1).expand(b, n, h * w)
        out = out.scatter_add(2, index, flat * near.flatten(1).unsqueeze(1))
    return out.view(b, n, h, w)


def _cubic(frame: Frame, places: Field) -> Frame:
    """As `sampled`, by bicubic interpolation, within the frame's values."""
    h, w = frame.shape[-2:]
    grid = torch.stack([(2 * places[:, 0] + 1) / w - 1, (2 * places[:, 1] + 1) / h - 1], dim=-1)
    values = F.grid_sample(frame, grid, mode="bicubic", padding_mode="border", align_corners=False)
    low, high = frame.amin(dim=(2, 3), keepdim=True), frame.amax(dim=(2, 3), keepdim=True)
    return values.clamp(low, high)
