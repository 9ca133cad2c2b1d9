"""Processes that torchrun or SLURM starts: one folder, one result, and ends that are told once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy
from trainings import FLAGS, SMALL, groups, last, rows_of

import foreframe
from foreframe.base.processes import all_gather, is_first_process, rank_and_size
from foreframe.cli import main
from foreframe.training.fit import train

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0",
    "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
}  # fmt: skip
SLURM = {
    "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_NNODES": "1",
    "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0",
    "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
}  # fmt: skip
STARTED: list[subprocess.Popen] = []
ENDLESS = ["train", *FLAGS, "--epochs", "100000"]


@pytest.mark.parametrize(
    ("launcher", "words"),
    [
        (TORCHRUN, "devices is 4, but torchrun has started 2 on each node: give --devices 2"),
        (SLURM | {"SLURM_NTASKS": "6"}, "but SLURM has started 2 on each node"),
        ({"SLURM_NTASKS": "2"}, "--ntasks-per-node"),
    ],
)
def test_devices_that_disagree_with_the_launcher_are_refused_in_a_line(
    tmp_path, monkeypatch, capsys, launcher: dict[str, str], words: str
) -> None:
    for name, word in launcher.items():
        monkeypatch.setenv(name, word)
    run = tmp_path / "run"
    assert main(["train", *FLAGS, "--devices", "4", "--run", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not run.exists()


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),  # torchrun within srun
        ({"RANK": "2", "LOCAL_RANK": "0", "SLURM_PROCID": "0"}, False),
    ],
)
def test_which_process_is_the_first(monkeypatch, names: dict[str, str], first: bool) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, word in names.items():
        monkeypatch.setenv(name, word)
    assert is_first_process() == first
    assert rank_and_size() == (0, 1)  # tasks of SLURM may each score a run of their own
    assert all_gather("mine") == ["mine"]


def test_a_call_leaves_the_processes_that_it_has_joined(monkeypatch) -> None:
    """Those of torchrun; the next call joins them anew."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, word in (TORCHRUN | {"WORLD_SIZE": "1", "MASTER_PORT": port}).items():
        monkeypatch.setenv(name, word)
    clips = [torch.rand(6, 1, 8, 8) for _ in range(3)]
    for _ in range(2):
        assert not torch.distributed.is_initialized()
        foreframe.evaluate("persistence", clips, past=3, future=3)
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_what_python_gives_to_lightning_takes_the_launchers_place(tmp_path, monkeypatch) -> None:
    for name, word in SLURM.items():
        monkeypatch.setenv(name, word)
    seen = []

    class Seen(L.Callback):
        def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            seen.append((trainer.strategy, trainer.strategy.cluster_environment))

    class Own(SingleDeviceStrategy):
        cluster_environment = None

    own, environment = Own("cpu"), LightningEnvironment()
    sizes = {"hidden": 4, "past": 3, "future": 2, "batch_size": 4, "validation_clips": 5}
    options = {"data_args": SMALL, "device": "cpu", "devices": 1, "epochs": 1, "picture_every": 0}
    lightning = {"strategy": own, "plugins": [environment], "callbacks": [Seen()]}
    foreframe.fit("quick", run=tmp_path / "run", **sizes, **options, **lightning)
    assert seen == [(own, environment)]


def started(words: list[str], log: Path, before: list[str] = [], **env: str) -> subprocess.Popen:  # noqa: B006
    """A process in a group of its own, which writes to a file."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    """Whatever fails, no process trains on."""
    yield
    while STARTED:
        if (process := STARTED.pop()).poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def torchrun(words: list[str], log: Path, processes: int) -> subprocess.Popen:
    how = ["--standalone", "--nproc_per_node", str(processes), "-m", "foreframe"]
    return started(["torch.distributed.run", *how, *words], log)


def by_slurm(words: list[str], folder: Path, **more: str) -> list[subprocess.Popen]:
    """Two processes, as two tasks of SLURM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [
        started(
            ["foreframe", *words],
            folder / f"{rank}.log",
            **SLURM | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "MASTER_PORT": port} | more,
        )
        for rank in ("0", "1")
    ]


def wait_for(run: Path) -> None:
    """Until it has saved something."""
    checkpoint, deadline = run / "checkpoints" / "last.ckpt", time.monotonic() + 400
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert checkpoint.exists()


def begun(run: Path, *more: str) -> subprocess.Popen:
    """A training of many epochs, which writes to "log" and has saved something."""
    process = started(["foreframe", *ENDLESS, *more, "--run", str(run)], run.parent / "log")
    wait_for(run)
    return process


def children(pid: int) -> list[int]:
    """By /proc; none of a process that has just ended."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def ours(*logs: Path) -> list[str]:
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return [line for line in lines if line.startswith("foreframe: ")]


def ended(processes: list[subprocess.Popen], within: float = 400) -> list[int]:
    return [process.wait(within) for process in processes]


def stopped(run: Path, said: str) -> None:
    """What is said of its end, and that it goes on, by one process, where it was."""
    step = last(run)["global_step"]
    assert f"stopped at step {step} and saved; go on with: foreframe train --resume {run}" in said
    assert "Traceback" not in said
    goes_on(run)


def goes_on(run: Path) -> None:
    """Resumed by one process, where it was."""
    step = last(run)["global_step"]
    more = ["--devices", "1", "--trainer.max_steps", str(step + 3)]
    assert main(["train", "--resume", str(run), *more]) == 0
    assert last(run)["global_step"] == step + 3


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param(2, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param(4, marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
def test_processes_of_torchrun_learn_what_one_does(tmp_path, processes: int) -> None:
    """In a folder that the first one chooses."""
    more = ["--batch_size", str(8 // processes), "--epochs", "2"]
    code = ended([torchrun(["train", *FLAGS, *more], tmp_path / "log", processes)])
    said = (tmp_path / "log").read_text()
    assert code == [0], said
    assert said.count("The run is in") == 1
    (run,) = (tmp_path / "runs").iterdir()
    alone = train(*groups(tmp_path / "alone", batch_size=8, epochs=2))
    weights = last(run)["state_dict"]
    for name, value in last(alone)["state_dict"].items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)
    for row, same in zip(rows_of(run), rows_of(alone), strict=True):
        assert (row["clips"], row["step"]) == (same["clips"], same["step"])
        assert flat(row["scores"]) == pytest.approx(flat(same["scores"]), rel=1e-3)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The numbers in mappings and lists, by their place."""
    if not isinstance(value, dict | list):
        return {name: value} if isinstance(value, int | float) else {}
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: n for k, part in inner for key, n in flat(part, f"{name}/{k}").items()}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_processes_of_torchrun_score_what_one_does(tmp_path) -> None:
    """Sums, and each clip in its order, which the comparisons need; members, too."""
    drawing = {"model": "dressed", "hidden": None, "model_args": {"of": "linear_motion"}}
    run = train(*groups(tmp_path / "run", **drawing, loss="crps", epochs=1))
    how = ["evaluate", str(run), "--clips", "7", "--members", "2", "--batch_size", "2"]
    code = ended([torchrun([*how, "--output", "two"], tmp_path / "log", 2)])
    said = (tmp_path / "log").read_text()
    assert code == [0], said
    assert said.count("lie in two") == 1
    assert main([*how, "--output", str(tmp_path / "one")]) == 0
    one, two = (json.loads((tmp_path / of / "scorecard.json").read_text()) for of in ("one", "two"))
    assert two["clips"] == 7
    assert two["comparison"]["persistence"]["low"] is not None
    assert flat(two) == pytest.approx(flat(one), rel=1e-6, abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_slurms_signal_to_one_process_stops_all_at_a_step(tmp_path) -> None:
    run = tmp_path / "run"
    processes = by_slurm([*ENDLESS, "--run", str(run)], tmp_path)
    wait_for(run)
    processes[1].send_signal(signal.SIGUSR1)
    assert ended(processes) == [130, 0]
    assert "stopped" not in (tmp_path / "1.log").read_text()
    stopped(run, (tmp_path / "0.log").read_text())


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_a_process_that_dies_ends_all_with_one_line(tmp_path, launcher: str) -> None:
    run = tmp_path / "run"
    if launcher == "slurm":
        processes = by_slurm([*ENDLESS, "--run", str(run)], tmp_path)
        wait_for(run)
        dies = processes[1].pid
    else:
        # Without "--", torchrun takes --run for its own --run-path on older Pythons.
        how = ["--standalone", "--nproc_per_node", "2", "-m", "--", "foreframe"]
        words = ["torch.distributed.run", *how, *ENDLESS, "--run", str(run)]
        processes = [started(words, tmp_path / "log")]
        wait_for(run)
        pid = processes[0].pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        if not children.exists():
            pytest.skip("finds child processes in /proc")
        dies = int(children.read_text().split()[1])
    os.kill(dies, signal.SIGKILL)
    assert ended(processes, 60)[0] == 1
    (line,) = ours(*tmp_path.glob("*log"))
    assert "another process of this training has died" in line
    assert line.endswith(f"go on with: foreframe train --resume {run}")
    goes_on(run)


@pytest.mark.slow
def test_sigterm_to_a_process_that_has_started_another_stops_both(tmp_path) -> None:
    process = begun(tmp_path / "run", "--devices", "2")
    process.send_signal(signal.SIGTERM)
    assert ended([process]) == [130]
    stopped(tmp_path / "run", (tmp_path / "log").read_text())


@pytest.mark.slow
def test_ctrl_c_twice_from_a_terminal_is_one_line_each_and_130(tmp_path) -> None:
    """A terminal's Ctrl-C reaches the loader's worker too."""
    process = begun(tmp_path / "run", "--loader_workers", "1")
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    assert ended([process]) == [130]
    said = (tmp_path / "log").read_text()
    assert said.count("Stopping after this step") <= 1
    assert "stopped at " in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
@pytest.mark.parametrize(
    ("more", "words"),
    [(["--loader_workers", "1"], "a loader process"), (["--devices", "2"], "another process")],
)
def test_who_died_is_said_and_how_to_go_on(tmp_path, more: list[str], words: str) -> None:
    run = tmp_path / "run"
    process = begun(run, *more)
    deadline = time.monotonic() + 100
    # One at its epoch's end is not missed.
    while process.poll() is None and time.monotonic() < deadline:
        for child in children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.3)
    assert ended([process]) == [1]
    (line,) = ours(tmp_path / "log")
    assert words in line
    assert line.endswith(f"go on with: foreframe train --resume {run}")
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two network namespaces with a link between them, 10.77.0.1 and 10.77.0.2."""
    names = [f"foreframe{os.getpid()}{k}" for k in "ab"]
    a, b = names
    lines = [
        f"netns add {a}", f"netns add {b}",
        f"link add link0 netns {a} type veth peer name link0 netns {b}",
        *(f"-n {name} addr add 10.77.0.{k}/24 dev link0" for k, name in enumerate(names, 1)),
        *(f"-n {name} link set {link} up" for name in names for link in ("link0", "lo")),
    ]  # fmt: skip
    try:
        for line in lines:
            ip(line)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)


def ip(line: str) -> None:
    if shutil.which("ip") is None:
        pytest.skip("needs the program ip, to make two hosts of one")
    done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"network namespaces are not allowed here: {done.stderr}")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_link_that_is_cut_ends_both_hosts(tmp_path, hosts: list[str]) -> None:
    """No end of a connection tells of it."""
    run = tmp_path / "run"
    two = {
        "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0",
        "SLURM_NODELIST": "10.77.0.[1-2]", "GLOO_SOCKET_IFNAME": "link0",
    }  # fmt: skip
    processes = [
        started(
            ["foreframe", *ENDLESS, "--run", str(run)],
            tmp_path / f"{rank}.log",
            ["ip", "netns", "exec", host],
            **SLURM | two | {"SLURM_PROCID": rank, "SLURM_NODEID": rank},
        )
        for rank, host in zip("01", hosts, strict=True)
    ]
    wait_for(run)
    ip(f"-n {hosts[1]} link set link0 down")
    assert ended(processes, 60) == [1, 1]
    for rank, other in (("0", "1"), ("1", "0")):
        (line,) = ours(tmp_path / f"{rank}.log")
        assert f"process {other} of this training has died or cannot be reached" in line
    goes_on(run)
