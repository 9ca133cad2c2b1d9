"""Reuse of freed memory by the C allocator (glibc; no effect elsewhere)."""

import ctypes
import sys


def keep_memory() -> None:
    """Keep freed memory in this process, for the next step of a training.

    Otherwise every large tensor on a CPU is allocated by the system again, which clears its pages.
    Other processes cannot use the memory meanwhile.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: large tensors come from the heap too,
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: whose end is never given back,
        mallopt(-2, 2**26)  # M_TOP_PAD: and which grows by 64 MiB
