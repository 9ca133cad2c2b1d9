"""Checkpoint files with a checksum, which shows damage, and two generations, which repair it."""

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from foreframe.base.files import atomic_write

# The comment of torch's zip archive: the digest of all bytes before the comment's length.
SEAL = re.compile(rb"foreframe sha256 ([0-9a-f]{64})")
SEAL_LENGTH = len(b"foreframe sha256 ") + 64


def before(path: Path) -> Path:
    """Path of the previous generation: last.previous.ckpt beside last.ckpt."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write plain values and tensors with a checksum; the previous file is kept beside it.

    Raises:
        ValueError: it cannot be written; both generations are unchanged.
    """
    content = io.BytesIO()
    # In memory first: torch reports a full disk as "unexpected pos".
    torch.save(checkpoint, content)
    end = content.seek(-2, io.SEEK_END)  # the length of the comment, none so far
    seal = b"foreframe sha256 " + hashlib.sha256(content.getbuffer()[:end]).hexdigest().encode()
    content.write(len(seal).to_bytes(2, "little") + seal)
    # A damaged checkpoint must not take the place of the good one before it.
    with atomic_write(path, keep=before(path) if damage(path) is None else None) as rough:
        rough.write_bytes(content.getbuffer())


def damage(path: Path) -> str | None:
    """The damage to a checkpoint file in words, or None.

    Files of other writers have no seal: for them torch's checksum of each archive part is compared,
    which torch itself never does.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - SEAL_LENGTH))
            seal = SEAL.fullmatch(file.read())
            if seal is not None:
                digest, left = hashlib.sha256(), size - SEAL_LENGTH - 2
                file.seek(0)
                while left > 0 and (block := file.read(min(left, 1 << 20))):
                    digest.update(block)
                    left -= len(block)
                intact = digest.hexdigest().encode() == seal[1]
                return None if intact else "its checksum does not fit"
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                return "its parts are compressed, which torch does not write"
            part = archive.testzip()
            return None if part is None else f"the checksum of {part} does not fit"
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, IndexError):
        return "it is cut short or no archive"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint as plain values and tensors; pickled objects are refused.

    Raises:
        ValueError: it is cut short, damaged or not foreframe's.
    """
    wrong = damage(path)
    try:
        if wrong is not None:
            raise ValueError(wrong)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises errors of half a dozen types for an incomplete file.
        raise ValueError(
            f"{path} cannot be read: it is cut short or damaged; use another checkpoint of the "
            "run, or train again"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("forecaster"), dict):
        raise ValueError(f"{path} is not a checkpoint of foreframe")
    return checkpoint


def first_whole(paths: Iterable[Path]) -> tuple[Path, dict[str, Any], str]:
    """The first undamaged checkpoint of `paths`, its content, and a line about damaged ones or "".

    Raises:
        ValueError: all of them are damaged.
        FileNotFoundError: none of them exists.
    """
    damaged: list[Path] = []
    for path in paths:
        if not path.is_file():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except ValueError:
            damaged.append(path)
            continue
        if not damaged:
            return path, checkpoint, ""
        verb = "is" if len(damaged) == 1 else "are"
        instead = f"{path.name}, of step {checkpoint.get('global_step')}, is taken instead"
        names = " and ".join(map(str, damaged))
        return path, checkpoint, f"{names} {verb} cut short or damaged: {instead}"
    if damaged:
        raise ValueError(
            f"{' and '.join(map(str, damaged))} cannot be read: cut short or damaged, and there is "
            "none before; train again"
        )
    raise FileNotFoundError
