"""Training as a whole: exact resume, two processes, what a run leaves behind, and what stops it."""

import random
import signal
import urllib.request
from itertools import chain, count, repeat
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from torch.utils.data import Dataset
from trainings import (
    LEARNING,
    SMALL,
    copied_run,
    last,
    rows_of,
    same_to_the_bit,
    small_options,
    train_small,
)

from foreframe import Forecaster, MovingMNIST, Window, evaluate, fit
from foreframe.cli import main
from foreframe.evaluation.metrics import ensemble_scores
from foreframe.models import MODELS, EncoderDecoder, Model, build_model
from foreframe.models.engine import why_not_compiled
from foreframe.models.recurrent import Recurrent
from foreframe.training import fit as module
from foreframe.training.fit import train
from foreframe.training.objectives import LOSSES
from foreframe.training.preparation import load_initial_weights
from foreframe.training.stops import Stops
from refusals import parse

MEMBERS = {
    "model": "dressed",
    "hidden": None,
    "model_args": {"of": "linear_motion"},
    "loss": "crps",
}
SETTINGS = {
    "scheduled sampling and onecycle": {
        "model": "openstl",
        "sampling_steps": 6,
        "sampling": "reverse",
        "schedule": "onecycle",
        "clip": 0.0,
        "start_at_mean": False,
    },
    "muon and shorter pasts": {"optimizer": "muon", "least_past": 1},
    "members": MEMBERS,
    "frozen encoder": {"freeze_encoder": True, "train_clips": 12, "optimizer": "adamw"},
    "worker processes": {"loader_workers": 2, "schedule": "cosine", "warmup": 3},
    "moving average": {"average": 0.9, "schedule": "wsd", "decay": 0.7, "warmup": 2},
}


def stopped_and_resumed(folder: Path, first: int, **settings) -> None:
    """Stopped after `first` steps; the second part ends within the next epoch."""
    settings |= {"epochs": 4}
    until, end = {"trainer": {"max_steps": first}}, {"trainer": {"max_steps": first + 3}}
    whole, parts = folder / "whole", folder / "parts"
    train_small(whole, **settings, **end)
    train_small(parts, **settings, **until)
    assert last(parts)["global_step"] == first
    train_small(parts, **settings, **end, resume=str(parts))
    same_to_the_bit(whole, parts)


@pytest.mark.exact
def test_stop_and_resume_with_a_moving_average(tmp_path) -> None:
    """What it trains on, too; the average is what a forecaster opens, and what was validated."""
    stopped_and_resumed(tmp_path, 3, **SETTINGS["moving average"])
    run = tmp_path / "parts"
    saved = last(run)
    averaged, trained = saved["state_dict"], saved["current_model_state"]
    assert saved["averaging_state"]["n_averaged"] == 6
    assert not any(torch.equal(value, trained[name]) for name, value in averaged.items())
    opened = Forecaster.load(run / "checkpoints" / "last.ckpt").model.state_dict()
    for name, value in opened.items():
        assert torch.equal(value, averaged[f"network.{name}"])
    best = evaluate(run, split="validation", clips=5)["scores"]["model"]
    validated = min(row["scores"]["openstl"]["mse"]["overall"] for row in rows_of(run))
    assert best["openstl"]["mse"]["overall"] == pytest.approx(validated, rel=1e-5)


@pytest.mark.slow
@pytest.mark.exact
def test_stop_and_resume_with_a_frozen_encoder(tmp_path) -> None:
    """Within the second epoch of three steps, where what was kept of the first is made anew."""
    stopped_and_resumed(tmp_path, 4, **SETTINGS["frozen encoder"])
    train_small(tmp_path / "begun", trainer={"max_steps": 1}, **SETTINGS["frozen encoder"])
    begun, trained = (last(tmp_path / run)["state_dict"] for run in ("begun", "parts"))
    changed = {name for name in begun if not torch.equal(begun[name], trained[name])}
    assert changed == {name for name in begun if "encoder" not in name and "codec" not in name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("scheduled sampling and onecycle", 4),  # an epoch's end
        ("muon and shorter pasts", 3),
        ("members", 4),
        ("worker processes", 3),
    ],
)
def test_stop_and_resume_in_other_settings(tmp_path, name: str, first: int) -> None:
    stopped_and_resumed(tmp_path, first, **SETTINGS[name])


class Noisy(Dataset):
    """Draws its clips anew each time, from the generators of three libraries."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, _: int) -> torch.Tensor:
        return (torch.rand(5, 1, 16, 16) + random.random() + float(np.random.rand())) / 3


class Dropping(EncoderDecoder):
    def encode(self, past, state=None):
        return super().encode(torch.nn.functional.dropout(past, 0.3, self.training), state)


@pytest.mark.slow
@pytest.mark.parametrize("first", [2, 3])  # within an epoch of 3 steps, and at its end
def test_datasets_and_models_that_draw_their_own_random_numbers_resume_too(
    tmp_path, monkeypatch, first: int
) -> None:
    """Random state is kept as well as weights."""
    monkeypatch.setitem(MODELS, "dropping", Dropping)
    args = {"core": {"convlstm": {"hidden": [6]}}}
    network = {"model": "dropping", "hidden": None, "model_args": args}
    stopped_and_resumed(tmp_path, first, **network, data=Noisy(), data_args={})


def test_what_a_run_leaves_behind(tmp_path, capsys) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    assert train_small(run, picture_every=4) == run
    kept = {path.name for path in run.iterdir() if "tfevents" not in path.name}
    assert kept == {"config.yaml", "checkpoints", "pictures", "validation.jsonl"}
    # The first may be the best.
    saved = {path.name for path in (run / "checkpoints").iterdir()} - {"best.previous.ckpt"}
    assert saved == {"best.ckpt", "last.ckpt", "last.previous.ckpt"}
    assert [path.name for path in sorted((run / "pictures").iterdir())] == [
        f"step-{k:07d}.png" for k in (1, 4, 8)
    ]
    rows = rows_of(run)
    assert [(row["step"], row["clips"]) for row in rows] == [(4, 5), (8, 5)]
    assert 0 < rows[0]["seconds"] < rows[1]["seconds"]
    assert "validation on 5 clips: MSE" in capsys.readouterr().out

    # The best checkpoint is the one whose score was lowest, and opens as a forecaster with its
    # window.
    forecaster = Forecaster.load(run)
    assert forecaster.window == Window(3, 2)
    card = evaluate(forecaster, MovingMNIST("validation", length=5, **SMALL), clips=5)
    best = min(row["scores"]["openstl"]["mse"]["overall"] for row in rows)
    assert card["scores"]["model"]["openstl"]["mse"]["overall"] == pytest.approx(best, rel=1e-5)

    # TensorBoard has scores and pictures.
    events = EventAccumulator(str(run), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    tags = {"loss", "learning_rate", "val_openstl/mse", "val_standard/ssim"}
    assert tags <= set(events.Tags()["scalars"])
    assert len(events.Scalars("loss")) == 8
    assert [one.step for one in events.Images("forecast/strip")] == [1, 4, 8]


@pytest.mark.slow
def test_a_runs_config_starts_it_again_and_its_folder_is_its_own(tmp_path) -> None:
    run, again = copied_run(tmp_path), tmp_path / "again"
    given = parse(["--config", str(run / "config.yaml"), "--run", str(again)])
    # What "auto" has come to, and loggers as a list.
    assert given == small_options(again, epochs=1, compile=False, logger=["tensorboard"])
    train(given)
    same_to_the_bit(run, again)
    with pytest.raises(ValueError, match="already holds a run"):
        train_small(run, epochs=1)
    with pytest.raises(ValueError, match="already holds a run"):  # before anything is looked at
        fit(data="nowhere.nc", run=run)
    with pytest.raises(ValueError, match=r"core.convlstm.hidden was .4., now .6.*--weights"):
        train_small(run, hidden=6, resume=str(run))


@pytest.mark.slow
def test_the_best_members_are_told_by_their_crps(tmp_path) -> None:
    """As the scores of ensembles have it, of the checkpoint that is kept; not by the MSE of their
    mean.
    """
    run = train_small(tmp_path / "run", **MEMBERS)
    crps = [row["scores"]["members"]["fair_crps"]["overall"] for row in rows_of(run)]
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == rows_of(run)[crps.index(min(crps))]["step"]
    assert best["callbacks"]["Checkpoints"]["best"] == pytest.approx(min(crps))
    clips = MovingMNIST("validation", length=5, **SMALL).batch(range(5))
    future = Forecaster.load(run).predict(clips[:, :3], 2, members=4, seed=0)
    again = ensemble_scores(future.transpose(0, 1), clips[:, 3:])
    assert again["scores"]["standard"]["fair_crps"]["overall"] == pytest.approx(min(crps), rel=1e-4)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="sends a signal that Windows lacks")
def test_a_signal_while_processes_agree_stops_at_the_next_step(tmp_path, monkeypatch) -> None:
    """They may wait long for the one that saves."""

    def asked(trainer: Trainer, decision: bool) -> bool:
        if trainer.global_step == 2:
            signal.raise_signal(signal.SIGUSR1)
        return decision

    monkeypatch.setattr("foreframe.training.stops.on_any_rank", asked)
    with pytest.raises(module.Stopped, match="stopped at step 3 "):
        train_small(tmp_path / "run", epochs=2)


@pytest.mark.slow
def test_minutes_end_the_schedule_and_the_run(tmp_path, monkeypatch, capsys) -> None:
    """By a clock on which a step takes a twentieth of a second, however busy the machine is."""
    ticks = count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) / 20)
    for name in ("fit", "module", "validation"):
        monkeypatch.setattr(f"foreframe.training.{name}.time", clock)
    run = tmp_path / "run"
    first = {"num_sanity_val_steps": -1}
    train_small(run, epochs=100_000, minutes=0.05, schedule="cosine", trainer=first)
    state = last(run)
    assert 0 < state["global_step"] < 100_000
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] < 0.1 * 3e-3
    assert (run / "checkpoints" / "best.ckpt").exists()
    steps = f"only {state['global_step']} steps in 0.05 minutes: more --minutes lower the error"
    assert steps in capsys.readouterr().out


@pytest.mark.slow
def test_epochs_without_validation_are_saved_too(tmp_path) -> None:
    """The last epochs may have none; what was learnt is kept, and can be gone on from."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seldom = {"trainer": {"check_val_every_n_epoch": 2}}
    train_small(whole, **seldom, epochs=4)
    train_small(parts, **seldom, epochs=3)
    assert last(parts)["global_step"] == 12
    train_small(parts, **seldom, epochs=4, resume=str(parts))
    same_to_the_bit(whole, parts)


@pytest.mark.slow
def test_a_stop_waits_for_gradients_that_are_added_up(tmp_path) -> None:
    class StopsAtBatch(Callback):
        def on_train_batch_end(self, trainer, network, outputs, clips, batch_index) -> None:
            if batch_index == 2:  # the first of two
                next(one for one in trainer.callbacks if isinstance(one, Stops)).by_hand = True

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    two = {"trainer": {"accumulate_grad_batches": 2}}
    train_small(whole, **two)
    with pytest.raises(module.Stopped, match="stopped at step 2 "):
        train(small_options(parts, **two), callbacks=[StopsAtBatch()])
    train_small(parts, **two, resume=str(parts))
    same_to_the_bit(whole, parts)


@pytest.mark.parametrize(
    ("precision", "kept"),
    [
        ("64-true", torch.float64),
        ("bf16-true", torch.bfloat16),
        ("bf16-mixed", torch.float32),
        ("auto", torch.float32),  # a run resumed on another processor goes on as it began
    ],
)
def test_precisions(tmp_path, monkeypatch, precision: str, kept: torch.dtype) -> None:
    """Clips come in 8 bits, and become what the network computes in."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    step = {"max_steps": 1, "limit_val_batches": 0}
    run = train_small(tmp_path / "run", precision=precision, trainer=step)
    assert all(value.dtype == kept for value in last(run)["state_dict"].values())
    resolved = "32-true" if precision == "auto" else precision
    assert yaml.safe_load((run / "config.yaml").read_text())["precision"] == resolved


@pytest.mark.slow
@pytest.mark.parametrize(
    ("good", "more", "message", "kept"),
    [
        (9, {"epochs": 3}, "loss at step 10 is nan", 8),
        # In epochs of 3 steps validation comes before the loss is looked at.
        (
            7,
            {"epochs": 9, "trainer": {"limit_train_batches": 3}},
            "weights at step 9 contain NaN or infinity",
            6,
        ),
    ],
)
def test_a_diverged_training_stops_and_keeps_what_was_good(
    tmp_path, monkeypatch, good: int, more: dict, message: str, kept: int
) -> None:
    factors = chain(repeat(1.0, good), repeat(float("nan")))
    monkeypatch.setitem(LOSSES, "mae", lambda P, Y: (P - Y).abs().mean() * next(factors))
    with pytest.raises(ValueError, match=f"{message}.*: the training has diverged"):
        train_small(tmp_path / "run", loss="mae", **more)
    state = last(tmp_path / "run")
    assert state["global_step"] == kept
    assert all(value.isfinite().all() for value in state["state_dict"].values())


@pytest.mark.parametrize(
    ("workers", "bad", "message"), [("0", "float('nan')", "NaN"), ("2", "7.0", "outside [0, 1]")]
)
def test_bad_frames_in_the_middle_of_a_dataset(
    tmp_path, monkeypatch, capsys, workers: str, bad: str, message: str
) -> None:
    """One line, from the training process or from a loader's worker."""
    (tmp_path / f"spoilt{workers}.py").write_text(
        f"""
import torch
class Clips(torch.utils.data.Dataset):
    def __len__(self): return 16
    def __getitem__(self, i): return torch.full((5, 1, 16, 16), {bad} if i == 13 else 0.5)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = ["--data", f"spoilt{workers}.Clips", "--loader_workers", workers, "--devices", "1"]
    assert main(["train", *LEARNING, *data, "--run", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert f"data spoilt{workers}.Clips" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "cross_entropy", "model": "openstl"}, "cross_entropy needs forecasts"),
        ({"model": "black", "hidden": None}, "nothing to learn"),
        ({"batch_size": 17}, "do not fill one batch"),
        ({"model": "openstl", "freeze_encoder": True}, "for encoder-decoders"),
        ({"freeze_encoder": True, "sampling_steps": 9}, "freeze_encoder has no sampling_steps"),
        ({"model_args": {"channels": 3}}, "1 channels .* the model takes 3"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused_before_training(
    tmp_path, changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        train_small(tmp_path / "run", **changes)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_compiler_that_is_missing_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", Mock(side_effect=RuntimeError("no g++")))
    why_not_compiled.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"no C\+\+ compiler here that works"):
            train_small(tmp_path / "run", compile=True)
        assert not (tmp_path / "run").exists()
    finally:
        why_not_compiled.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("worth", "why", "options", "said"),
    [
        (1, "", {}, "recurrent cells are compiled"),
        (1, "no compiler", {}, "no compiler, so recurrent cells are slower"),
        (1, "", {"compile": False}, ""),
        (2**30, "no compiler", {}, ""),  # small maps: nobody asks
    ],
)
def test_large_maps_are_compiled_unasked_and_stay_so(
    tmp_path, monkeypatch, capsys, worth: int, why: str, options: dict, said: str
) -> None:
    """In a line, kept in the run's config."""
    monkeypatch.setattr("foreframe.training.preparation.WORTH", worth)
    monkeypatch.setattr("foreframe.training.preparation.why_not_compiled", lambda device: why)
    compiled: list[bool] = []
    loop = Recurrent.loop

    def seen(self, *given):
        compiled.append(self.compiled)
        self.compiled = False  # no compiler need be here
        return loop(self, *given)

    monkeypatch.setattr(Recurrent, "loop", seen)
    train_small(tmp_path / "run", epochs=1, **options)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (True in compiled) == config["compile"] == said.endswith("compiled")
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(said) == ("recurrent cells" in printed)


@pytest.mark.slow
def test_it_begins_with_weights_that_are_there(tmp_path) -> None:
    first, second = copied_run(tmp_path), tmp_path / "second"
    begun = {"epochs": 1, "weights": str(first), "learning_rate": 1e-9}
    train_small(second, **begun, trainer={"max_steps": 1})
    trained = Forecaster.load(first).model.state_dict()
    for name, value in last(second)["state_dict"].items():
        torch.testing.assert_close(value, trained[name.removeprefix("network.")], atol=1e-6, rtol=0)
    (first / "checkpoints" / "best.ckpt").unlink()
    (first / "checkpoints" / "last.ckpt").unlink()
    # The run has weights of its own by now.
    train_small(second, **begun, resume=str(second))
    with pytest.raises(ValueError, match="describe: encoder_decoder with other core; choose"):
        train_small(tmp_path / "third", hidden=9, weights=str(second))


def test_weights_that_draw_members_fit_a_network_that_draws_none(tmp_path) -> None:
    """Those of its forecaster."""
    past = torch.rand(2, 5, 1, 16, 16)
    drawing = build_model("dressed", {"of": "quick"}).eval()
    Forecaster(drawing).save(tmp_path / "dressed")
    network = build_model("quick").eval()
    load_initial_weights(network, str(tmp_path / "dressed"))
    torch.testing.assert_close(network(past, 4), drawing(past, 4))


@pytest.mark.slow
def test_tensorboard_starts_beside_the_training(tmp_path, capsys) -> None:
    train_small(tmp_path / "run", tensorboard=True, epochs=1)
    url = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("TensorBoard: ")
    ).split()[1]
    with urllib.request.urlopen(url, timeout=20) as page:
        assert page.status == 200


def test_what_a_forecast_lacks_is_told_before_a_folder_is_made(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Model, "forward", Mock(side_effect=ValueError("not installed")))
    with pytest.raises(ValueError, match="not installed"):
        train_small(tmp_path / "run", epochs=1)
    assert not (tmp_path / "run").exists()
