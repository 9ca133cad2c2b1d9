"""Small recordings such as people have, of blobs that drift: films, pictures, arrays, grids."""

from pathlib import Path

import numpy as np
import pyproj
import torch
import xarray as xr
from PIL import Image
from scipy import ndimage

from foreframe.models import build_model
from foreframe.visuals import write_mp4


def blobs(frames: int, height: int, width: int) -> np.ndarray:
    """Three soft blobs that drift to the right and come in again at the left, (T,H,W) in [0,1]."""
    t = np.arange(frames)[:, None, None]
    y, x = np.arange(height)[:, None], np.arange(width)
    field = np.zeros((frames, height, width))
    places = (0.3, 0.2, 1.0, 0.12), (0.6, 0.7, 0.5, 0.2), (0.8, 0.4, 1.5, 0.1)
    for row, column, speed, radius in places:
        across = (x - column * width - speed * t + width / 2) % width - width / 2
        field += np.exp(-(across**2 + (y - row * height) ** 2) / (radius * min(height, width)) ** 2)
    return np.clip(field, 0, 1)


def texture(seed: int, side: int = 96, sigma: float = 2.0) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random((side, side)), sigma)
    return (field - field.min()) / np.ptp(field)


def pixels(frames: int, height: int, width: int) -> np.ndarray:
    """The blobs as a camera would see them, (T,H,W,3) in 8 bits."""
    grey = np.round(30 + 200 * blobs(frames, height, width)).astype(np.uint8)
    return np.stack([grey, grey // 2, 255 - grey], axis=-1)


def film(path: Path, frames: int = 120, height: int = 48, width: int = 64) -> None:
    """A film; whatever its ending is, what is in it is an mp4, which no reader minds."""
    write_mp4(path.with_suffix(".mp4"), pixels(frames, height, width), fps=10)
    path.with_suffix(".mp4").rename(path)


def folder_of_films(path: Path, films: int = 10, frames: int = 22) -> None:
    path.mkdir()
    for k in range(films):
        film(path / f"film{k}.mp4", frames)


def folder_of_pictures(path: Path, frames: int = 120, height: int = 48, width: int = 64) -> None:
    path.mkdir()
    for k, frame in enumerate(pixels(frames, height, width)):
        Image.fromarray(frame).save(path / f"{k:04d}.png")


def array(path: Path, frames: int = 240, height: int = 48, width: int = 48) -> None:
    """Floats in [0,1], as .npy."""
    np.save(path, blobs(frames, height, width).astype(np.float32))


def hours(frames: int) -> np.ndarray:
    return np.datetime64("2019-03-01", "ns") + np.arange(frames) * np.timedelta64(1, "h")


def kelvin(frames: int, height: int, width: int) -> np.ndarray:
    """Warmer by day than by night, with blobs of warm air that drift through."""
    daily = 5 * np.sin(2 * np.pi * np.arange(frames) / 24)[:, None, None]
    return (280 + daily + 8 * blobs(frames, height, width)).astype(np.float32)


def temperatures(path: Path, frames: int = 120, height: int = 24, width: int = 32) -> None:
    """An hourly grid in K as NetCDF, Zarr or .npz, by the ending of `path`."""
    values, times = kelvin(frames, height, width), hours(frames)
    latitude, longitude = np.linspace(60, 50, height), np.linspace(-10, 2, width)
    if path.suffix == ".npz":
        place = {"latitude": latitude, "longitude": longitude}
        np.savez(path, frames=values, times=times.astype(str), units=np.array("K"), **place)
        return
    grid = xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {
            "time": times,
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
        },
    )
    if path.suffix == ".zarr":
        grid.to_zarr(path, consolidated=False)
    else:
        grid.to_netcdf(path)


def weather(path: Path, frames: int = 320, height: int = 16, width: int = 24) -> None:
    """Temperature and wind, hourly, and heights of the ground, as NetCDF."""
    places = ("latitude", "longitude")
    values = kelvin(frames, height, width)
    xr.Dataset(
        {
            "t2m": (("time", *places), values, {"units": "K"}),
            "wind": (("time", *places), (values - values.min()) / 3, {"units": "m s-1"}),
            "elevation": (places, np.linspace(0, 900, height * width).reshape(height, width)),
        },
        {
            "time": hours(frames),
            "latitude": ("latitude", np.linspace(60, 50, height), {"units": "degrees_north"}),
            "longitude": ("longitude", np.linspace(-10, 2, width), {"units": "degrees_east"}),
        },
    ).to_netcdf(path)


SWISS = {"crs_wkt": pyproj.CRS("EPSG:21781").to_wkt()}


def rain(path: Path, frames: int = 120, side: int = 128) -> None:
    """Rain in mm/h every five minutes as NetCDF, on the Swiss grid around Zurich; what the radar
    does not reach is missing.
    """
    values = (20 * blobs(frames, side, side) ** 2).astype(np.float32)
    values[values < 0.1] = 0
    values[:, :8, :8] = np.nan
    times = np.datetime64("2016-07-11", "ns") + 5 * np.arange(frames) * np.timedelta64(1, "m")
    east = ("x", 620_000 + 1000.0 * np.arange(side), {"units": "m"})
    north = ("y", 300_000 - 1000.0 * np.arange(side), {"units": "m"})
    about = {"units": "mm/h", "grid_mapping": "crs"}
    xr.Dataset(
        {"rain": (("time", "y", "x"), values, about), "crs": ((), 0, SWISS)},
        {"time": times, "y": north, "x": east},
    ).to_netcdf(path)


def radar_archives(path: Path, side: int = 416) -> None:
    """The four archives of examples/radar in the codes of their services, with a corner that no
    radar reaches.
    """
    path.mkdir()
    for name, frames, highest, kind in (
        ("mch_rain_20150515", 40, 150, np.uint8),
        ("knmi_acc_20100826", 92, 300, np.uint16),
        ("mch_rain_20160711", 40, 150, np.uint8),
        ("fmi_dbz_20170509", 40, 150, np.uint8),
    ):
        codes = np.round(highest * blobs(frames, side, side)).astype(kind)
        codes[:, :32, :32] = np.iinfo(kind).max
        begun = np.datetime64(f"{name[-8:-4]}-{name[-4:-2]}-{name[-2:]}", "m")
        np.savez(path / f"{name}.npz", frames=codes, times=begun + 5 * np.arange(frames))


def published_clips(path: Path) -> None:
    """A file with the published Moving MNIST file's name, shape and type, black but for the blobs
    of its first clip.
    """
    clips = np.lib.format.open_memmap(path, "w+", np.uint8, (20, 10_000, 64, 64))  # a sparse file
    clips[:, 0] = np.round(255 * blobs(20, 64, 64))


def kth(path: Path) -> None:
    """Films of six persons, and the sequences in them, as KTH's files lie."""
    lines = ["Sequences of the films:"]
    for k, person in enumerate((1, 2, 14, 15, 17, 25)):
        action = ("boxing", "running")[k % 2]
        (path / action).mkdir(parents=True, exist_ok=True)
        film(path / action / f"person{person:02d}_{action}_d1_uncomp.avi", 70, 30, 40)
        lines.append(f"person{person:02d}_{action}_d1\t\tframes\t1-35, 36-71")
    (path / "00sequences.txt").write_text("\n".join(lines))


def openstl_checkpoint(path: Path) -> None:
    """TAU of the size that OpenSTL trains on KTH, by the names of its code, untrained."""
    from foreframe.addons.zoo.originals.openstl import their_name

    network = build_model("tau", {"temporal": 256, "blocks": 6, "layers": 2})
    torch.save({their_name(name): value for name, value in network.state_dict().items()}, path)
