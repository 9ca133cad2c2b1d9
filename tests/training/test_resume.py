"""What a run goes on from: kills, owed validations, locks, other options; and what breaks beside
it.
"""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.strategies.launchers import subprocess_script
from torch.multiprocessing import reductions
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from foreframe.cli import main
from foreframe.forecasting.checkpoint_files import before, write_checkpoint
from foreframe.training import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)
from foreframe.training.datamodule import _own_signals
from foreframe.training.faults import companions, dead_worker, quiet_workers
from foreframe.training.fit import Stopped, train
from foreframe.training.module import ForecastModule
from foreframe.training.run_folder import cut_rows, differences, recipe_of
from foreframe.training.validation import Validation

ROOT = Path(__file__).parents[2]


def groups(run: Path | None, **changes: object) -> list:
    """Options of a training of 3 steps an epoch that takes a second; `changes` go to whichever
    group has that field.
    """
    made = [
        ModelOptions("quick", hidden=4),
        DataOptions(
            data_args={"canvas": 32, "clips": 12},
            past=2,
            future=2,
            batch_size=4,
            validation_clips=4,
        ),
        LearningOptions(learning_rate=3e-3, epochs=2),
        MachineOptions(device="cpu", devices=1),
        RunOptions(run=None if run is None else str(run), picture_every=0),
    ]
    for k, group in enumerate(made):
        made[k] = replace(
            group, **{name: value for name, value in changes.items() if hasattr(group, name)}
        )
    return made


def last(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def rows_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]


class Killed(BaseException):
    """Ends a training as a kill does, as far as one can within a process."""


def dies(*_: object, **__: object) -> None:
    raise Killed


def killed(options: list, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, name, dies)
        with pytest.raises(Killed):
            train(*options)


def test_some_kills_as_the_benchmark_has_them() -> None:
    """Three of the kills of `benchmarks/kills.py`, each gone on with and compared to the bit with a
    run that was not killed.
    """
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "3", "--seed", "7"),
            *("--only", "one process"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert ", 0 not" in done.stdout.splitlines()[-1]


def test_a_validation_that_is_owed_is_made_up_for(tmp_path, monkeypatch, capsys) -> None:
    """Saved at the end of an epoch, killed while validating: within the training, and in its last
    epoch.
    """
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(*groups(whole))
    often = {"save_every": 0.0}
    killed(groups(run, **often), monkeypatch, ForecastModule, "validation_step")
    assert (last(run)["global_step"], (run / "validation.jsonl").exists()) == (3, False)
    # The first validation is made up for, and then the second one of all, in the last epoch, is not
    # come to.
    killed(
        groups(run, **often, resume=str(run)),
        monkeypatch,
        Validation,
        "on_validation_epoch_end",
    )
    seen = []
    real = ForecastModule.training_step
    with monkeypatch.context() as patch:
        patch.setattr(ForecastModule, "training_step", lambda *a: (seen.append(1), real(*a))[1])
        train(*groups(run, **often, resume=str(run)))
        assert len(seen) == 3
        assert (
            "the validation after step 3, which the run did not come to, is made up for"
            in capsys.readouterr().out
        )
    assert [{**row, "seconds": 0} for row in rows_of(run)] == [
        {**row, "seconds": 0} for row in rows_of(whole)
    ]
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (
            torch.load(where / "checkpoints" / name, weights_only=True) for where in (whole, run)
        )
        assert one["callbacks"]["Checkpoints"] == other["callbacks"]["Checkpoints"]
        assert one["global_step"] == other["global_step"]
        assert all(
            torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items()
        )
    with pytest.raises(ValueError, match="has had its 2 epochs"):
        train(*groups(run, resume=str(run)))


def test_the_last_validation_that_is_owed_is_made_up_for_without_a_step(
    tmp_path, monkeypatch
) -> None:
    run = tmp_path / "run"
    killed(groups(run, epochs=1, save_every=0.0), monkeypatch, ForecastModule, "validation_step")
    assert not (run / "checkpoints" / "best.ckpt").exists()
    train(*groups(run, epochs=1, resume=str(run)))
    assert (run / "checkpoints" / "best.ckpt").exists()
    assert [row["step"] for row in rows_of(run)] == [3]
    assert rows_of(run)[0]["epoch"] == 0


@pytest.mark.parametrize("validated", [True, False])
def test_resumed_twice_is_as_if_never_stopped(tmp_path, monkeypatch, validated: bool) -> None:
    """Killed after the last batch of an epoch, then within the next one: the second resume took
    that one from its first batch.
    """
    whole, run = tmp_path / "whole", tmp_path / "run"
    often = {
        "save_every": 0.0,
        "epochs": 3,
        "trainer": {} if validated else {"check_val_every_n_epoch": 3},
    }
    train(*groups(whole, **often))
    real, seen = ForecastModule.training_step, []

    def until(step: int) -> None:
        def dying(module: ForecastModule, *given: object) -> object:
            if module.global_step == step:
                raise Killed
            seen.append(module.global_step)
            return real(module, *given)

        monkeypatch.setattr(ForecastModule, "training_step", dying)

    if validated:
        killed(groups(run, **often), monkeypatch, ForecastModule, "validation_step")
    else:
        until(3)
        with pytest.raises(Killed):
            train(*groups(run, **often))
    for step in (4, 5):
        until(step)
        with pytest.raises(Killed):
            train(*groups(run, **often, resume=str(run)))
    until(-1)
    train(*groups(run, **often, resume=str(run)))
    assert seen[-6:] == [3, 4, 5, 6, 7, 8]
    assert last(run)["global_step"] == last(whole)["global_step"] == 9
    assert all(
        torch.equal(value, last(run)["state_dict"][key])
        for key, value in last(whole)["state_dict"].items()
    )


def test_rows_are_neither_lost_nor_doubled(tmp_path) -> None:
    file = tmp_path / "validation.jsonl"
    lines = [json.dumps({"step": step}) + "\n" for step in (3, 6, 9)]
    file.write_text("".join(lines) + '{"step": 1')
    cut_rows(file, 9, owed=False)
    assert file.read_text() == "".join(lines)
    cut_rows(file, 9, owed=True)
    assert file.read_text() == "".join(lines[:2])
    cut_rows(file, 5, owed=False)
    assert file.read_text() == lines[0]
    cut_rows(tmp_path / "none", 5, owed=False)


def test_a_run_killed_before_its_first_checkpoint_begins_again_in_its_folder(
    tmp_path, monkeypatch, capsys
) -> None:
    run = tmp_path / "run"
    killed(groups(run, epochs=1), monkeypatch, ForecastModule, "training_step")
    assert (run / "config.yaml").exists()
    train(*groups(None, epochs=1, resume=str(run)))
    assert f"{run} has no checkpoint yet: it begins anew" in capsys.readouterr().out
    assert last(run)["global_step"] == 3
    other = tmp_path / "other"
    killed(groups(other, epochs=1), monkeypatch, ForecastModule, "training_step")
    train(*groups(other, epochs=1))
    assert last(other)["global_step"] == 3


def test_a_torn_last_checkpoint_is_no_end_of_the_run(tmp_path, capsys) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(*groups(whole))
    train(*groups(run, epochs=1))
    train(*groups(run, resume=str(run)))
    assert f"going on from {run}/checkpoints/last.ckpt, step 3" in capsys.readouterr().out
    path = run / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:5000])
    train(*groups(run, resume=str(run)))
    said = capsys.readouterr().out
    assert (
        f"{path} is cut short or damaged: last.previous.ckpt, of step 3, is taken instead" in said
    )
    assert f"going on from {before(path)}, step 3" in said
    assert all(
        torch.equal(value, last(run)["state_dict"][key])
        for key, value in last(whole)["state_dict"].items()
    )
    assert [row["step"] for row in rows_of(run)] == [3, 6]


def test_a_run_that_is_trained_now_is_not_resumed_beside_itself(tmp_path) -> None:
    run = tmp_path / "run"
    train(*groups(run, epochs=1))
    code = (
        "import time; from pathlib import Path; from foreframe.base.files import RunLock; "
        f"lock = RunLock(Path({str(run)!r})); print(lock.acquire(), flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.stdout.close()
    for options in (groups(None, resume=str(run)), groups(run)):
        with pytest.raises(
            ValueError, match=f"{run} is being trained by another process; wait for its end"
        ):
            train(*options)
    holder.kill()
    holder.wait()
    train(*groups(None, resume=str(run)))
    assert not (run / ".lock").exists()


def test_runs_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20261126-010203")
    made = [
        train(*groups(None, trainer={"max_steps": 1, "limit_val_batches": 0})) for _ in range(3)
    ]
    name = "runs/quick-20261126-010203"
    assert list(map(str, made)) == [name, f"{name}-2", f"{name}-3"]


def test_what_differs_from_what_was_trained_is_named(tmp_path, capsys) -> None:
    run = tmp_path / "run"
    train(*groups(run, epochs=1))
    again = {"epochs": 2, "resume": str(run)}
    changes = {"learning_rate": 1e-3, "data_args": {"canvas": 32, "clips": 8}}
    with pytest.raises(ValueError) as told:
        train(*groups(None, **changes, **again))
    assert str(told.value) == (
        f"{run} was trained with other options than these: data_args.clips was 12, now 8, "
        "learning_rate was 0.003, now 0.001. "
        "Take the change back (config.yaml, or the flag), or go on with it: --accept_changes"
    )
    with pytest.raises(
        ValueError, match=r"optimizer was 'adam', now 'adamw'. Another optimizer cannot go on"
    ):
        train(*groups(None, optimizer="adamw", accept_changes=True, **again))
    with pytest.raises(ValueError, match=r"trainer.accumulate_grad_batches was not given, now 2"):
        train(*groups(None, trainer={"accumulate_grad_batches": 2}, **again))
    train(*groups(None, learning_rate=1e-3, beta_2=0.9, accept_changes=True, **again))
    assert (
        "going on with other options than before: learning_rate was 0.003, now 0.001"
        in capsys.readouterr().out
    )
    group = last(run)["optimizer_states"][0]["param_groups"][0]
    assert (group["lr"], group["betas"][1]) == (1e-3, 0.9)
    # These are the run's own by now.
    train(*groups(None, learning_rate=1e-3, beta_2=0.9, epochs=3, resume=str(run)))


def test_to_lengthen_or_to_watch_a_run_is_no_change_of_it() -> None:
    first = groups(None)
    ordinary = groups(
        None,
        minutes=3.0,
        epochs=9,
        workers=1,
        budget=2.0,
        validation_clips=2,
        device="auto",
        devices=2,
        trainer={"max_steps": 6},
    )
    assert differences(recipe_of(*first[:4]), recipe_of(*ordinary[:4])) == {}
    for name, value in (
        ("seed", 1),
        ("precision", "bf16-mixed"),
        ("loss", "mae"),
        ("schedule", "cosine"),
        ("past", 3),
    ):
        assert list(
            differences(recipe_of(*first[:4]), recipe_of(*groups(None, **{name: value})[:4]))
        ) == [name]


@pytest.mark.parametrize("written", [0, 5])
def test_events_and_rows_that_find_no_room_end_no_training(
    tmp_path, monkeypatch, capfd, written: int
) -> None:
    """TensorBoard's file system is full from the start or soon after; that of validation.jsonl
    once; that of pictures always.
    """
    from tensorboard.compat.tensorflow_stub.io import gfile

    run = tmp_path / "run"
    real, full = os.fsync, OSError(28, "No space left on device")

    writes, real_write = [0], gfile.GFile.write

    def no_room(*given: object) -> None:
        writes[0] += 1
        if writes[0] > written:
            raise full
        real_write(*given)

    def sync(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith("validation.jsonl") and not rows:
            rows.append(1)
            raise full
        real(file)

    rows: list[int] = []
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(gfile.GFile, "write", no_room)
    monkeypatch.setattr(
        "foreframe.training.snapshots.write_png",
        lambda *_: (_ for _ in ()).throw(ValueError("cannot write step.png")),
    )
    train(*groups(run, picture_every=1))
    said = capfd.readouterr()
    assert said.out.count("TensorBoard's events cannot be written (No space left on device)") == 1
    assert said.out.count("validation.jsonl cannot be written (No space left on device)") == 1
    assert said.out.count("pictures are left out") == 1
    assert "Traceback" not in said.out + said.err
    assert [row["step"] for row in rows_of(run)] == [3, 6]  # the first one came with the second
    assert last(run)["global_step"] == 6


def test_a_folder_that_vanishes_ends_no_training(tmp_path, monkeypatch, capfd) -> None:
    run, real, seen = tmp_path / "run", ForecastModule.training_step, []

    def step(*given: object) -> object:
        seen.append(1)
        if len(seen) == 2:
            shutil.rmtree(run)
        return real(*given)

    monkeypatch.setattr(ForecastModule, "training_step", step)
    train(*groups(run))
    said = capfd.readouterr()
    assert said.out.count("validation.jsonl cannot be written (No such file or directory)") == 1
    assert "Traceback" not in said.out + said.err
    assert last(run)["global_step"] == 6
    assert [row["step"] for row in rows_of(run)] == [3, 6]


ENDLESS: dict = {}
ENDLESS["data_args"] = ENDLESS


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"state_dict": {}}, "does not hold this network's weights"),
        ({"state_dict": [1]}, "last.ckpt.state_dict is names and values, not"),
        ({"callbacks": None}, "last.ckpt.callbacks is names and values, not"),
        ({"callbacks": {"Checkpoints": {"owed": "now"}}}, "owed validation is no epoch and step"),
        ({"loops": {"fit_loop": 3}}, "does not tell how far it is"),
        ({"elapsed": "long"}, "last.ckpt.elapsed is a finite number"),
        ({"forecaster": {}}, "another network"),
        ({"recipe": ENDLESS}, "recipe"),
        ({"recipe": None}, "last.ckpt.recipe is names and values, not None"),
        ({"forecaster": {"args": ENDLESS}}, "network in the checkpoint"),
        ({"forecaster": [1]}, "is cut short or damaged|cannot be read"),
    ],
)
def test_a_checkpoint_that_holds_odd_things_is_refused_in_a_line(
    tmp_path_factory, monkeypatch, odd: dict, message: str
) -> None:
    run = tmp_path_factory.getbasetemp() / "odd"
    if not run.exists():
        train(*groups(run, epochs=1))
    path = run / "checkpoints" / "last.ckpt"
    good = path.read_bytes()
    try:
        write_checkpoint(path, last(run) | odd)
        before(path).unlink()
        with pytest.raises(ValueError, match=message) as told:
            train(*groups(None, resume=str(run)))
        assert "\n" not in str(told.value)
    finally:
        path.write_bytes(good)


def test_words_for_a_dead_worker() -> None:
    said = dead_worker(RuntimeError("DataLoader worker (pid 71) is killed by signal: Killed. "))
    assert said == (
        "a loader process (71) was killed, as the system does where memory runs out "
        "(fewer --workers take less)"
    )
    assert dead_worker(
        RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly")
    ).startswith("a loader process (7, 8)")
    assert dead_worker(RuntimeError("shapes differ")) == ""


def test_a_loader_that_was_never_whole_goes_quietly(monkeypatch) -> None:
    """As where a worker dies while others are started: torch looks for what is not set yet."""
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    with quiet_workers():
        loader = object.__new__(_MultiProcessingDataLoaderIter)
        del loader
        assert seen == []

        class Other:
            def __del__(self) -> None:
                raise AttributeError("missing")

        other = Other()
        del other
    assert len(seen) == 1


def test_a_worker_that_dies_with_a_batch_in_its_hands_is_a_dead_worker() -> None:
    cut = ConnectionResetError(104, "Connection reset by peer")
    with pytest.raises(ConnectionResetError) as told:
        reductions.rebuild_storage_fd(torch.UntypedStorage, Mock(detach=Mock(side_effect=cut)), 4)
    assert dead_worker(told.value).startswith("a loader process has ended")
    with pytest.raises(ConnectionResetError) as told:  # a Dataset that reads from afar
        raise ConnectionResetError(104, "Connection reset by peer")
    assert dead_worker(told.value) == ""


@pytest.mark.parametrize(("parent", "code"), [(None, 0), (1, 1)])
def test_a_worker_whose_parent_was_killed_at_once_does_not_live_on(
    monkeypatch, parent: int | None, code: int
) -> None:
    if parent is not None:
        monkeypatch.setattr(os, "getppid", lambda: parent)
    worker = multiprocessing.get_context("fork").Process(target=_own_signals, args=(0,))
    worker.start()
    worker.join()
    assert worker.exitcode == code


def test_a_second_ctrl_c_stops_at_once_and_a_checkpoint_that_is_written_is_none(
    tmp_path, monkeypatch
) -> None:
    run = tmp_path / "run"
    train(*groups(run, epochs=1))
    good = (run / "checkpoints" / "last.ckpt").read_bytes()
    handler = signal.getsignal(signal.SIGINT)

    def twice(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(
            "foreframe.base.files._keep", twice
        )  # all is written, and about to take its place
        with pytest.raises(
            Stopped,
            match="stopped at once; the last checkpoint stays, "
            f"go on with: foreframe train --resume {run}",
        ):
            train(*groups(None, resume=str(run)))
    assert signal.getsignal(signal.SIGINT) is handler
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == good
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    train(*groups(None, resume=str(run)))


def flags(run: Path) -> list[str]:
    own = [
        *("--model", "quick", "--hidden", "4", "--data_args.canvas", "32"),
        *("--data_args.clips", "12", "--past", "2", "--future", "2"),
    ]
    few = [
        *("--batch_size", "4", "--validation_clips", "4", "--epochs", "100000"),
        *("--device", "cpu", "--picture_every", "0"),
    ]
    return ["train", *own, *few, "--run", str(run)]


def begun(run: Path, *more: str) -> subprocess.Popen:
    """A training of many epochs in a session of its own, once it has saved something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "foreframe", *flags(run), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return process


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has just ended
        return []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
@pytest.mark.parametrize(
    ("more", "words"), [(["--workers", "1"], "a loader process"), (["--devices", "2"], "process 1")]
)
def test_who_died_is_said_and_how_to_go_on(tmp_path, more: list[str], words: str) -> None:
    run = tmp_path / "run"
    process = begun(run, *more)
    deadline = time.monotonic() + 60
    # One at its epoch's end is not missed.
    while process.poll() is None and time.monotonic() < deadline:
        for child in children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.3)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    ours = [line for line in said.splitlines() if line.startswith("foreframe: ")]
    assert len(ours) == 1
    assert words in ours[0]
    assert ours[0].endswith(f"go on with: foreframe train --resume {run}")
    assert "Traceback" not in said


def test_no_watch_of_lightnings_comes_before_ours() -> None:
    """Where both look, it is chance which of them finds a death first, and Lightning's says
    nothing.
    """
    strategy = SimpleNamespace(launcher=SimpleNamespace(procs=()))
    trainer = Mock(spec=L.Trainer, world_size=2, strategy=strategy)

    def watches() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with companions(trainer, lambda: False, "go on"):
        subprocess_script._launch_process_observer([ended])
        assert "companions" in watches()
        assert "child-process-observer" not in watches()
    subprocess_script._launch_process_observer([ended])  # it is as it was
    assert "child-process-observer" in watches()


def test_ctrl_c_twice_from_a_terminal_is_one_line_each_and_130(tmp_path) -> None:
    """A terminal's Ctrl-C reaches the loader's worker too."""
    process = begun(tmp_path / "run", "--workers", "1")
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.count("Stopping after this step") <= 1
    assert "stopped at " in said.splitlines()[-1]
    assert "Traceback" not in said


def test_evaluate_tries_to_write_before_it_scores(tmp_path, monkeypatch, capsys) -> None:
    run = train(*groups(tmp_path / "run", epochs=1))
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("foreframe.evaluation.card.score_clips", dies)
    assert main(["evaluate", str(run), "--output", str(tmp_path / "file" / "report")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err
