"""What a run goes on from: kills, locks, other options; and what breaks beside it."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from trainings import copied_run, last, rows_of, same_to_the_bit, small_options, train_small

from foreframe.cli import main
from foreframe.forecasting.checkpoint_files import before, write_checkpoint
from foreframe.training.checkpointing import Checkpoints
from foreframe.training.datamodule import _ignore_interrupts
from foreframe.training.fit import Stopped, train
from foreframe.training.module import ForecastModule
from foreframe.training.options import Options
from foreframe.training.run_folder import cut_rows, differences, recipe_of
from programs import printed_by
from test_files import in_process

ROOT = Path(__file__).parents[2]
OFTEN = {"save_every": 0.0}


class Killed(BaseException):
    """Ends a training as a kill does, as far as one can within a process."""


def dies(*_: object, **__: object) -> None:
    raise Killed


def killed(options: Options, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, name, dies)
        with pytest.raises(Killed):
            train(options)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(["2", "--only", "one process"], marks=pytest.mark.slow),
        pytest.param(["100"], marks=[pytest.mark.full, pytest.mark.timeout(3600)]),
    ],
    ids=["2", "100"],
)
def test_kills_as_the_benchmark_has_them(kills: list[str]) -> None:
    """Each is gone on with and compared to the bit with a run that was not killed."""
    program = ROOT / "benchmarks" / "kills.py"
    said = printed_by(program, "--seed", "7", "--kills", *kills, OMP_NUM_THREADS="1")
    assert ", 0 not" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_step_that_is_validated_is_saved_after_that(tmp_path, monkeypatch) -> None:
    """Killed while validating, and after its row was written: what a run lacks is done again."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    train_small(whole, **OFTEN)
    killed(small_options(run, **OFTEN), monkeypatch, ForecastModule, "validation_step")
    assert (last(run)["global_step"], (run / "validation.jsonl").exists()) == (3, False)
    resumed = small_options(run, **OFTEN, resume=str(run))
    killed(resumed, monkeypatch, Checkpoints, "on_validation_end")
    assert (last(run)["global_step"], [row["step"] for row in rows_of(run)]) == (3, [4])
    train(resumed)
    assert [{**row, "seconds": 0} for row in rows_of(run)] == [
        {**row, "seconds": 0} for row in rows_of(whole)
    ]
    same_to_the_bit(whole, run)
    assert last(whole)["callbacks"]["Checkpoints"] == last(run)["callbacks"]["Checkpoints"]
    for more, limit in (({}, "2 epochs"), ({"minutes": 1e-6}, "1e-06 minutes")):
        done = f"has had its {limit}; give it more by --{limit.split()[1]}, .*: foreframe.fit"
        with pytest.raises(ValueError, match=done):
            train_small(run, resume=str(run), **more)


@pytest.mark.slow
def test_what_is_stopped_is_saved_before_its_last_validation(tmp_path, monkeypatch) -> None:
    """Stopped by hand within an epoch, and killed while validating."""
    run, real = tmp_path / "run", ForecastModule.training_step

    def stopping(*given: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(ForecastModule, "training_step", stopping)
        killed(small_options(run), patch, ForecastModule, "validation_step")
    assert last(run)["global_step"] == 1
    train_small(run, resume=str(run))
    assert [row["step"] for row in rows_of(run)] == [4, 8]


@pytest.mark.slow
@pytest.mark.exact
def test_resumed_twice_is_as_if_never_stopped(tmp_path, monkeypatch) -> None:
    """Killed after the last batch of an epoch, then within the next one: the second resume took
    that one from its first batch.
    """
    whole, run = tmp_path / "whole", tmp_path / "run"
    often = {
        **OFTEN,
        "epochs": 3,
        "trainer": {"check_val_every_n_epoch": 3},
    }
    train_small(whole, **often)
    real, seen = ForecastModule.training_step, []

    def until(step: int) -> None:
        def dying(module: ForecastModule, *given: object) -> object:
            if module.global_step == step:
                raise Killed
            seen.append(module.global_step)
            return real(module, *given)

        monkeypatch.setattr(ForecastModule, "training_step", dying)

    for step, resume in ((4, None), (5, str(run)), (6, str(run))):
        until(step)
        with pytest.raises(Killed):
            train_small(run, **often, resume=resume)
    until(-1)
    train_small(run, **often, resume=str(run))
    assert seen[-8:] == list(range(4, 12))
    assert last(run)["global_step"] == 12
    same_to_the_bit(whole, run)


def test_rows_are_neither_lost_nor_doubled(tmp_path) -> None:
    file = tmp_path / "validation.jsonl"
    lines = [json.dumps({"step": step}) + "\n" for step in (3, 6, 9)]
    file.write_text("".join(lines) + '{"step": 1')
    for step, kept in ((9, 3), (5, 1)):
        cut_rows(file, step)
        assert file.read_text() == "".join(lines[:kept])


@pytest.mark.slow
@pytest.mark.parametrize("resumes", [True, False])
def test_a_run_killed_before_its_first_checkpoint_begins_again_in_its_folder(
    tmp_path, monkeypatch, capsys, resumes: bool
) -> None:
    run = tmp_path / "run"
    killed(small_options(run, epochs=1), monkeypatch, ForecastModule, "training_step")
    assert (run / "config.yaml").exists()
    train_small(run, epochs=1, resume=str(run) if resumes else None)
    said = f"{run} has no checkpoint yet: it starts again" in capsys.readouterr().out
    assert (said, last(run)["global_step"]) == (resumes, 4)


@pytest.mark.slow
def test_a_torn_last_checkpoint_is_no_end_of_the_run(tmp_path, capsys) -> None:
    run, whole = copied_run(tmp_path), tmp_path / "whole"
    train_small(run, resume=str(run))
    assert f"going on from {run}/checkpoints/last.ckpt, step 4" in capsys.readouterr().out
    shutil.copytree(run, whole)
    path = run / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:5000])
    train_small(run, resume=str(run))
    said = capsys.readouterr().out
    assert (
        f"{path} is cut short or damaged: last.previous.ckpt, of step 4, is taken instead" in said
    )
    assert f"going on from {before(path)}, step 4" in said
    same_to_the_bit(whole, run)
    assert [row["step"] for row in rows_of(run)] == [4, 8]


@pytest.mark.slow
def test_a_run_that_is_trained_now_is_not_resumed_beside_itself(tmp_path) -> None:
    run = copied_run(tmp_path)
    holder = in_process(
        "import time; from pathlib import Path; from foreframe.base.files import RunLock; "
        f"lock = RunLock(Path({str(run)!r})); lock.acquire(); print('here', flush=True); "
        "time.sleep(60)"
    )
    for options in (small_options(None, resume=str(run)), small_options(run)):
        with pytest.raises(
            ValueError, match=f"{run} is being trained by another process; wait for its end"
        ):
            train(options)
    holder.kill()
    holder.wait()
    train_small(None, resume=str(run))
    assert not (run / ".lock").exists()


def test_runs_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20261126-010203")
    made = [train_small(None, trainer={"max_steps": 1, "limit_val_batches": 0}) for _ in range(2)]
    name = "runs/quick-20261126-010203"
    assert list(map(str, made)) == [name, f"{name}-{os.getpid()}"]


@pytest.mark.slow
def test_what_differs_from_what_was_trained_is_named(tmp_path, capsys) -> None:
    run = copied_run(tmp_path)
    again = {"epochs": 2, "resume": str(run)}
    refusal = (
        f"{run} was trained with other options than these: optimizer was 'adam', now 'adamw'. "
        f"Take the change back or begin a new run with --weights {run}"
    )
    with pytest.raises(ValueError, match=re.escape(refusal)):
        train_small(None, optimizer="adamw", **again)
    changed = {"learning_rate": 1e-3, "beta_2": 0.9}
    train_small(None, **changed, **again)
    assert (
        "going on with other options than before: learning_rate was 0.003, now 0.001, "
        "beta_2 was 0.98, now 0.9"
    ) in capsys.readouterr().out
    group = last(run)["optimizer_states"][0]["param_groups"][0]
    assert (group["lr"], group["betas"][1]) == (1e-3, 0.9)
    train_small(None, **changed, epochs=3, resume=str(run))  # the run's own by now


def changed(**changes: object) -> list[str]:
    first, other = (recipe_of(small_options(None, **some)) for some in ({}, changes))
    return list(differences(first, other))


def test_to_lengthen_or_to_watch_a_run_is_no_change_of_it() -> None:
    longer = {"minutes": 3.0, "epochs": 9, "trainer": {"max_steps": 6}, "validation_clips": 2}
    assert changed(**longer, loader_workers=1, budget=2.0, device="auto", devices=2) == []
    recipe = {"seed": 1, "precision": "bf16-mixed", "loss": "mae", "schedule": "cosine", "past": 4}
    for name, value in recipe.items():
        assert changed(**{name: value}) == [name]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["rows", "checkpoints"])
def test_a_full_disk_ends_a_training_in_a_line(tmp_path, monkeypatch, what: str) -> None:
    run, real, write = copied_run(tmp_path), os.fsync, Path.write_bytes
    full = OSError(28, "No space left on device")

    def sync(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith("validation.jsonl"):
            raise full
        real(file)

    def cut(path: Path, held: bytes) -> None:
        write(path, bytes(held[:100]))
        raise full

    good = (run / "checkpoints" / "last.ckpt").read_bytes()
    with monkeypatch.context() as patch:
        if what == "rows":
            patch.setattr(os, "fsync", sync)
        else:
            patch.setattr(Path, "write_bytes", cut)
        with pytest.raises(ValueError, match="No space left on device") as told:
            train_small(run, resume=str(run))
    assert "\n" not in str(told.value)
    assert f"foreframe.fit(resume='{run}')" in str(told.value)
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == good
    saved = {path.name for path in (run / "checkpoints").iterdir()}
    assert saved == {"best.ckpt", "last.ckpt"}
    train_small(run, resume=str(run))
    assert [row["step"] for row in rows_of(run)] == [4, 8]


ENDLESS: dict = {}
ENDLESS["data_args"] = ENDLESS


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"state_dict": {}}, "cannot be resumed"),
        ({"callbacks": {"Checkpoints": {"best": 1.0, "waited": 0}}}, "cannot be resumed"),
        ({"elapsed": "long"}, "cannot be resumed"),
        ({"forecaster": {"args": ENDLESS}}, "other options"),
        ({"forecaster": [1]}, "is cut short or damaged|cannot be read"),
    ],
)
def test_a_checkpoint_that_holds_odd_things_is_refused_in_a_line(
    tmp_path, odd: dict, message: str
) -> None:
    run = copied_run(tmp_path)
    path = run / "checkpoints" / "last.ckpt"
    write_checkpoint(path, last(run) | odd)
    before(path).unlink()
    with pytest.raises(ValueError, match=message) as refused:
        train_small(None, resume=str(run))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("parent", "code"), [(None, 0), (1, 1)])
def test_a_worker_whose_parent_was_killed_at_once_does_not_live_on(
    monkeypatch, parent: int | None, code: int
) -> None:
    if parent is not None:
        monkeypatch.setattr(os, "getppid", lambda: parent)
    worker = multiprocessing.get_context("fork").Process(target=_ignore_interrupts, args=(0,))
    worker.start()
    worker.join()
    assert worker.exitcode == code


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once_and_a_checkpoint_that_is_written_is_none(
    tmp_path, monkeypatch
) -> None:
    run = copied_run(tmp_path)
    good = (run / "checkpoints" / "last.ckpt").read_bytes()
    handler = signal.getsignal(signal.SIGINT)

    def twice(*_: object) -> None:  # all is written, and about to take its place
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("foreframe.base.files._keep", twice)
        with pytest.raises(Stopped, match=f"stopped at once; .* foreframe.fit.resume='{run}'"):
            train_small(None, resume=str(run))
    assert signal.getsignal(signal.SIGINT) is handler
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == good
    saved = {path.name for path in (run / "checkpoints").iterdir()}
    assert saved == {"best.ckpt", "last.ckpt"}
    train_small(None, resume=str(run))


@pytest.mark.slow
def test_evaluate_tries_to_write_before_it_scores(tmp_path, monkeypatch, capsys) -> None:
    run = copied_run(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("foreframe.evaluation.card.score_clips", dies)
    assert main(["evaluate", str(run), "--output", str(tmp_path / "file" / "report")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err
