"""What NetCDF files and Zarr stores say that they hold, read off their metadata before xarray opens
them.

xarray reads the coordinates of dimensions while it opens a file, and storage libraries a whole
chunk for one of its values.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from foreframe.data.budget import check_budget

_PICKLED = "{} is pickled, and unpickling may run any code; store it as plain numbers"
_AT_ONCE = 10  # chunks that Zarr reads at once


class PickledError(ValueError):
    """An array that would have to be unpickled."""


class _Array(NamedTuple):
    """An array by its metadata; `chunk` is () where it is stored in one piece."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    itemsize: int
    chunk: tuple[int, ...]
    codecs: frozenset[str]


def check_netcdf(path: Path, budget: float) -> None:
    """Refuse a NetCDF file that opening would take more than the budget for, and one whose values
    are not all there.

    Raises:
        OverBudgetError: coordinates of dimensions, or their chunks, larger than the budget.
        OSError: a classic file that was cut short, which the library would fill with zeros.
    """
    import netCDF4

    with netCDF4.Dataset(path) as held:
        arrays = []
        for name, variable in held.variables.items():
            chunks = variable.chunking()
            chunk = tuple(chunks) if isinstance(chunks, list | tuple) else ()
            itemsize = getattr(variable.dtype, "itemsize", 16)  # texts of any length have none
            arrays.append(
                _Array(
                    name,
                    tuple(variable.dimensions),
                    tuple(variable.shape),
                    itemsize,
                    chunk,
                    frozenset(),
                )
            )
        classic = held.data_model.startswith("NETCDF3")
    if classic:
        least = sum(math.prod(array.shape) * array.itemsize for array in arrays)
        if path.stat().st_size < least:
            raise OSError(f"{path.stat().st_size} bytes where at least {least} belong")
    _check(arrays, budget, str(path))


def check_zarr(store: Any, name: str, budget: float, members: Iterable[str] | None = None) -> None:
    """Refuse a Zarr store that opening would take more than the budget for, and one that would have
    to be unpickled.

    Args:
        store: that zarr opens.
        name: of it, for messages.
        budget: GiB.
        members: what may be an array in it; asked of the store where it is not known. Zarr reads
            the metadata of members that it has to find itself at once, and when one of them is
            damaged, those of the others end in tracebacks.

    Raises:
        OverBudgetError: coordinates of dimensions, or their chunks, larger than the budget.
        PickledError: an array is stored with pickle.
    """
    import zarr

    arrays = []
    try:
        group = zarr.open_group(store, mode="r")
        found = (
            list(group.arrays())
            if members is None
            else [(member, group[member]) for member in members if member in group]
        )
    except Exception as error:  # some versions know no such codec, which is as well
        if "pickle" in str(error):
            raise PickledError(_PICKLED.format(f"{name}: an array")) from None
        raise
    for title, array in found:
        if not isinstance(array, zarr.Array):
            continue
        told = array.metadata.to_dict()
        dims = told.get("dimension_names") or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        itemsize = getattr(array.dtype, "itemsize", 16)
        codecs = frozenset(
            _named(told.get("codecs"))
            | _named(told.get("filters"))
            | _named(told.get("compressor"))
        )
        arrays.append(
            _Array(
                title,
                tuple(map(str, dims)),
                tuple(array.shape),
                itemsize,
                tuple(array.chunks),
                codecs,
            )
        )
    _check(arrays, budget, name)


def _named(codecs: Any) -> set[str]:
    """The names of codecs, and of those within them."""
    if isinstance(codecs, dict):
        own = {str(codecs[key]) for key in ("id", "name") if key in codecs}
        return own.union(*(_named(value) for value in codecs.values()))
    return set().union(*map(_named, codecs)) if isinstance(codecs, list | tuple) else set()


def _check(arrays: Iterable[_Array], budget: float, where: str) -> None:
    for array in arrays:
        if any("pickle" in codec for codec in array.codecs):
            raise PickledError(_PICKLED.format(f"{where}: {array.name}"))
        if len(array.shape) > 1:
            continue  # looked at by whoever reads it
        need = math.prod(array.chunk) * array.itemsize
        if array.dims == (array.name,):
            need += math.prod(array.shape) * max(8, array.itemsize)
        check_budget(
            need,
            budget,
            f"{where}: {array.name} of shape {array.shape} in chunks of {array.chunk or 'one'}",
        )


def bytes_to_read(variable: Any, sizes: dict[Any, int]) -> int:
    """The memory that reading some places of each dimension of an xarray variable takes, with the
    chunks they lie in.

    Args:
        variable: as xarray decodes it.
        sizes: how many places of a dimension are read; all of those that are not named.
    """
    encoding = variable.encoding
    shape = [min(sizes.get(dim, size), size) for dim, size in variable.sizes.items()]
    stored = getattr(encoding.get("dtype"), "itemsize", variable.dtype.itemsize)
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
    if path.is_file():
        return path.stat().st_size
    total = 0
    for size in _sizes(path):
        total += size
        if total >= enough:
            break
    return total


def _sizes(folder: Path) -> Iterator[int]:
    for file in folder.rglob("*"):
        if file.is_file():
            yield file.stat().st_size
