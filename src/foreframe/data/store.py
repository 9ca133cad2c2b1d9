"""NetCDF files and Zarr stores, opened by xarray once their headers say that this is harmless.

xarray reads the coordinates of dimensions while it opens a file, and storage libraries a whole
chunk for one of its values.
"""

import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from foreframe.base.budget import OverBudgetError, check_budget
from foreframe.base.extras import needed

# xarray takes a second to import, so it is imported where a grid is opened.

_AT_ONCE = 10  # chunks that Zarr reads at once
_NETCDF = (".nc", ".nc4", ".cdf", ".netcdf")


class Opened(NamedTuple):
    """What lies in a source.

    Args:
        dataset: an xarray Dataset, of a file's arrays none but the coordinates of dimensions read.
        name: in messages.
        path: of a local file or folder.
        in_groups: the fields that lie in groups of it, as "group/name".
    """

    dataset: Any
    name: str
    path: Path | None = None
    in_groups: tuple[str, ...] = ()


class RefusedError(ValueError):
    """A refusal in one line, which stays as it is."""


def open_grid(source: Any, group: str, budget: float) -> Opened:
    """A NetCDF file, a Zarr store or an xarray object.

    Args:
        source: a file, a folder, a .zip, or a URL; an xarray Dataset, DataArray or DataTree.
        group: of a file or tree, "" for its root; what the groups around it say of its dimensions
            is true in it, too.
        budget: GiB that opening may take.

    Raises:
        ValueError: no such file, damaged, no such group, more than the budget, pickled arrays, or
            a package that is missing.
    """
    import xarray as xr

    if isinstance(source, xr.DataArray):
        title = source.name if source.name is not None else "values"
        return Opened(source.to_dataset(name=title), str(title))
    if isinstance(source, xr.Dataset):
        return Opened(source, Path(source.encoding.get("source", "the Dataset")).name)
    if isinstance(source, xr.DataTree):
        fields = [
            f"{node.path}/{title}".lstrip("/")
            for node in source.subtree
            for title, variable in node.data_vars.items()
            if variable.ndim > 2
        ]
        in_groups = _in_groups(fields, group, "the DataTree")
        return Opened(source[group or "/"].to_dataset(), "the DataTree", None, in_groups)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            f"a grid is a path, a URL or an xarray object, not a {type(source).__name__}"
        )
    text = os.fspath(source)
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    if "://" in text:
        return _open_url(text, group, budget)
    path = Path(text)
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    if path.is_dir() or path.suffix == ".zip":
        with in_one_line(f"{path} is not a whole Zarr store; check the path, or copy it again"):
            return _open_zarr(path, group, budget)
    with in_one_line(
        f"{path} is not a whole NetCDF file; check that it is NetCDF, or copy it again"
    ):
        return _open_netcdf(path, group, budget)


def _open_netcdf(path: Path, group: str, budget: float) -> Opened:
    """
    Raises:
        OSError: a classic file that was cut short, which the library would fill with zeros.
    """
    import netCDF4

    with netCDF4.Dataset(path) as file:
        arrays = list(_arrays(file))
        classic = file.data_model.startswith("NETCDF3")
    least = sum(math.prod(array.shape) * array.itemsize for array in arrays)
    if classic and path.stat().st_size < least:
        raise OSError(f"{path.stat().st_size} bytes where at least {least} belong")
    in_groups = _check_headers(arrays, group, budget, str(path))
    return Opened(_decoded(path, "netcdf4", group), path.name, path, in_groups)


def _open_zarr(path: Path, group: str, budget: float) -> Opened:
    store: Any = path
    members = [member.name for member in path.iterdir() if member.is_dir()] if path.is_dir() else []
    if path.is_file():
        from zarr.storage import ZipStore

        with zipfile.ZipFile(path) as archive:
            files = archive.infolist()
        largest = max((file.file_size for file in files), default=0)
        check_budget(largest, budget, f"{path}: its largest file")
        members = sorted({file.filename.partition("/")[0] for file in files})
        store = ZipStore(path, mode="r")
    arrays = _zarr_arrays(store, str(path), members)
    in_groups = _check_headers(arrays, group, budget, str(path))
    return Opened(_decoded(store, "zarr", group), path.name, path, in_groups)


def _open_url(url: str, group: str, budget: float) -> Opened:
    """The Zarr store, or the NetCDF-4 file, behind a URL, of which only what is read comes through
    the net.
    """
    name = url.rstrip("/").rsplit("/", 1)[-1]
    fsspec = needed("fsspec", "remote", f"{url}: reading from URLs")
    for link in url.split("::"):
        protocol = link.split("://")[0]
        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            cure = "pip install that package first"
            raise ValueError(f"{url}: {_first_line(error)} ({cure})") from None
        except ValueError:
            raise ValueError(
                f"{url}: nothing reads {protocol}:// URLs; use one that fsspec knows, such as "
                "https:// or s3://"
            ) from None
    if not urlsplit(url).path.lower().endswith(_NETCDF):
        with in_one_line(
            f"cannot open {url} as a Zarr store; check the address and the connection"
        ):
            arrays = _zarr_arrays(url, url, None)
            in_groups = _check_headers(arrays, group, budget, url)
            return Opened(_decoded(url, "zarr", group), name, None, in_groups)
    needed("h5py", "remote", f"{url}: reading NetCDF from URLs")  # h5netcdf no longer brings it
    h5netcdf = needed("h5netcdf", "remote", f"{url}: reading NetCDF from URLs")
    broken = f"cannot open {url} as NetCDF-4; check the address and the connection"
    with in_one_line(f"{broken}, or download the file"):
        file = fsspec.open(url).open()
        with h5netcdf.File(file, "r") as content:
            arrays = list(_arrays(content))
        in_groups = _check_headers(arrays, group, budget, url)
        return Opened(_decoded(file, "h5netcdf", group), name, None, in_groups)


def _decoded(source: Any, engine: str, group: str) -> Any:
    """CF decoding, except that what only looks like a duration stays a number, and times that
    cannot be decoded do too.
    """
    import xarray as xr

    # chunks are xarray's own lazy arrays, not dask's; without cache a slice does not stay in
    # memory.
    options: dict[str, Any] = {"engine": engine, "chunks": None, "cache": False}
    options |= {"decode_timedelta": False, "group": group or None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = xr.open_dataset(source, **options)
        except (ValueError, OverflowError) as error:
            if "decode" not in str(error):
                raise
            dataset = xr.open_dataset(source, **options, decode_times=False)
    if not group:
        return dataset
    outer = _decoded(source, engine, group.rpartition("/")[0])
    shared = {
        name: variable
        for name, variable in outer.variables.items()
        if name not in dataset.variables
        and variable.sizes.items() <= dataset.sizes.items()
        and (name in outer.coords or variable.ndim <= 2)
    }
    return dataset.assign_coords(shared).assign_attrs({**outer.attrs, **dataset.attrs})


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    reason = error.strerror if isinstance(error, OSError) else None
    words = reason or str(error).strip() or type(error).__name__
    return words.splitlines()[0][:160]


@contextmanager
def in_one_line(what: str) -> Any:
    """Turn whatever a storage library raises into one line: each of them has its own kinds of
    error.
    """
    try:
        yield
    except (OverBudgetError, RefusedError):
        raise
    except Exception as error:
        raise ValueError(f"{what} ({_first_line(error)})") from error


# -- headers ---------------------------------------------------------------------------------------


class _Array(NamedTuple):
    """An array by its header; its name is "group/name" in a group, `chunk` is () where it is
    stored in one piece.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    itemsize: int
    chunk: tuple[int, ...]


def _itemsize(dtype: Any) -> int:
    return np.dtype(dtype).itemsize or 16  # texts of any length have none


def _arrays(group: Any, prefix: str = "") -> Iterator[_Array]:
    """The arrays of a group and those in it, of netCDF4 or h5netcdf."""
    for name, variable in group.variables.items():
        chunk = variable.chunking() if hasattr(variable, "chunking") else variable.chunks
        sides = tuple(chunk) if isinstance(chunk, list | tuple) else ()
        dims, shape = tuple(variable.dimensions), tuple(variable.shape)
        yield _Array(prefix + name, dims, shape, _itemsize(variable.dtype), sides)
    for name, inner in group.groups.items():
        yield from _arrays(inner, f"{prefix}{name}/")


def _zarr_arrays(store: Any, where: str, members: Iterable[str] | None) -> list[_Array]:
    """The arrays of a Zarr store.

    Args:
        store: that zarr opens.
        where: of messages.
        members: what may be an array in it; None lets the store say. Zarr reads the metadata of
            members that it has to find itself at once, and when one of them is damaged, those of
            the others end in tracebacks.

    Raises:
        RefusedError: an array is stored with pickle.
    """
    import zarr

    def found(group: Any, names: Iterable[str] | None, prefix: str) -> Iterator[_Array]:
        known = group.members() if names is None else [(n, group[n]) for n in names if n in group]
        for title, item in known:
            name = prefix + title
            if isinstance(item, zarr.Group):
                yield from found(item, None, f"{name}/")
                continue
            header = item.metadata.to_dict()
            codecs = [header.get(key) for key in ("codecs", "filters", "compressor")]
            if "pickle" in str(codecs):
                raise ValueError("pickle")
            dims = header.get("dimension_names") or item.attrs.get("_ARRAY_DIMENSIONS") or ()
            size, chunks = _itemsize(item.dtype), tuple(item.chunks)
            yield _Array(name, tuple(map(str, dims)), tuple(item.shape), size, chunks)

    try:
        return list(found(zarr.open_group(store, mode="r"), members, ""))
    except Exception as error:  # some versions know no such codec, which is as well
        if "pickle" in str(error):
            raise RefusedError(
                f"{where}: an array is pickled, and unpickling may run any code; store it as plain "
                "numbers"
            ) from None
        raise


def _in_groups(fields: Iterable[str], group: str, where: str) -> tuple[str, ...]:
    """Those of the names that lie in groups.

    Raises:
        RefusedError: none of them lies in `group`.
    """
    inside = tuple(name for name in fields if "/" in name)
    if group and not any(name.startswith(f"{group}/") for name in inside):
        fields = ", ".join(inside) or "none"
        raise RefusedError(f"{where} has no group {group} with fields; its groups hold {fields}")
    return inside


def _check_headers(
    arrays: Sequence[_Array], group: str, budget: float, where: str
) -> tuple[str, ...]:
    """Refuse what opening a group, and those around it, would take too much for: of lines along a
    dimension a chunk, and all of those that xarray reads. Whatever has more axes is checked when it
    is read.

    Returns:
        The fields that lie in groups, as "group/name".

    Raises:
        OverBudgetError: more is needed than the budget.
        RefusedError: no such group.
    """
    for array in arrays:
        around, _, name = array.name.rpartition("/")
        outside = around and not f"{group}/".startswith(f"{around}/")
        if outside or len(array.shape) > 1:
            continue
        need = math.prod(array.chunk) * array.itemsize
        if array.dims == (name,):
            need += math.prod(array.shape) * max(8, array.itemsize)
        chunks = f"chunks of {array.chunk}" if array.chunk else "one piece"
        check_budget(need, budget, f"{where}: {array.name} of shape {array.shape} in {chunks}")
    return _in_groups([array.name for array in arrays if len(array.shape) > 2], group, where)


def bytes_to_read(variable: Any, sizes: dict[Any, int]) -> int:
    """The memory that reading some places of each dimension of an xarray variable takes, with the
    chunks they lie in.

    Args:
        variable: as xarray decodes it.
        sizes: how many places of a dimension are read; all of those that are not named.
    """
    encoding = variable.encoding
    shape = [min(sizes.get(dim, size), size) for dim, size in variable.sizes.items()]
    stored = _itemsize(encoding.get("dtype") or variable.dtype)
    need = math.prod(shape) * (stored + max(8, variable.dtype.itemsize))
    chunk = encoding.get("chunks") or encoding.get("chunksizes")
    if chunk:
        # A level that was chosen has no axis.
        sides = zip(shape, chunk, strict=True) if len(chunk) == len(shape) else ()
        touched = math.prod(min(n, -(-n // max(1, side)) + 1) for n, side in sides)
        need += min(touched, _AT_ONCE if encoding.get("chunks") else 1) * math.prod(chunk) * stored
    return need


def stored_bytes(path: Path, enough: int) -> int:
    """The size of a file, or of the files of a folder, of which no more are looked at once they are
    `enough`.
    """
    total = 0
    for file in [path] if path.is_file() else path.rglob("*"):
        total += file.stat().st_size if file.is_file() else 0
        if total >= enough:
            break
    return total
