"""Keras' ConvLSTM example and a recipe of foreframe: trained for as long, scored alike.

    OMP_NUM_THREADS=1 python benchmarks/keras_example.py --keras PYTHON [--minutes 10] ...

PYTHON names a Python that has keras and torch. Both train on clips of digits by the rule of Moving
MNIST for so many minutes of the processor: Keras' network on clips written in the layout of the
published file, foreframe on those that its recipe draws (`--more "--data_args.fixed true
--data_args.clips 900"`: on the same). Then ten frames are forecast of clips of other digits, by
Keras' network as in the example's first pictures: each is fed back. --ways: `same`, as published,
whose last convolution sees the frame after the one that it is given, which is the one that it is to
forecast (keras-io #1003), and `causal`, where it sees those before.

MSE is that of `openstl`, the sum over a frame: "taught" where all frames are given, as while it
trains; "next" of the first frame ahead, "ten" of all ten.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def squared(forecast: Any, truth: Any) -> float:
    """Mean over frames (N,T,...) of the sum of squared errors in a frame."""
    return float(np.square(forecast - truth).reshape(*truth.shape[:2], -1).sum(2).mean())


def network(filters: int, how: str) -> Any:
    """The example's network; with `causal` its last convolution is moved a frame back."""
    from keras import Input, Model, layers

    inputs = x = Input((None, 64, 64, 1))
    for size in (5, 3, 1):
        if size < 5:
            x = layers.BatchNormalization()(x)
        x = layers.ConvLSTM2D(
            filters, size, padding="same", return_sequences=True, activation="relu"
        )(x)
    if how == "causal":
        x = layers.ZeroPadding3D(((2, 0), (1, 1), (1, 1)))(x)
    padding = "valid" if how == "causal" else "same"
    outputs = layers.Conv3D(1, 3, activation="sigmoid", padding=padding)(x)
    made = Model(inputs, outputs)
    made.compile(loss="binary_crossentropy", optimizer="adam")
    return made


def train_keras(folder: Path, how: str, filters: int, minutes: float, most: int) -> None:
    """The example's three steps, and its scores as a line of JSON; runs where keras is."""
    import keras

    class Clock(keras.callbacks.Callback):
        steps, began = 0, time.process_time()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps += 1
            spent = time.process_time() - self.began
            self.model.stop_training = spent >= 60 * minutes or self.steps == most

    keras.utils.set_random_seed(0)
    clips, test = (
        np.swapaxes(np.load(folder / f"{split}.npy"), 0, 1)[..., None].astype("float32") / 255
        for split in ("train", "test")
    )
    made, clock = network(filters, how), Clock()
    made.fit(clips[:, :-1], clips[:, 1:], batch_size=5, epochs=20, callbacks=[clock], verbose=0)
    spent = (time.process_time() - clock.began) / 60
    taught = made.predict(test[:, :-1], batch_size=4, verbose=0)[:, 9:-1]  # the last sees no more
    frames = test[:, :10]
    for _ in range(10):
        ahead = made.predict(frames, batch_size=4, verbose=0)[:, -1:]
        frames = np.concatenate([frames, ahead], axis=1)
    scores = {
        "taught": squared(taught, test[:, 10:-1]),
        "next": squared(frames[:, 10:11], test[:, 10:11]),
        "ten": squared(frames[:, 10:], test[:, 10:]),
    }
    print(json.dumps({"steps": clock.steps, "clips": 5 * clock.steps, "minutes": spent, **scores}))


def train_foreframe(folder: Path, recipe: str, minutes: float, more: str) -> dict[str, Any]:
    """A recipe as `foreframe train` has it, and its scores."""
    import torch
    import yaml

    from foreframe import Forecaster

    run = (folder / f"{recipe}-{time.strftime('%H%M%S')}").resolve()
    words = f"--config {recipe} --minutes {minutes} --seed 0 --run {run} {more}".split()
    command = [sys.executable, "-m", "foreframe", "train", "--import", "processor_time", *words]
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=HERE, stdout=subprocess.DEVNULL)
    after = getrusage(RUSAGE_CHILDREN)  # of the whole command
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    steps = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    test = np.swapaxes(np.load(folder / "test.npy"), 0, 1)[:, :, None].astype("float32") / 255
    ahead = Forecaster.load(run).predict(torch.from_numpy(test[:, :10]), steps=10)
    return {
        "steps": steps,
        "clips": steps * config["batch_size"],
        "minutes": spent / 60,
        "next": squared(np.asarray(ahead)[:, :1], test[:, 10:11]),
        "ten": squared(np.asarray(ahead), test[:, 10:]),
    }


def write_clips(folder: Path, train: int, test: int) -> None:
    """Generated clips as the published file has them: (20,N,64,64), 8-bit."""
    from foreframe import MovingMNIST

    folder.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", train), ("test", test)):
        clips = MovingMNIST(split, clips=n, fixed=True).batch(range(n))[:, :, 0]
        np.save(folder / f"{split}.npy", (clips * 255).byte().numpy().swapaxes(0, 1))


def show(row: str, found: dict[str, Any]) -> None:
    told = {"taught": "", "steps": "", "clips": "", "minutes": ""} | found
    cells = (told[name] for name in ("minutes", "steps", "clips", "taught", "next", "ten"))
    said = (f"{value:.1f}" if isinstance(value, float) else f"{value}" for value in cells)
    print(f"| {row} | {' | '.join(said)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keras", help="a Python that has keras and torch")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--ways", nargs="*", default=["same", "causal"])
    parser.add_argument("--filters", type=int, default=64, help="the example has 64")
    parser.add_argument("--recipe", default="quick", help='"" for none')
    parser.add_argument("--more", default="", help="options of foreframe train")
    parser.add_argument("--clips", type=int, default=900, help="to train on")
    parser.add_argument("--test_clips", type=int, default=32)
    parser.add_argument("--steps", type=int, default=0, help="end after so many, sooner than that")
    parser.add_argument("--folder", type=Path, default=Path("runs/keras"))
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # in Keras' own Python
    given = parser.parse_args()
    if given.inside:
        train_keras(given.folder, given.inside, given.filters, given.minutes, given.steps)
        return
    write_clips(given.folder, given.clips, given.test_clips)
    test = np.load(given.folder / "test.npy").swapaxes(0, 1) / np.float32(255)
    print("| | minutes | steps | clips | taught | next | ten |\n|---|---|---|---|---|---|---|")
    for name, still in (("black", 0 * test), ("last frame", test[:, 9:10])):
        found = {
            "next": squared(still[:, :1], test[:, 10:11]),
            "ten": squared(still[:, -10:], test[:, 10:]),
        }
        show(name, found)
    for how in given.ways if given.keras else ():
        words = [
            f"--{name}={getattr(given, name)}" for name in ("folder", "filters", "minutes", "steps")
        ]
        done = subprocess.run(
            [given.keras, __file__, f"--inside={how}", *words],
            env=os.environ | {"KERAS_BACKEND": "torch"}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        show(f"Keras, {given.filters} filters, {how}", json.loads(done.stdout.splitlines()[-1]))
    if given.recipe:
        until = f"--trainer.max_steps {given.steps}" if given.steps else ""
        made = train_foreframe(given.folder, given.recipe, given.minutes, f"{given.more} {until}")
        show(f"{given.recipe} {given.more}", made)


if __name__ == "__main__":
    main()
