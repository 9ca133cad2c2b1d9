"""What this process keeps of the memory that it frees (glibc; elsewhere nothing happens)."""

import ctypes
import sys


def keep_memory() -> None:
    """Have this process keep the memory that a step frees for its next step.

    Without it the memory of every large tensor on a CPU is asked of the system anew, which clears
    it page by page. The price: other processes cannot have what is free again. For a process whose
    work is training.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: large tensors come from the heap too,
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: whose end is never given back,
        mallopt(-2, 2**26)  # M_TOP_PAD: and which grows by 64 MiB


def give_memory_back() -> None:
    """Give free memory back to the system, so that using it again counts in a measured peak."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
