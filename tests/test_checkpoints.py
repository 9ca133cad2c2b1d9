"""Checkpoints as files: torn, flipped, without a seal, and the generation before."""

import random
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from foreframe import Forecaster, Window
from foreframe.forecasting.checkpoint_files import (
    before,
    first_whole,
    is_whole,
    read_checkpoint,
    write_checkpoint,
)
from foreframe.models import build_model, preset


def forecaster(bias: float = 0.0) -> Forecaster:
    model = preset("tutorial", core={"convlstm": {"hidden": [2, 2]}})
    for p in model.parameters():
        torch.nn.init.constant_(p, bias)
    return Forecaster(model, Window(2, 2))


def checkpoint_of(it: Forecaster, step: int = 1) -> dict:
    weights = {f"network.{name}": value for name, value in it.model.state_dict().items()}
    return {"forecaster": it.config(), "state_dict": weights, "global_step": step}


def written(folder: Path, name: str = "best", **of: float) -> Path:
    path = folder / "checkpoints" / f"{name}.ckpt"
    write_checkpoint(path, checkpoint_of(forecaster(**of)))
    return path


def bias_of(it: Forecaster) -> float:
    return next(it.model.parameters()).flatten()[0].item()


def flip(path: Path, place: int, bit: int = 6) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_each_flipped_bit_is_seen(tmp_path) -> None:
    path = written(tmp_path, bias=0.5)
    content, draw = path.read_bytes(), random.Random(1)
    for place in (*draw.sample(range(len(content)), 60), *range(len(content) - 120, len(content))):
        path.write_bytes(content)
        assert is_whole(path)
        flip(path, place, draw.randrange(8))
        if is_whole(path):  # a bit of the archive's own words: what is sealed is whole
            weights = read_checkpoint(path)["state_dict"].values()
            assert all((value == 0.5).all() for value in weights)
            continue
        with pytest.raises(ValueError, match="cut short or damaged"):
            read_checkpoint(path)


def test_what_is_compressed_or_without_a_seal_is_refused(tmp_path, monkeypatch) -> None:
    """Compressed, a small file may fill the memory."""
    path = tmp_path / "best.ckpt"
    torch.save(checkpoint_of(forecaster()), path)
    assert not is_whole(path)
    bomb = tmp_path / "bomb"
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as small:
        for part in plain.namelist():
            small.writestr(part, plain.read(part))
    monkeypatch.setattr(torch, "save", lambda _, file: file.write(bomb.read_bytes()))
    write_checkpoint(path, {})
    with pytest.raises(ValueError, match="cut short or damaged"):
        read_checkpoint(path)


@contextmanager
def more_memory(at_most: int) -> Iterator[None]:
    """No more than so many bytes beside those that this process has."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + at_most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def one_number_each(weights: dict) -> dict:
    """Weights of these shapes, each of which a file holds as a single number."""
    return {name: torch.zeros(1).expand(value.shape) for name, value in weights.items()}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_weights_that_a_file_holds_as_one_number_take_no_memory(tmp_path) -> None:
    """A tensor may have any shape by strides of 0: what is computed on it fills the memory."""
    path = tmp_path / "best.ckpt"
    whole = checkpoint_of(forecaster())
    more = {"network.more": torch.zeros(1).expand(3 * 10**9)}
    write_checkpoint(path, whole | {"state_dict": whole["state_dict"] | more})
    assert path.stat().st_size < 50_000
    with more_memory(2**30), pytest.raises(ValueError, match="weight 'more' has shape"):
        Forecaster.load(path)
    # Nor does a model that is as large as these weights say.
    whole["forecaster"]["args"]["core"]["convlstm"]["hidden"] = [8192, 8192]
    with torch.device("meta"):
        large = build_model("tutorial", {"core": {"convlstm": {"hidden": [8192, 8192]}}}, 100)
    write_checkpoint(path, whole | {"state_dict": one_number_each(large.state_dict())})
    assert path.stat().st_size < 50_000
    with more_memory(2**30), pytest.raises(ValueError, match="is not held"):
        Forecaster.load(path)


def test_weights_that_share_their_numbers_make_no_large_model(tmp_path) -> None:
    whole = checkpoint_of(forecaster())
    args = {"core": {"convlstm": {"hidden": [128, 128]}}}
    whole["forecaster"]["args"] |= args
    with torch.device("meta"):
        weights = build_model("tutorial", args).state_dict()
    numbers = torch.zeros(max(value.numel() for value in weights.values()))
    views = {name: numbers[: value.numel()].view_as(value) for name, value in weights.items()}
    write_checkpoint(tmp_path / "best.ckpt", whole | {"state_dict": views})
    with pytest.raises(ValueError, match="more weights than its file holds"):
        Forecaster.load(tmp_path / "best.ckpt")


@pytest.mark.parametrize("kept", [0, 0.5])
def test_the_one_before_is_taken_and_said(tmp_path, kept: float) -> None:
    written(tmp_path, bias=0.25)
    path = written(tmp_path, bias=0.5)
    assert bias_of(Forecaster.load(tmp_path)) == 0.5
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    said = r"best.ckpt is cut short or damaged: best.previous.ckpt, of step 1, is taken instead$"
    with pytest.warns(UserWarning, match=said):
        assert bias_of(Forecaster.load(tmp_path)) == 0.25
    with pytest.raises(ValueError, match="cut short or damaged; use another checkpoint"):
        Forecaster.load(path)
    # The damaged one does not take the place of the good one.
    write_checkpoint(path, checkpoint_of(forecaster(0.75)))
    assert bias_of(Forecaster.load(before(path))) == 0.25
    assert bias_of(Forecaster.load(tmp_path)) == 0.75


def test_where_none_is_whole_that_is_said(tmp_path) -> None:
    for name in ("best", "last"):
        written(tmp_path, name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"best.ckpt and .*last.ckpt cannot be read"):
        Forecaster.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        first_whole([tmp_path / "nowhere.ckpt"])
