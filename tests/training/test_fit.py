"""Training as a whole: exact resume, two processes, what a run leaves behind, and what stops it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from PIL import Image

from foreframe import Forecaster, MovingMNIST, Window, evaluate
from foreframe.cli import main
from foreframe.cli.train import parse
from foreframe.data.datasets import clip_set
from foreframe.evaluation.metrics import ensemble_scores
from foreframe.models import Model, build_model
from foreframe.models.engine import why_not_compiled
from foreframe.models.recurrent import Recurrent
from foreframe.training import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)
from foreframe.training.datamodule import training_batches
from foreframe.training.fit import train
from foreframe.training.preparation import load_initial_weights
from foreframe.training.stops import Stops
from foreframe.training.trainer import resolved_precision
from foreframe.training.validation import monitored
from foreframe.training.watch import BlankWatch

SMALL = {"canvas": 40, "clips": 40}  # 10 steps an epoch at batch 4


def groups(run: Path, **changes):
    """Options of a training that takes seconds; `changes` go to whichever group has that field."""
    made = [
        ModelOptions("quick", hidden=8),
        DataOptions(data_args=SMALL, past=3, future=3, batch_size=4, validation_clips=6),
        LearningOptions(learning_rate=3e-3, epochs=3),
        MachineOptions(device="cpu", devices=1),
        RunOptions(run=str(run), picture_every=0),
    ]
    for k, group in enumerate(made):
        made[k] = replace(
            group, **{name: value for name, value in changes.items() if hasattr(group, name)}
        )
    return made


def state_of(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def same_to_the_bit(a: Path, b: Path) -> None:
    one, other = state_of(a), state_of(b)
    assert one["global_step"] == other["global_step"]
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
    for key, moments in one["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, other["optimizer_states"][0]["state"][key][name]), (key, name)


SETTINGS = {
    "plain": {},
    "scheduled sampling and onecycle": {
        "model": "openstl",
        "sampling_steps": 12,
        "schedule": "onecycle",
        "clip": 0.0,
        "start_at_mean": False,
    },
    "muon": {"optimizer": "muon"},
    "shorter pasts": {"least_past": 1},
    "members": {"model_args": {"noise": {"whole": 2, "local": 1}}, "loss": "crps"},
    "worker processes": {"workers": 2, "schedule": "cosine", "warmup": 3},
    "gradients of two steps added up": {"trainer": {"accumulate_grad_batches": 2}},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("first", [7, 10])
def test_stop_and_resume_equals_never_stopping(tmp_path, name: str, first: int) -> None:
    """Stopped within an epoch (7 of 10 steps) and at its end; the second part ends within the next
    epoch.
    """
    settings = dict(SETTINGS[name])
    trainer = settings.pop("trainer", {})
    if "accumulate_grad_batches" in trainer and first == 10:
        first = 5  # optimizer steps: the end of the first epoch
    last = first + 7
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(*groups(whole, **settings, epochs=4, trainer={**trainer, "max_steps": last}))
    train(*groups(parts, **settings, epochs=4, trainer={**trainer, "max_steps": first}))
    assert state_of(parts)["global_step"] == first
    train(
        *groups(
            parts, **settings, epochs=4, trainer={**trainer, "max_steps": last}, resume=str(parts)
        )
    )
    same_to_the_bit(whole, parts)


def test_datasets_and_models_that_draw_their_own_random_numbers_resume_too(
    tmp_path, monkeypatch
) -> None:
    """Dropout in the network and torch.rand in the Dataset: random state is kept as well as
    weights.
    """
    (tmp_path / "noisy_clips.py").write_text(
        """
import random, numpy as np, torch
class Noisy(torch.utils.data.Dataset):
    def __len__(self): return 40
    def __getitem__(self, i):
        return (torch.rand(6, 1, 16, 16) + random.random() + float(np.random.rand())) / 3
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    from foreframe.models import MODELS, EncoderDecoder

    class Dropping(EncoderDecoder):
        def encode(self, past, state=None):
            return super().encode(torch.nn.functional.dropout(past, 0.3, self.training), state)

    monkeypatch.setitem(MODELS, "dropping", Dropping)
    settings = {
        "model": "dropping",
        "hidden": None,
        "model_args": {"core": {"convlstm": {"hidden": [6]}}},
        "data": "noisy_clips.Noisy",
        "data_args": {},
        "batch_size": 2,
    }
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(*groups(whole, **settings, trainer={"max_steps": 22}))
    train(*groups(parts, **settings, trainer={"max_steps": 9}))
    train(*groups(parts, **settings, trainer={"max_steps": 22}, resume=str(parts)))
    same_to_the_bit(whole, parts)


def test_what_a_run_leaves_behind(tmp_path, capsys) -> None:
    run = tmp_path / "run"
    options = groups(run, picture_every=10, epochs=2)
    assert train(*options) == run
    kept = {path.name for path in run.iterdir() if "tfevents" not in path.name}
    assert kept == {"config.yaml", "checkpoints", "pictures", "validation.jsonl"}
    # The first may be the best.
    saved = {path.name for path in (run / "checkpoints").iterdir()} - {"best.previous.ckpt"}
    assert saved == {"best.ckpt", "last.ckpt", "last.previous.ckpt"}
    assert [path.name for path in sorted((run / "pictures").iterdir())] == [
        f"step-{k:07d}.png" for k in (1, 10, 20)
    ]
    rows = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20]
    assert all(row["clips"] == 6 for row in rows)
    assert 0 < rows[0]["seconds"] < rows[1]["seconds"]
    assert "validation on 6 clips: MSE" in capsys.readouterr().out

    # The best checkpoint is the one whose score was lowest, and opens as a forecaster with its
    # window.
    forecaster = Forecaster.load(run)
    assert forecaster.window == Window(3, 3)
    card = evaluate(forecaster, MovingMNIST("validation", length=6, **SMALL), clips=6)
    best = min(row["scores"]["openstl"]["mse"]["overall"] for row in rows)
    assert card["scores"]["model"]["openstl"]["mse"]["overall"] == pytest.approx(best, rel=1e-5)

    # The saved config starts the same run again.
    again = parse(["--config", str(run / "config.yaml"), "--run", str(tmp_path / "again")])
    settled = replace(options[3], compile=False)  # what "auto" has come to
    assert list(again.values()) == [
        *options[:3],
        settled,
        replace(options[4], run=str(tmp_path / "again")),
    ]
    train(*again.values())
    same_to_the_bit(run, tmp_path / "again")
    with pytest.raises(ValueError, match="already holds a run"):
        train(*options)
    with pytest.raises(ValueError, match="already holds a run"):  # before anything is looked at
        train(run=options[4], given=[(("data",), "nowhere.nc")])
    with pytest.raises(
        ValueError,
        match="another network than these options describe "
        r".core\.convlstm\.hidden was .8.*, now .6",
    ):
        train(*groups(run, hidden=6, resume=str(run)))


def test_the_best_members_are_told_by_their_crps(tmp_path) -> None:
    """As the scores of ensembles have it, of the checkpoint that is kept; not by the MSE of their
    mean.
    """
    run = tmp_path / "run"
    train(*groups(run, **SETTINGS["members"], epochs=3))
    rows = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    crps = [row["scores"]["members"]["fair_crps"]["overall"] for row in rows]
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == rows[crps.index(min(crps))]["step"]
    assert best["callbacks"]["Checkpoints"]["best"] == pytest.approx(min(crps))
    clips = MovingMNIST("validation", length=6, **SMALL).batch(range(6))
    future = Forecaster.load(run).predict(clips[:, :3], 3, members=4, seed=0)
    again = ensemble_scores(future.transpose(0, 1), clips[:, 3:])
    assert again["scores"]["standard"]["fair_crps"]["overall"] == pytest.approx(min(crps), rel=1e-4)
    scores = {"val_openstl/mse": torch.tensor(3.0)}
    assert monitored(scores) == 3
    scores["val_members/fair_crps"] = torch.tensor(4.0)
    assert monitored(scores) == 4


def test_tensorboard_holds_scores_pictures_and_an_animation(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(*groups(tmp_path / "run", picture_every=5, epochs=1))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert {
        "loss",
        "learning_rate",
        "val_openstl/mse",
        "val_standard/ssim",
        "val_lead_openstl_mse/03",
    } <= set(events.Tags()["scalars"])
    assert len(events.Scalars("loss")) == 10
    gifs = events.Images("forecast/gif")
    assert [one.step for one in gifs] == [1, 5, 10]
    import io

    held = Image.open(io.BytesIO(gifs[-1].encoded_image_string))
    assert (held.format, held.n_frames > 1) == ("GIF", True)
    assert (
        Image.open(io.BytesIO(events.Images("forecast/strip")[0].encoded_image_string)).format
        == "PNG"
    )


def test_training_learns(tmp_path) -> None:
    """One clip again and again: a ConvLSTM must be able to learn it by heart, far below the best
    baseline on it.
    """
    args = {"canvas": 40, "clips": 4, "fixed": True, "count": 1}
    settings = {
        "data_args": args,
        "learning_rate": 5e-3,
        "epochs": 250,
        "hidden": 16,
        "trainer": {"check_val_every_n_epoch": 250},
    }
    run = train(*groups(tmp_path / "run", **settings))
    data = MovingMNIST("train", length=6, **args)
    card = evaluate(Forecaster.load(run), data)
    scores = {name: of["openstl"]["mse"]["overall"] for name, of in card["scores"].items()}
    assert scores.pop("model") < 0.5 * min(scores.values())


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "foreframe", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


FLAGS = [
    *("--model", "quick", "--hidden", "8", "--data_args.canvas", "40", "--data_args.clips", "40"),
    *("--past", "3", "--future", "3", "--batch_size", "4", "--validation_clips", "7"),
    *("--learning_rate", "3e-3", "--device", "cpu", "--devices", "1", "--picture_every", "0"),
]


def test_two_processes_score_what_one_does(tmp_path) -> None:
    """Each process scores its own share and no clip twice: 7 clips on 2 processes, on the same
    weights as one process.
    """
    run = tmp_path / "two"
    done = run_command(
        "train", *FLAGS, "--devices", "2", "--epochs", "1", "--run", str(run), OMP_NUM_THREADS="1"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("The run lies in") == 1
    assert "sync_dist" not in done.stderr
    (row,) = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    assert row["clips"] == 7
    assert row["step"] == 5  # 40 clips, 4 on each of 2 processes
    weights = Forecaster.load(run)
    card = evaluate(weights, MovingMNIST("validation", length=6, **SMALL), clips=7)
    for convention in ("standard", "openstl"):
        for score in ("mse", "mae", "psnr", "ssim"):
            one, two = card["scores"]["model"][convention][score], row["scores"][convention][score]
            assert two["per_lead"] == pytest.approx(one["per_lead"], rel=1e-5), (convention, score)


@pytest.mark.parametrize(
    ("stop", "devices"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2)]
)
def test_stopped_it_saves_and_says_how_to_go_on(tmp_path, stop, devices) -> None:
    run = tmp_path / "run"
    machine = ["--device", "cpu", "--devices", str(devices)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "foreframe",
            "train",
            *FLAGS,
            *machine,
            "--epochs",
            "100000",
            "--run",
            str(run),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(stop)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"go on with: foreframe train --resume {run}" in said
    assert "Traceback" not in said
    step = state_of(run)["global_step"]
    assert f"stopped at step {step}" in said
    go_on = run_command("train", "--resume", str(run), "--trainer.max_steps", str(step + 3))
    assert go_on.returncode == 0, go_on.stderr[-2000:]
    assert state_of(run)["global_step"] == step + 3


def test_a_full_disk_is_told_and_the_last_good_checkpoint_stays(tmp_path, monkeypatch) -> None:
    run = tmp_path / "run"
    train(*groups(run, epochs=1))
    good = (run / "checkpoints" / "last.ckpt").read_bytes()
    real = Path.write_bytes

    def full(path, held):
        real(path, bytes(held[:100]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        ValueError,
        match=r"checkpoint at step 20 could not be written .*No space left.* kept.*--resume",
    ):
        train(*groups(run, epochs=2, resume=str(run)))
    monkeypatch.setattr(Path, "write_bytes", real)
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == good
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    train(*groups(run, epochs=2, resume=str(run)))
    assert state_of(run)["global_step"] == 20


def test_minutes_end_the_schedule_and_the_run(tmp_path) -> None:
    run = tmp_path / "run"
    train(*groups(run, epochs=100_000, minutes=0.05, schedule="cosine"))
    state = state_of(run)
    assert 0 < state["global_step"] < 100_000
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] < 0.1 * 3e-3
    assert (run / "checkpoints" / "best.ckpt").exists()


def test_epochs_without_validation_are_saved_too(tmp_path) -> None:
    """The last epochs may have none, or no epoch at all; what was learnt is kept, and can be gone
    on from.
    """
    whole, parts, none = tmp_path / "whole", tmp_path / "parts", tmp_path / "none"
    seldom = {"trainer": {"check_val_every_n_epoch": 2}}
    train(*groups(whole, **seldom, epochs=4))
    train(*groups(parts, **seldom, epochs=3))
    assert state_of(parts)["global_step"] == 30
    train(*groups(parts, **seldom, epochs=4, resume=str(parts)))
    same_to_the_bit(whole, parts)
    train(*groups(none, epochs=100_000, minutes=0.03, trainer={"limit_val_batches": 0}))
    assert state_of(none)["global_step"] > 0


def test_a_stop_waits_for_gradients_that_are_added_up(tmp_path, monkeypatch) -> None:
    from foreframe.training import fit as module

    class StopsAtBatch(BlankWatch):
        def on_train_batch_end(self, trainer, network, outputs, clips, batch_index) -> None:
            if batch_index == 6:  # the first of two
                next(one for one in trainer.callbacks if isinstance(one, Stops)).by_hand = True

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    two = {"trainer": {"accumulate_grad_batches": 2}}
    train(*groups(whole, **two, epochs=2))
    with monkeypatch.context() as patch:
        patch.setattr(module, "BlankWatch", StopsAtBatch)
        with pytest.raises(module.Stopped, match="stopped at step 4 "):
            train(*groups(parts, **two, epochs=2))
    train(*groups(parts, **two, epochs=2, resume=str(parts)))
    same_to_the_bit(whole, parts)


def test_ctrl_c_is_given_back_after_an_error(tmp_path, monkeypatch) -> None:
    from foreframe.training.objectives import LOSSES

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setitem(LOSSES, "mae", lambda P, Y: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(*groups(tmp_path / "run", loss="mae"))
    assert signal.getsignal(signal.SIGINT) is before


def test_what_never_moves_has_no_skill_and_is_no_error(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "still_clips.py").write_text(
        """
import torch
class Still(torch.utils.data.Dataset):
    def __len__(self): return 40
    def __getitem__(self, i): return torch.full((6, 1, 16, 16), 0.5)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    train(*groups(tmp_path / "run", data="still_clips.Still", data_args={}, epochs=1))
    assert "skill against persistence nan" in capsys.readouterr().out
    sys.modules.pop("still_clips")


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_clips_in_8_bits_become_what_the_network_computes_in(tmp_path, precision: str) -> None:
    run = train(*groups(tmp_path / "run", precision=precision, epochs=1))
    kind = {"64-true": torch.float64, "bf16-true": torch.bfloat16}[precision]
    assert all(value.dtype == kind for value in state_of(run)["state_dict"].values())


def test_a_run_that_ends_behind_persistence_says_so(tmp_path, monkeypatch, capsys) -> None:
    """Of pictures that hardly change a network that draws them anew is worse than the last one; of
    noise one that may blur is not.
    """
    (tmp_path / "two_kinds.py").write_text(
        """
import torch
class Still(torch.utils.data.Dataset):
    noise = 0.01
    def __len__(self): return 16
    def __getitem__(self, i):
        draw = torch.Generator().manual_seed(i)
        still = torch.rand(1, 1, 16, 16, generator=draw)
        noise = torch.rand(6, 1, 16, 16, generator=draw)
        return (1 - self.noise) * still + self.noise * noise
class Noise(Still):
    noise = 1.0
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    said = {}
    for kind, model in (("Still", "openstl"), ("Noise", "quick")):
        run = tmp_path / kind
        train(*groups(run, model=model, data=f"two_kinds.{kind}", data_args={}, epochs=3))
        said[kind] = capsys.readouterr().out
    sys.modules.pop("two_kinds")
    words = "persistence, the last frame repeated, is the better forecast on validation (skill -"
    assert words in said["Still"].splitlines()[-1]
    assert said["Still"].endswith("without --config and --model: it begins at the best baseline\n")
    assert words not in said["Noise"]


def test_lightnings_fast_dev_run(tmp_path, capsys) -> None:
    """One step and one batch of validation, without TensorBoard, which Lightning takes away
    then.
    """
    train(*groups(tmp_path / "run", picture_every=1, trainer={"fast_dev_run": True}))
    assert "epoch 1, step 1: loss" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "run" / "pictures").iterdir()] == ["step-0000001.png"]
    assert not list((tmp_path / "run").glob("events*"))


def test_worker_processes_draw_anew_each_epoch_and_rank() -> None:
    class Drawn(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, _: int) -> torch.Tensor:
            return torch.rand(2, 1, 2, 2)

    def epoch(number: int, rank: int) -> torch.Tensor:
        loader = training_batches(clip_set(Drawn()), 2, 1, 0, rank, 2)
        loader.keys.set_epoch(number)
        return next(iter(loader))

    first = epoch(0, 0)
    assert torch.equal(epoch(0, 0), first)
    assert not torch.equal(epoch(1, 0), first)
    assert not torch.equal(epoch(0, 1), first)


def test_blank_output_is_noticed_and_so_is_its_end(capsys) -> None:
    watch, module = (
        BlankWatch(),
        SimpleNamespace(window=Window(1, 1), network=SimpleNamespace(bounded=True, inputs=0)),
    )
    clips = torch.rand(2, 2, 1, 8, 8)
    for step, made in ((50, 0 * clips[:, 1:]), (100, 0 * clips[:, 1:]), (150, clips[:, 1:])):
        watch.on_train_batch_end(
            Mock(Trainer, global_step=step, is_global_zero=True),
            module,
            {"forecast": made},
            clips,
            0,
        )
    first, second = capsys.readouterr().out.splitlines()
    assert "step 50: forecasts are blank" in first
    assert "--loss cross_entropy" in first
    assert second == "step 150: forecasts are no longer blank."


def test_blank_output_of_the_tutorial_is_noticed(tmp_path, capsys) -> None:
    train(
        *groups(
            tmp_path / "run",
            model="tutorial",
            start_at_mean=False,
            learning_rate=1e-4,
            epochs=6,
            trainer={"max_steps": 55},
        )
    )
    said = capsys.readouterr().out
    assert "step 50: forecasts are blank" in said
    assert "--start_at_mean true" in said


def test_a_diverged_training_stops_and_keeps_what_was_good(tmp_path, monkeypatch) -> None:
    from foreframe.training.objectives import LOSSES

    run = tmp_path / "run"
    calls = iter(range(1000))
    monkeypatch.setitem(
        LOSSES,
        "mae",
        lambda P, Y: (P - Y).abs().mean() * (float("nan") if next(calls) >= 14 else 1),
    )
    with pytest.raises(ValueError, match="loss at step 20 is nan: the training has diverged"):
        train(*groups(run, loss="mae", epochs=5))
    assert state_of(run)["global_step"] == 10
    short = tmp_path / "short"  # epochs of 3 steps: validation comes before the loss is looked at
    calls = iter(range(1000))
    with pytest.raises(
        ValueError, match="weights at step 15 contain NaN or infinity: the training has diverged"
    ):
        train(*groups(short, loss="mae", epochs=20, trainer={"limit_train_batches": 3}))
    assert state_of(short)["global_step"] == 12
    assert all(value.isfinite().all() for value in state_of(run)["state_dict"].values())


@pytest.mark.parametrize(
    ("given", "processor", "wanted"),
    [
        ("auto", "AVX2", "32-true"),
        ("auto", "DEFAULT", "32-true"),
        ("auto", "AVX512", "bf16-mixed"),
        ("bf16-mixed", "AVX2", "bf16-mixed"),
        ("64-true", "AVX512", "64-true"),
    ],
)
def test_automatic_precision_is_half_where_that_is_fast(
    given: str, processor: str, wanted: str, monkeypatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    assert resolved_precision(MachineOptions(device="cpu", precision=given)) == wanted


def test_a_run_keeps_the_precision_that_it_was_trained_in(tmp_path, monkeypatch) -> None:
    """Resumed on another processor it goes on as it began."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    run = train(*groups(tmp_path / "run", precision="auto", epochs=1))
    assert yaml.safe_load((run / "config.yaml").read_text())["precision"] == "32-true"


def test_half_precision_trains(tmp_path) -> None:
    run = train(*groups(tmp_path / "run", precision="bf16-mixed", epochs=1))
    assert all(value.dtype == torch.float32 for value in state_of(run)["state_dict"].values())


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("bad", "message"), [("float('nan')", "NaN"), ("7.0", "outside [0, 1]")])
def test_bad_frames_in_the_middle_of_a_dataset(
    tmp_path, monkeypatch, capsys, workers, bad, message
) -> None:
    """One line, from the training process or from a loader's worker."""
    (tmp_path / "spoilt_clips.py").write_text(
        f"""
import torch
class Spoilt(torch.utils.data.Dataset):
    def __len__(self): return 40
    def __getitem__(self, i): return torch.full((6, 1, 16, 16), {bad} if i == 13 else 0.5)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    flags = [
        *("--data", "spoilt_clips.Spoilt", "--past", "3", "--future", "3", "--batch_size", "4"),
        *("--hidden", "4"),
    ]
    machine = [
        *("--workers", workers, "--device", "cpu", "--devices", "1"),
        *("--run", str(tmp_path / "run")),
    ]
    assert main(["train", *flags, *machine]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "data spoilt_clips.Spoilt" in said
    assert "\n" not in said
    sys.modules.pop("spoilt_clips")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "cross_entropy", "model": "openstl"}, "cross_entropy needs forecasts"),
        ({"loss": "cross_entropy", "model": "simvp_small", "hidden": None}, "choose loss mse$"),
        ({"workers": -1}, "workers must be 0 or more"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"truncate": -3}, "truncate must be at least 0"),
        ({"model": "black", "hidden": None}, "nothing to learn"),
        ({"hidden": 0}, "at least 1, not 0"),
        ({"batch_size": 41}, "do not fill one batch"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"beta_2": 1.0}, "beta_2 must lie"),
        ({"minutes": -1.0}, "minutes must be above 0"),
        ({"past": 0}, "past must be at least 1"),
        ({"model_args": {"channels": 3}}, "1 channels .* the model takes 3"),
        ({"trainer": {"max_stepz": 3}}, "did you mean max_steps"),
        ({"trainer": {"callbacks": []}}, "set by foreframe's own options"),
        ({"precision": "8-bit"}, "refuses these settings"),
        ({"device": "tpu"}, "refuses these settings"),
        ({"resume": "runs/nowhere"}, "there is no run in"),
        ({"weights": "nowhere"}, "there is no folder nowhere"),
        ({"weights": "moving-mnist"}, "describe: simvp, not encoder_decoder; choose"),
    ],
)
def test_bad_options_are_told_before_training(tmp_path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        train(*groups(tmp_path / "run", **changes))
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_compiler_that_is_missing_is_told(tmp_path, monkeypatch, capsys) -> None:
    def missing(function):
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch, "compile", missing)
    why_not_compiled.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"no C\+\+ compiler here that works"):
            train(*groups(tmp_path / "run", compile=True))
        assert not (tmp_path / "run").exists()
        # Where it was nobody's wish, it is a line, and a run without; small maps are not asked
        # about.
        monkeypatch.setattr("foreframe.training.preparation.WORTH", 1)
        train(*groups(tmp_path / "run"))
        assert (
            "no C++ compiler here that works (g++, or what CXX names), so recurrent cells"
            in capsys.readouterr().out
        )
        assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["compile"] is False
    finally:
        why_not_compiled.cache_clear()


def test_large_maps_are_compiled_unasked_and_stay_so(tmp_path, monkeypatch, capsys) -> None:
    """In a line, kept in the run's config; off by `compile: false`, and for small maps."""
    monkeypatch.setattr("foreframe.training.preparation.why_not_compiled", lambda device: "")
    compiled = []
    steps = Recurrent.steps

    def seen(self, *given):
        compiled.append(self.compiled)
        self.compiled = False  # no compiler need be here
        return steps(self, *given)

    monkeypatch.setattr(Recurrent, "steps", seen)
    train(*groups(tmp_path / "small"))
    assert set(compiled[2:]) == {False}
    monkeypatch.setattr("foreframe.training.preparation.WORTH", 1)
    compiled.clear()
    train(*groups(tmp_path / "large"))
    assert True in compiled
    assert (
        "recurrent cells are compiled; --compile false leaves that out" in capsys.readouterr().out
    )
    assert yaml.safe_load((tmp_path / "large" / "config.yaml").read_text())["compile"] is True
    compiled.clear()
    train(*groups(tmp_path / "off", compile=False))
    assert True not in compiled
    assert "compiled" not in capsys.readouterr().out


def test_it_begins_with_weights_that_are_there(tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(*groups(first, epochs=1))
    train(
        *groups(second, epochs=1, weights=str(first), learning_rate=1e-9, trainer={"max_steps": 1})
    )
    trained = Forecaster.load(first).model.state_dict()
    for name, value in state_of(second)["state_dict"].items():
        torch.testing.assert_close(value, trained[name.removeprefix("network.")], atol=1e-6, rtol=0)
    (first / "checkpoints" / "best.ckpt").unlink()
    (first / "checkpoints" / "last.ckpt").unlink()
    # The run has weights of its own by now.
    train(*groups(second, epochs=1, weights=str(first), learning_rate=1e-9, resume=str(second)))
    with pytest.raises(
        ValueError, match="describe: encoder_decoder with other core; choose"
    ) as told:
        train(*groups(tmp_path / "third", hidden=9, weights=str(second)))
    assert str(told.value).endswith(f"trained with: --config {second / 'config.yaml'} has them")


def test_weights_that_draw_members_fit_a_network_that_draws_none(tmp_path) -> None:
    """Of a flow its forecaster, and of a network with noise all but what the noise adds; with the
    noise back it is whole again.
    """
    small = {"simvp": {"frames": 3, "spatial": 8, "temporal": 16, "blocks": 2}}
    args = {"core": {"convlstm": {"hidden": [4]}}, "codec": {"patches": {"size": 2}}}
    noise = {"noise": {"whole": 2}}
    past = torch.rand(2, 5, 1, 16, 16)
    for drawing, (kind, own) in (
        (build_model("flow", {"of": small, "width": 8, "blocks": 1}), *small.items()),
        (build_model("encoder_decoder", args | noise), ("encoder_decoder", args)),
    ):
        Forecaster(drawing.eval()).save(tmp_path / kind)
        network = build_model(kind, own).eval()
        load_initial_weights(network, str(tmp_path / kind))
        torch.testing.assert_close(network(past, 4), drawing(past, 4))
    again = build_model("encoder_decoder", args | noise)
    load_initial_weights(again, str(tmp_path / "encoder_decoder"))
    torch.testing.assert_close(again.state_dict(), drawing.state_dict())
    with pytest.raises(ValueError, match="with other noise"):
        load_initial_weights(
            build_model("encoder_decoder", args | {"noise": {"whole": 3}}),
            str(tmp_path / "encoder_decoder"),
        )


def test_a_busy_tensorboard_port(tmp_path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"TensorBoard cannot use port {port}.*--port"):
            train(*groups(tmp_path / "run", tensorboard=True, port=port))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_tensorboard_starts_beside_the_training(tmp_path, capsys) -> None:
    import urllib.request

    train(*groups(tmp_path / "run", tensorboard=True, port=0, epochs=1))
    url = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("TensorBoard: ")
    ).split()[1]
    with urllib.request.urlopen(url, timeout=20) as page:
        assert page.status == 200


def test_short_epochs_resume_too(tmp_path) -> None:
    """limit_train_batches ends an epoch before its clips do; the next one is a new one all the
    same.
    """
    limit = {"limit_train_batches": 4}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(*groups(whole, epochs=3, trainer=limit))
    train(*groups(parts, epochs=3, trainer={**limit, "max_steps": 4}))
    train(*groups(parts, epochs=3, trainer=limit, resume=str(parts)))
    same_to_the_bit(whole, parts)


def test_a_run_that_is_done_says_how_to_have_more(tmp_path) -> None:
    run = tmp_path / "run"
    train(*groups(run, epochs=1))
    model, data, learning, machine, options = groups(run, epochs=1)
    with pytest.raises(
        ValueError,
        match=r"has had its 1 epochs; for more: foreframe train --resume .*run --epochs 2",
    ):
        train(model, data, learning, machine, replace(options, run=None, resume=str(run)))
    with pytest.raises(
        ValueError, match=r"has had its 1e-06 minutes; for more: .* --minutes 2e-06"
    ):
        train(
            model,
            data,
            replace(learning, minutes=1e-6),
            machine,
            replace(options, run=None, resume=str(run)),
        )


def test_what_a_forecast_lacks_is_told_before_a_folder_is_made(tmp_path, monkeypatch) -> None:
    def lacking(self, *_: object) -> None:
        raise ValueError("something is not installed")

    monkeypatch.setattr(Model, "forward", lacking)
    with pytest.raises(ValueError, match="not installed"):
        train(*groups(tmp_path / "run", epochs=1))
    assert not (tmp_path / "run").exists()
