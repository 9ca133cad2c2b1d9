"""ONNX Runtime for browsers: its WebAssembly build, which npm downloads into the cache once."""

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from foreframe.base.files import atomic_folder, cache

VERSION = "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"  # of the package
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def cached_runtime() -> Path:
    """The folder of `FILES` in the cache, which need not exist."""
    return cache() / f"onnxruntime-web-{VERSION}"


def web_runtime() -> Path:
    """The folder of `FILES`.

    Raises:
        ValueError: npm is missing or fails; the package has another digest than `SHA256`.
    """
    folder = cached_runtime()
    if folder.is_dir():
        return folder
    with TemporaryDirectory() as fetched:
        package = _fetched(Path(fetched))
        with tarfile.open(package) as archive, atomic_folder(folder) as rough:
            for name in FILES:
                file = archive.extractfile(f"package/dist/{name}")
                assert file is not None  # the digest was checked
                with file, (rough / name).open("wb") as out:
                    shutil.copyfileobj(file, out)
    return folder


def _fetched(folder: Path) -> Path:
    """Download the package of npm into a folder."""
    what = f"onnxruntime-web@{VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(
            f"a page runs {what}, which npm fetches once: install Node.js, or copy "
            f"{cached_runtime()} from a machine that has it"
        )
    done = subprocess.run(
        [npm, "pack", what, "--silent"], cwd=folder, capture_output=True, text=True, check=False
    )
    packages = list(folder.glob("*.tgz"))
    if done.returncode or not packages:
        why = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise ValueError(f"npm cannot fetch {what}: {why}")
    digest = hashlib.sha256(packages[0].read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"npm fetched another {what} than expected: SHA-256 {digest}")
    return packages[0]
