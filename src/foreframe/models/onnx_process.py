"""Run the graph of a whole forecast: python onnx_process.py FILE THREADS

The graph may come from a stranger, and a few bytes can make it fill the memory. Therefore this
process limits its address space (Linux): by the size of the file while the file is loaded, then by
the caller's limit for each call.

A call is a line of JSON, [shape, bytes allowed], and the values of `past` as float32. The answer is
a line of JSON, the shape of `frames`, and the values. After an error the answer is its message, and
the process ends.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

LOADING = 2**28  # bytes in addition to the file's size
SLACK = 2**26  # bytes of a call in addition to tensors


def used() -> int:
    """Bytes of address space; 0 where it cannot be limited."""
    statm = Path("/proc/self/statm")
    return 4096 * int(statm.read_text().split()[0]) if statm.exists() else 0


def limit(most: int) -> None:
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def answer(value: object, content: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(value).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


def main(file: str, threads: str) -> None:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(threads)
    settings.log_severity_level = 4
    # Idle threads must not spin: other programs need the cores.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    limit(used() + LOADING + 4 * Path(file).stat().st_size)
    session = onnxruntime.InferenceSession(file, settings)
    base = used()
    answer([])
    for line in sys.stdin.buffer:
        shape, most = json.loads(line)
        limit(base + SLACK + most)
        past = np.frombuffer(sys.stdin.buffer.read(4 * int(np.prod(shape))), np.float32)
        frames = np.asarray(session.run(["frames"], {"past": past.reshape(shape)})[0], "<f4")
        answer(frames.shape, frames.tobytes())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # ONNX Runtime's errors have no public names
        answer(str(error))
