"""Limits of a process that reads an untrusted file.

Formats can refer to other files: playlists of films, external links of HDF5. The system allows a
reader only the folder of the upload and the libraries.
"""

import ctypes
import os
import struct
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

READABLE = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share"]
READABLE += ["/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/sys/devices/system/cpu"]
READABLE += ["/proc/cpuinfo", "/proc/meminfo", "/proc/self", sys.prefix, sys.base_prefix]
# Landlock's system calls have one number on all processors, its rights one bit each.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, NO_NEW_PRIVS = 444, 445, 446, 38
READ = 1 << 2 | 1 << 3  # files, folders
# Write, remove folders and files, make folders and files, rename, cut short: no devices or sockets.
WRITE = READ | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14
OF_FILES = 1 << 1 | 1 << 2 | 1 << 14
TCP = 1 << 0 | 1 << 1  # bind, connect
SCOPES = 1 << 0 | 1 << 1  # abstract sockets, signals


def landlock_version() -> int:
    """Version of Landlock in this kernel: 1 confines files, 4 also TCP; 0 without Landlock."""
    if sys.platform != "linux":
        return 0
    return max(ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, 1), 0)


def confine(folder: str | Path, memory: int, seconds: int) -> None:
    """Confine this process permanently. It must have a single thread.

    Limits apply on all Unix systems; the memory limit only on Linux. If the kernel has Landlock,
    the process can open files in `folder` and read the libraries of Python and the system. It
    cannot start programs or open TCP connections (version 4).

    Args:
        folder: readable and writable, temporary files included.
        memory: bytes of address space beyond the current use, and the size limit of a file.
        seconds: seconds of CPU from now, after which SIGXCPU ends the process.
    """
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    import resource  # which Windows lacks

    used = int(time.process_time())
    limits = {resource.RLIMIT_CPU: used + seconds, resource.RLIMIT_FSIZE: memory}
    limits |= {resource.RLIMIT_NOFILE: 256, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if version := landlock_version():
        _restrict(version, str(folder))


def _restrict(version: int, folder: str) -> None:
    """Give up all rights on files except those listed here.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack("QQQ", files, TCP * (version >= 4), SCOPES * (version >= 6))
    rules = libc.syscall(CREATE_RULESET, attributes, len(attributes), 0)
    # The working directory may be in the Python path, but is not a library.
    python = [path for path in sys.path if path and Path(path) != Path.cwd()]
    rights = dict.fromkeys([*READABLE, *python], READ) | {"/dev/null": WRITE, folder: WRITE}
    for path, allowed in rights.items():
        with suppress(OSError):  # not on this system
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed &= files if Path(path).is_dir() else files & OF_FILES
            libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", allowed, at), 0)
            os.close(at)
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(RESTRICT_SELF, rules, 0) < 0:
        raise OSError(ctypes.get_errno(), "Landlock refuses")
    os.close(rules)
