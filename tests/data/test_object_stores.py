"""Zarr in an object store, larger than memory, is streamed: a local S3 server, and Icechunk."""

import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import icechunk
import numpy as np
import pytest
import s3fs
import torch
import xarray as xr
from moto.server import ThreadedMotoServer

from foreframe import Window, clips_from, predict
from foreframe.cli import main
from foreframe.data import DataOptions, Recordings, decoding, open_dataset
from foreframe.data.decoding import ChunkedFrames
from refusals import one_line

pytestmark = pytest.mark.slow  # a server, and processes
WINDOW = Window(3, 2)
FRAME = 16 * 24 * 4  # bytes


def rain(frames: int = 80) -> xr.Dataset:
    """Numbered frames, the values of which rise from 0 to their last number."""
    hours = np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(1, "h")
    values = np.linspace(0, np.arange(frames), 16 * 24, dtype=np.float32, axis=1)
    values = values.reshape(frames, 16, 24)
    return xr.Dataset({"rain": (("time", "y", "x"), values, {"units": "mm/h"})}, {"time": hours})


CHUNKS = {"rain": {"chunks": (4, 16, 24)}}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket that holds rain.zarr."""
    with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = ThreadedMotoServer("127.0.0.1", port)
        server.start()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
        rain().to_zarr("s3://bucket/rain.zarr", consolidated=False, encoding=CHUNKS)
        yield "s3://bucket"
        server.stop()


@pytest.fixture(scope="module")
def in_memory() -> Recordings:
    return Recordings(rain(), "train", WINDOW)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "IN_MEMORY", 40 * FRAME)


def test_a_store_is_read_by_the_chunk(
    bucket: str, in_memory: Recordings, little_memory: None
) -> None:
    (clip,) = clips_from(f"{bucket}/rain.zarr")
    assert clip.units == "mm/h"
    assert clip.times is not None
    np.testing.assert_array_equal(clip.frames[7:9][:, 0], rain()["rain"][7:9])
    dataset = open_dataset(DataOptions(f"{bucket}/rain.zarr", **asdict(WINDOW)), "train")
    assert isinstance(dataset, Recordings)
    assert isinstance(dataset.clips[0].frames, ChunkedFrames)
    assert dataset.windows == in_memory.windows
    assert torch.equal(dataset.batch(range(40)), in_memory.batch(range(40)))


def test_what_a_bucket_lacks_is_said_in_a_line(bucket: str) -> None:
    with one_line(r"cannot open s3://.*; check the address"):
        clips_from(f"{bucket}/none.zarr")


def test_trains_from_a_bucket_and_goes_on_exactly(
    bucket: str, little_memory: None, tmp_path: Path
) -> None:
    def trained(run: str, steps: int, *more: str) -> dict[str, torch.Tensor]:
        flags = ["--data", f"{bucket}/rain.zarr", "--past", "3", "--future", "2"]
        if not more:
            flags += ["--run", str(tmp_path / run), "--model", "quick", "--hidden", "4"]
            flags += ["--batch_size", "4", "--device", "cpu", "--picture_every", "0"]
        assert main(["train", *flags, "--trainer.max_steps", str(steps), *more]) == 0
        last = tmp_path / run / "checkpoints" / "last.ckpt"
        state: dict[str, torch.Tensor] = torch.load(last, weights_only=True)["state_dict"]
        return state

    whole = trained("whole", 6)
    trained("begun", 4)
    resumed = trained("begun", 6, "--resume", str(tmp_path / "begun"), "--loader_workers", "1")
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name]), name
    forecast = predict(tmp_path / "whole", f"{bucket}/rain.zarr")
    assert forecast.clip.units == "mm/h"


def test_an_icechunk_store_is_streamed(
    tmp_path: Path, in_memory: Recordings, little_memory: None
) -> None:
    storage = icechunk.local_filesystem_storage(str(tmp_path / "ice"))
    session = icechunk.Repository.create(storage).writable_session("main")
    rain().to_zarr(session.store, consolidated=False, encoding=CHUNKS)
    session.commit("rain")
    stored = icechunk.Repository.open(storage).readonly_session("main").store
    opened = xr.open_zarr(stored, consolidated=False, chunks=None)
    (clip,) = clips_from(opened)
    np.testing.assert_array_equal(clip.frames[7:9][:, 0], rain()["rain"][7:9])
    data = Recordings(opened, "train", WINDOW)
    assert isinstance(data.clips[0].frames, ChunkedFrames)
    assert torch.equal(data.batch(range(40)), in_memory.batch(range(40)))
