"""NetCDF files and Zarr stores, opened by xarray and decoded after a check of their headers.

xarray reads the coordinates of dimensions while it decodes a file, and storage libraries read a
whole chunk for one of its values.
"""

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from foreframe.base.budget import check_budget
from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line

# xarray takes a second to import, so it is imported where a grid is opened.

_CONCURRENT_CHUNKS = 10  # Zarr reads this many chunks concurrently
_NETCDF = (".nc", ".nc4", ".cdf", ".netcdf")


class Opened(NamedTuple):
    """An opened source.

    Args:
        dataset: an xarray Dataset; only the coordinates of dimensions are read from a file.
        name: for messages.
        path: local file or folder.
        close: closes a local file, which opens again for the next read. A process cannot write a
            file that it has open.
    """

    dataset: Any
    name: str
    path: Path | None = None
    close: Callable[[], None] | None = None


def open_grid(source: Any, budget: float) -> Opened:
    """Open a NetCDF file, a Zarr store or an xarray object.

    Args:
        source: a file, a folder or a URL; an xarray Dataset or DataArray.
        budget: GiB for opening.

    Raises:
        ValueError: no such file, damaged, more than the budget, pickled arrays, or a package
            that is missing.
    """
    import xarray as xr

    if isinstance(source, xr.DataArray):
        title = source.name if source.name is not None else "values"
        return Opened(source.to_dataset(name=title), str(title))
    if isinstance(source, xr.Dataset):
        return Opened(source, Path(source.encoding.get("source", "the Dataset")).name)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            f"a grid is a path, a URL, a Dataset or a DataArray, not a {type(source).__name__}"
        )
    text = os.fspath(source)
    path = None if "://" in text else Path(text)
    if path is not None and not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    cure = "check the path, or copy it again"
    if path is None:
        cure = "check the address and the connection"
        for package in ("fsspec", "h5py", "h5netcdf"):
            needed(package, "remote", f"{text}: reading from URLs")
    with in_one_line(f"cannot open {text}; {cure}"):
        file, engine = _of_url(text) if path is None else _of_path(path)
        dataset = _decoded(file, engine, budget, text)
        name = text.rstrip("/").rsplit("/", 1)[-1]
        if engine != "netcdf4":
            return Opened(dataset, name, path)
        _check_length(Path(text), dataset)
        # The public `close` of a Dataset closes once, however often its file is opened again.
        return Opened(dataset, name, path, dataset._close)


def _of_url(url: str) -> tuple[Any, str]:
    """Return a source for xarray that downloads only what is read, and its engine."""
    import fsspec

    if urlsplit(url).path.lower().endswith(_NETCDF):
        return fsspec.open(url).open(), "h5netcdf"
    return url, "zarr"


def _of_path(path: Path) -> tuple[Any, str]:
    """Return a source for xarray, and its engine. The first damaged Zarr array raises an error
    here, since zarr opens all of them at once and the others would end in tracebacks.
    """
    if path.is_file():
        return path, "netcdf4"
    import zarr

    group = zarr.open_group(path, mode="r")
    for name in sorted(member.name for member in path.iterdir()):
        group.get(name)
    return path, "zarr"


def _check_length(path: Path, dataset: Any) -> None:
    """Raise an error for a truncated classic file, which the library would fill with zeros."""
    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"
    least = sum(v.size * _itemsize(v) for v in dataset.variables.values())
    if classic and path.stat().st_size < least:
        raise ValueError(f"it was cut short, below its {least} bytes")


def _decoded(source: Any, engine: str, budget: float, where: str) -> Any:
    """Open and decode by CF, except that numbers in units of time are not durations."""
    import xarray as xr

    # chunks: xarray's lazy arrays, not dask's. No cache: slices do not stay in memory. Without
    # indexes and decoding, nothing is read.
    options: dict[str, Any] = {"engine": engine, "chunks": None, "cache": False}
    options |= {"decode_cf": False, "create_default_indexes": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = xr.open_dataset(source, **options)
        _check_headers(raw, budget, where)
        return xr.decode_cf(raw, decode_timedelta=False)


def _check_headers(dataset: Any, budget: float, where: str) -> None:
    """Check that one index, with the last two dimensions whole, fits into memory. Larger reads are
    checked later.

    Raises:
        OverBudgetError: more than the budget.
        ValueError: an array is stored with pickle, which zarr accepts together with another codec.
    """
    for name, variable in dataset.variables.items():
        codecs = [variable.encoding.get(key) for key in ("filters", "compressors", "serializer")]
        if "pickle" in str(codecs).lower():
            raise ValueError(f"{name} is pickled, and unpickling may run any code")
        need = bytes_to_read(variable, dict.fromkeys(variable.dims[:-2], 1))
        check_budget(need, budget, f"{where}: {name} of shape {variable.shape}", "leave it out")


def select_variables(
    variable: str | Sequence[str] | None,
    names: Sequence[str],
    where: str,
    spellings: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the names of the variables to read, by default of the only one.

    Args:
        variable: a name, several, or None for the only one.
        names: the variables of the file.
        where: the file's name, for messages.
        spellings: alternative names, each with the name in the file.

    Raises:
        ValueError: no such name; several, and no name is given.
    """
    known = {**(spellings or {}), **dict(zip(names, names, strict=True))}
    wanted = [variable] if isinstance(variable, str) else list(variable or names)
    if variable is None and len(names) > 1:
        raise ValueError(
            f"{where} has several variables: {', '.join(names)}; name one by variable, or a list "
            "that become channels"
        )
    for name in wanted:
        if name not in known:
            raise ValueError(f"{where} has no variable {name}; it has {', '.join(names) or 'none'}")
    return [known[name] for name in wanted]


# -- sizes -----------------------------------------------------------------------------------------


def _itemsize(variable: Any) -> int:
    """Return the bytes of a stored value; 16 for texts of any length."""
    return np.dtype(variable.encoding.get("dtype") or variable.dtype).itemsize or 16


def bytes_to_read(variable: Any, sizes: dict[Any, int]) -> int:
    """Return the bytes of memory for reading a part of an xarray variable, chunks included.

    Args:
        variable: as xarray opens or decodes it.
        sizes: indices to read of a dimension; by default all.
    """
    shape = [min(sizes.get(dim, size), size) for dim, size in variable.sizes.items()]
    stored, encoding = _itemsize(variable), variable.encoding
    need = math.prod(shape) * (stored + max(8, variable.dtype.itemsize))
    chunk = encoding.get("chunks") or encoding.get("chunksizes")
    if chunk:
        # A selected level has no axis.
        sides = zip(shape, chunk, strict=True) if len(chunk) == len(shape) else ()
        touched = math.prod(min(n, -(-n // max(1, side)) + 1) for n, side in sides)
        concurrent = _CONCURRENT_CHUNKS if encoding.get("chunks") else 1
        need += min(touched, concurrent) * math.prod(chunk) * stored
    return need


def stored_together(variable: Any, dim: Any) -> int:
    """Return the length of a Zarr store's chunks along a dimension; 0 for variables without it, and
    for other files.
    """
    chunks = variable.encoding.get("preferred_chunks", {})
    return int(chunks.get(dim, 0)) if variable.encoding.get("chunks") else 0


def written(
    store: Path, names: Sequence[str], time: str, first: int, end: int, least: int
) -> tuple[int, int]:
    """Count the written times of a Zarr store, and the chunks of the last one. Reading returns the
    fill value for missing chunks.

    Args:
        names: names of variables.
        time: the dimension.
        first: number of times that are known to be written.
        end: number of all times.
        least: number of chunks of a written time; 0 requires all.
    """
    import zarr

    group, counts, most = zarr.open_group(store, mode="r"), [0] * end, 0
    for name in (name for name in names if name in group):
        array: Any = group[name]
        dims: Any = getattr(array.metadata, "dimension_names", None)
        axis = list(dims or array.attrs["_ARRAY_DIMENSIONS"]).index(time)
        sides = array.shards or array.chunks
        places = [range(-(-n // side)) for n, side in zip(array.shape, sides, strict=True)]
        places[axis] = range(1)
        most += math.prod(map(len, places))
        for k in range(max(0, first - 1), end):
            places[axis] = range(k // sides[axis], k // sides[axis] + 1)
            keys = map(array.metadata.encode_chunk_key, product(*places))
            counts[k] += sum((store / name / key).exists() for key in keys)
    least = min(least or most, most)
    ready = max([first, *(k for k, n in enumerate(counts, 1) if n >= least)])
    return ready, counts[ready - 1] if ready else 0


def stored_bytes(path: Path, enough: int) -> int:
    """Return the size of a file, or of the files of a folder up to about `enough` bytes."""
    total = 0
    for file in [path] if path.is_file() else path.rglob("*"):
        total += file.stat().st_size if file.is_file() else 0
        if total >= enough:
            break
    return total
