"""Folders on the Hugging Face Hub, hf://USER/NAME or hf://USER/NAME@REVISION: safetensors only.

Only these names use the network.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foreframe.base.extras import needed
from foreframe.base.wording import described

HUB = "hf://"
MAIN = "main"
FILES = ("config.json", "model.safetensors", "README.md", "calibration.json")  # and no others


def repository_of(name: str) -> tuple[str, str]:
    """Return USER/NAME and the revision (a branch, a tag or a commit) of a name of the Hub.

    Raises:
        ValueError: another form.
    """
    repository, _, revision = name.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{name} is not {HUB}USER/NAME or {HUB}USER/NAME@REVISION")
    return repository, revision or MAIN


def client(name: str) -> Any:
    """Return the client of huggingface_hub, after a check of the name and without a request.

    Raises:
        ValueError: an invalid name, or the package is missing.
    """
    repository_of(name)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings are errors here
    return needed("huggingface_hub", "hub", name).HfApi(library_name="foreframe")


def downloaded(name: str) -> Path:
    """Return the folder of a name of the Hub in the cache of huggingface_hub, which also works
    offline.

    Raises:
        ValueError: as `client`; the Hub or the repository cannot be reached, or has no weights in
            safetensors.
    """
    hub, (repository, revision) = client(name), repository_of(name)
    with _explained(name):
        folder = hub.snapshot_download(repository, revision=revision, allow_patterns=FILES)
    for file in FILES[:2]:
        if not Path(folder, file).is_file():
            raise ValueError(
                f"{name} has no {file}: `push_to_hub` did not write it, and other files, such as "
                "pickled weights, are never opened"
            )
    return Path(folder)


def upload(folder: Path, name: str, message: str, private: bool | None) -> str:
    """Commit a folder's files to a repository, which is created if it does not exist.

    Args:
        name: name of the Hub; its revision is a branch.
        message: commit message.
        private: visibility of a new repository; None is the default of the account.

    Returns:
        The address of the commit.

    Raises:
        ValueError: as `client`; the Hub cannot be reached, or rejects the commit.
    """
    hub, (repository, revision) = client(name), repository_of(name)
    with _explained(name):
        hub.create_repo(repository, private=private, exist_ok=True)
        if revision != MAIN:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        how = {"revision": revision, "commit_message": message}
        return str(hub.upload_folder(repo_id=repository, folder_path=folder, **how).commit_url)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn errors of the Hub into one line.

    Raises:
        ValueError: any error of the block.
    """
    try:
        yield
    except Exception as error:  # of huggingface_hub or its HTTP library
        why = f"cannot be reached: {described(error)}"
        if getattr(getattr(error, "response", None), "status_code", 0) in (401, 403, 404):
            why = (
                "does not exist, or needs permission: check its name and revision; private and "
                "gated repositories and uploads need a token, by `hf auth login` or HF_TOKEN"
            )
        raise ValueError(f"{name} {why}") from error
