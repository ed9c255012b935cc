"""What a child process takes away from itself: network, files, memory, other processes.

Linux only; each protection that the kernel does not offer is left out and reported as absent, and
`slipway doctor` shows which hold. Nothing here needs root. Only the standard library is imported,
since this runs before anything else.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_SYS_LANDLOCK_CREATE_RULESET: Final = 444
_SYS_LANDLOCK_ADD_RULE: Final = 445
_SYS_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWPID: Final = 0x20000000
_CLONE_NEWNET: Final = 0x40000000

# linux/landlock.h: the file system rights by the ABI version that brought them.
_FS_EXECUTE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FS_IOCTL_DEV: Final = 1 << 15
_FS_READ: Final = _FS_EXECUTE | _FS_READ_FILE | _FS_READ_DIR
_FS_FILE: Final = _FS_EXECUTE | 1 << 1 | _FS_READ_FILE | 1 << 14 | _FS_IOCTL_DEV
_FS_ALL_BY_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_ALL: Final = 0b11  # bind and connect TCP, since ABI 4
_SCOPE_ALL: Final = 0b11  # abstract sockets and signals, since ABI 6

# Readable by every child: programs, libraries, and what the C library and frameworks look up.
_SYSTEM_READS: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/sys"),
    # Of /proc only what describes the machine and the child itself: another process's
    # /proc/N/environ holds secrets, and root may read it.
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg"),
    *("/proc/version", "/proc/filesystems", "/proc/sys", "/proc/driver"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"),
    *("/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/mime.types"),
    *("/etc/OpenCL", "/etc/alternatives"),
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "nvidia*", "dri/*", "kfd")


def landlock_abi() -> int:
    """The kernel's Landlock ABI version; 0 where it has none."""
    version = _syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION_FLAG)
    return max(version, 0)


def die_with_parent() -> None:
    """Be killed when the process that started this one ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_memory(limit_bytes: int | None) -> None:
    """Limit private writable memory, and write no core dumps.

    RLIMIT_DATA counts what can be dirtied, unlike RLIMIT_AS, which counts the address space that
    threads and frameworks merely reserve.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def leave_namespaces() -> dict[str, bool]:
    """Move to new network and process namespaces where allowed.

    The process namespace begins with the next fork. Returns which of them hold.
    """
    uid, gid = os.getuid(), os.getgid()
    libc = _libc()
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWPID) == 0:
        return {"network": True, "processes": True}
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWPID) == 0:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
        return {"network": True, "processes": True}
    return {"network": False, "processes": False}


def restrict_files(reads: Iterable[str | Path], writes: Iterable[str | Path]) -> int:
    """Allow reading only programs and `reads`, writing only under `writes`; for good.

    TCP is refused as well where the kernel can. Returns the Landlock ABI in force, 0 for none.
    """
    abi = landlock_abi()
    if abi == 0:
        return 0
    all_fs = _FS_ALL_BY_ABI[max(version for version in _FS_ALL_BY_ABI if version <= abi)]
    handled_net = _NET_ALL if abi >= 4 else 0  # noqa: PLR2004 - ABI versions
    scoped = _SCOPE_ALL if abi >= 6 else 0  # noqa: PLR2004
    attributes = struct.pack("QQQ", all_fs, handled_net, scoped)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8  # noqa: PLR2004
    ruleset = _syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return 0
    for path in (*_SYSTEM_READS, *_interpreter_reads(), *reads):
        _allow(ruleset, Path(path), _FS_READ & all_fs)
    for pattern in _DEVICES:
        for device in Path("/dev").glob(pattern):
            _allow(ruleset, device, all_fs)
    for path in writes:
        _allow(ruleset, Path(path), all_fs)
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    held = _syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return abi if held else 0


def _interpreter_reads() -> tuple[str, ...]:
    """This interpreter, its libraries and everything that its import path names."""
    return (sys.prefix, sys.base_prefix, sys.exec_prefix, *(p for p in sys.path if p))


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= _FS_FILE
        _syscall(
            _SYS_LANDLOCK_ADD_RULE,
            ruleset,
            _RULE_PATH_BENEATH,
            struct.pack("=Qi", rights, handle),
            0,
        )
    finally:
        os.close(handle)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    libc = _libc()
    libc.syscall.restype = ctypes.c_long
    converted = [
        ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments
    ]
    return int(libc.syscall(ctypes.c_long(number), *converted))


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="ascii")
    except OSError:
        return  # an older kernel or a stricter host: the namespace still holds
