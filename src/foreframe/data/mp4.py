"""How many samples the tables of an MP4 or MOV claim: FFmpeg makes room for all of them before it
reads any.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from foreframe.base.budget import check_budget

_STARTS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")  # that hold boxes
_TABLES = (b"hdlr", b"stsz", b"stz2", b"stts", b"ctts", b"trun")
_DEPTH = 8  # boxes within boxes, at most
_SAMPLE = 64  # bytes that FFmpeg takes for one


def check_mp4(path: Path, budget: float) -> None:
    """Refuse an MP4 whose tables claim more samples than the budget has room for. Other files pass.

    Raises:
        OverBudgetError: they do.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] not in _STARTS:
            return
        most, fragments, sound = 0, 0, False
        for kind, content in _tables(file, 0, path.stat().st_size, 0):
            if kind == b"hdlr":
                sound = content[8:12] == b"soun"
            elif kind == b"trun":
                fragments += _number(content, 4)
            elif not sound:
                # Of sound that is not compressed each value is a sample, for which no room is made.
                most = max(most, _count(kind, content))
    samples = max(most, fragments)
    what = f"{path}, whose index claims {samples} frames,"
    check_budget(_SAMPLE * samples, budget, what, "make or fetch the film again")


def _count(kind: bytes, content: bytes) -> int:
    """The samples of a table: of their sizes, or of the times that runs of them have."""
    if kind in (b"stsz", b"stz2"):
        return _number(content, 8)
    runs = np.frombuffer(content[8 : len(content) // 8 * 8], ">u4")[: 2 * _number(content, 4) : 2]
    return int(runs.sum(dtype=np.int64))


def _number(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4].ljust(4, b"\0"), "big")


def _tables(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[tuple[bytes, bytes]]:
    """The tables between two places of a file, as (kind, content), in order."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = int.from_bytes(file.read(8), "big"), 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            return
        if kind in _BOXES and depth < _DEPTH:
            yield from _tables(file, start + head, stop, depth + 1)
        elif kind in _TABLES:
            yield kind, file.read(stop - start - head)
        start = stop
