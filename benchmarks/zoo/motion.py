"""Trains the motion network of `sprites` on simulated trajectories of Moving MNIST.

    OMP_NUM_THREADS=1 python benchmarks/zoo/motion.py OUT --digits mnist_train.npz

The networks that find sprites come from the weights and are not trained. They find the sprites in
some training clips, whose true positions are known. For each sprite the script stores the
probabilities around the true place: the error of the encoder. A step draws trajectories from the
generator's rule and adds these errors to them. In a share of the trajectories most frames and
centres of mass are exact, as after the corrections of a forecast. The loss is the cross-entropy of
the true places, past and future.

`foreframe evaluate OUT` scores the result, and `--weights OUT` continues from it.
"""

import argparse
import sys

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from learning import Loss, learn, loaded, options_of
from torch import Tensor, nn

import foreframe
from foreframe.addons.zoo import sprites

PAST = 10
SURE = 0.05  # with less probability inside the range, a frame is exact
LOST = 7  # wrong frames of ten: with more, the sprite's error is not used
CORRECTED = 0.65  # share of trajectories with the errors of a corrected past:
EXACT, CENTRED = 0.8, 0.85  # share of their frames, and of their centres, that are made exact

Sprite = tuple[
    Float[Tensor, "n 2 t p"], Float[Tensor, "n 2"]
]  # places, and what is left of centres
Truth = Int[Tensor, "n 2 t"]


class Trajectories:
    """Simulated places with the encoder's errors, and the true places, past and future."""

    def __init__(self, model: sprites.Sprites, digits: str, clips: int, seed: int) -> None:
        self.places, self.random = model.places.count, np.random.default_rng(seed)
        self.least = model.size // 8 - (model.size - 28) // 2  # of a digit's window, in places
        self.rule = foreframe.MovingMNIST(count=1)
        films = foreframe.MovingMNIST(digits=digits, clips=clips)
        each = [self._errors(model, films, [*range(a, a + 32)]) for a in range(0, clips - 31, 32)]
        self.errors, self.shift, self.rest = (torch.cat(part) for part in zip(*each, strict=True))
        print(f"{len(self.errors):,} sprites of {2 * clips:,}", flush=True)

    def _errors(
        self, model: sprites.Sprites, films: foreframe.MovingMNIST, keys: list[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return, for each sprite in these clips, the probabilities around its true places, the
        constant shift of its places, and the fraction of a pixel of its centre of mass.
        """
        randoms, _ = films._keys(keys)
        true = torch.from_numpy(np.stack(films.positions(randoms), axis=2))[..., :PAST] + self.least
        frames = films.batch(keys)[:, :PAST]
        with torch.no_grad():
            state = model.precompute(model.encode(frames), PAST)
        at = sprites.windows(state["past"], model.side, model.size)
        x = sprites.cut(at, frames.transpose(1, 2).unsqueeze(1))
        centre = sprites.centre_of_mass(x, state["pictures"])
        where = sprites.moved(state["past"].clamp(min=1e-9).log(), centre.round()).softmax(dim=-1)
        found = where.argmax(dim=-1)
        apart = (found[:, :, None] - true[:, None]).abs().clamp(max=6).sum(dim=(-2, -1))
        crossed = apart[:, 0, 1] + apart[:, 1, 0] < apart[:, 0, 0] + apart[:, 1, 1]
        true = torch.where(crossed[:, None, None, None], true.flip(1), true)
        shift = (found - true).mode(dim=-1).values
        wrong = (found - true - shift[..., None] != 0).sum(dim=-1)
        fine = ((shift.abs() <= 3) & (wrong <= LOST)).all(dim=-1)
        index = torch.arange(2 * self.places - 1) - (self.places - 1) + true[..., None]
        inside = (index >= 0) & (index < self.places)
        about = where.gather(-1, index.clamp(0, self.places - 1)) * inside
        return about[fine].half(), shift[fine], (centre - centre.round())[fine]

    def draw(self, n: int) -> tuple[Sprite, Truth]:
        keys = self.random.integers(-(2**63), 2**63 - 1, n)
        true = torch.from_numpy(np.concatenate(self.rule.positions(keys), axis=1)) + self.least
        chosen = torch.from_numpy(self.random.integers(0, len(self.errors), n))
        corrected = torch.rand(n, 1) < CORRECTED
        centred = corrected & (torch.rand(n, 2) < CENTRED) & (self.shift[chosen] != 0)
        shift = self.shift[chosen].where(~centred, torch.tensor(0))
        rest = self.rest[chosen].where(~centred, torch.rand(n, 2) - 0.5)
        target = (true + shift[..., None]).clamp(0, self.places - 1)
        sure = F.one_hot(target[..., :PAST], self.places).float()
        start = true[..., :PAST] + (shift - self.shift[chosen])[..., None]
        index = torch.arange(self.places) - start[..., None] + self.places - 1
        inside = (index >= 0) & (index < self.errors.shape[-1])
        p = self.errors[chosen].gather(-1, index.clamp(0, self.errors.shape[-1] - 1)) * inside
        total = p.float().sum(dim=-1, keepdim=True)
        p = (p / total.clamp(min=1e-6)).where(total > SURE, sure)
        exact = corrected[..., None, None] & (torch.rand(n, 1, PAST, 1) < EXACT)
        return (sure.where(exact, p), rest), target


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--batch", type=int, default=1024, help="trajectories per step")
    parser.add_argument(
        "--clips", type=int, default=6000, help="training clips in which sprites are found"
    )
    parser.add_argument(
        "--keep", action="store_true", help="continue from the motion network of the weights"
    )
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    forecaster, model = loaded(options.weights)
    motion = model.motion
    trajectories = found(model, options)
    if options.keep:
        model.motion = motion
    else:
        torch.nn.init.normal_(model.motion.last.weight, std=0.01)

    def loss_of(network: nn.Module) -> Loss:
        p, true = trajectories.draw(options.batch)
        made = network(*p)
        loss = F.cross_entropy(made.flatten(0, -2), true.flatten())
        right = (made[..., PAST:, :].argmax(dim=-1) == true[..., PAST:]).float().mean()
        return loss, (loss.item(), right.item())  # nats, and the share of exact future places

    learn(forecaster, "motion", loss_of, options)
    return 0


def found(model: sprites.Sprites, options: argparse.Namespace) -> Trajectories:
    """Trajectories with the errors of the places that the encoder alone finds: the motion network
    is a new one of zeros, which leaves them as they are, and nothing is corrected.
    """
    model.motion = sprites._Motion(PAST, model.places.count, model.args["hidden"])
    torch.nn.init.zeros_(model.motion.last.weight)
    torch.nn.init.zeros_(model.motion.last.bias)
    number, rounds = model.sprites, sprites.CORRECTING
    model.sprites, sprites.CORRECTING = 2, 0  # as many as these clips have digits
    trajectories = Trajectories(model, options.digits, options.clips, options.seed)
    model.sprites, sprites.CORRECTING = number, rounds
    return trajectories


if __name__ == "__main__":
    sys.exit(main())
