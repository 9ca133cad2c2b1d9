"""Trains the network of `sprites` that draws a sprite's picture at last, on true digits.

    OMP_NUM_THREADS=1 python benchmarks/zoo/last_picture.py OUT --digits mnist_train.npz

All else comes from the weights and stays. The sprites of some training clips are found as in a
forecast; where a sprite's places follow a digit of the clip, that digit's image is the target, as
far from the window's corner as most of the places say. The loss is the sum of the squared and of
a quarter of the absolute errors.

`foreframe evaluate OUT` scores the result, and `--weights OUT` continues from it.
"""

import sys

import numpy as np
import torch
from jaxtyping import Float
from learning import Loss, learn, loaded, options_of
from torch import Tensor, nn

import foreframe
from foreframe.addons.zoo import sprites

PAST = 10
NEAR = 3  # pixels: a digit further from its window's centre is not used
LOST = 2  # frames of ten that may be misplaced

Inputs = tuple[Tensor, Tensor, Tensor]  # x, o and S, as `sprites._LastPicture` takes them


def pairs(
    model: sprites.Sprites, digits: str, clips: int
) -> tuple[list[Inputs], Float[Tensor, "n s s"]]:
    """What the network sees of each sprite, in half precision, and the pictures that are true."""
    films = foreframe.MovingMNIST(digits=digits, clips=clips)
    least = model.size // 8 - (model.size - 28) // 2  # of a digit's window, in places
    inputs, targets = [], []

    def kept(network: nn.Module, given: Inputs) -> None:
        seen.extend(given)

    handle = model.last_picture.register_forward_pre_hook(kept)
    for first in range(0, clips - 31, 32):
        seen: list[Tensor] = []
        keys = [*range(first, first + 32)]
        randoms, which = films._keys(keys)
        true = torch.from_numpy(np.stack(films.positions(randoms), axis=2))[..., :PAST] + least
        with torch.no_grad():
            state = model.precompute(model.encode(films.batch(keys)[:, :PAST]), PAST)
        apart = state["past"].argmax(dim=-1)[:, :, None] - true[:, None]  # b k digit 2 t
        shift = apart.mode(dim=-1).values
        wrong = (apart != shift[..., None]).any(dim=-2).sum(dim=-1)
        fine = (shift.abs() <= NEAR).all(dim=-1) & (wrong <= LOST)
        for b, k, digit in fine.nonzero().tolist():
            row, column = ((model.size - 28) // 2 - shift[b, k, digit]).tolist()
            image = torch.from_numpy(films.images[which[b, digit]]).float() / 255
            target = torch.zeros(model.size + 28, model.size + 28)
            target[14 + row : 42 + row, 14 + column : 42 + column] = image
            targets.append(target[14:-14, 14:-14])
            inputs.append(tuple(part[b, k].half() for part in seen))
    handle.remove()
    return inputs, torch.stack(targets)


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--batch", type=int, default=64, help="sprites per step")
    parser.add_argument("--clips", type=int, default=3200, help="clips in which sprites are found")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    forecaster, model = loaded(options.weights)
    inputs, targets = pairs(model, options.digits, options.clips)
    print(f"{len(inputs):,} pairs of a sprite and a digit", flush=True)

    def loss_of(network: nn.Module) -> Loss:
        chosen = torch.randint(len(inputs), (options.batch,))
        x, o, S = (
            torch.stack(part).float() for part in zip(*(inputs[i] for i in chosen), strict=True)
        )
        error = network(x[:, None], o[:, None], S[:, None])[:, 0, 0] - targets[chosen]
        squared, absolute = error.square().sum(dim=(1, 2)), error.abs().sum(dim=(1, 2))
        return (squared + absolute / 4).mean(), (squared.mean().item(), absolute.mean().item())

    learn(forecaster, "last_picture", loss_of, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
