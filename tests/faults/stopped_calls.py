"""Stops a process and its children at every call that makes something durable or sends something.

A seccomp(2) filter with a listener (SECCOMP_RET_USER_NOTIF, seccomp_unotify(2)): each of the calls below waits in the
kernel until the listener's owner lets it go on. So the owner counts boundaries as they really are, in Python, in
libgit2 and in git alike, and may kill the process before a chosen one; the program itself runs unchanged.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

# By machine: the architecture's audit number, and the numbers of the calls (linux/audit.h, asm/unistd.h).
_MACHINES: Final[dict[str, tuple[int, dict[str, int]]]] = {
    "x86_64": (
        0xC000003E,
        {
            "fsync": 74, "fdatasync": 75, "rename": 82, "renameat": 264, "renameat2": 316, "link": 86, "linkat": 265,
            "unlink": 87, "unlinkat": 263, "flock": 73, "pwrite64": 18, "sendto": 44, "open": 2, "openat": 257,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "fsync": 82, "fdatasync": 83, "renameat": 38, "renameat2": 276, "linkat": 37,
            "unlinkat": 35, "flock": 32, "pwrite64": 68, "sendto": 206, "openat": 56,
        },
    ),
}  # fmt: skip
SUPPORTED: Final = sys.platform == "linux" and platform.machine() in _MACHINES
_FLAGS_ARGUMENT: Final = {"open": 1, "openat": 2}
"""Which argument of an opening call has the flags: only those with O_CREAT are stopped."""
_PATH_ARGUMENT: Final = {
    "open": 0, "openat": 1, "rename": 1, "renameat": 3, "renameat2": 3, "link": 1, "linkat": 3, "unlink": 0,
    "unlinkat": 1,
}  # fmt: skip
"""Which argument names the file that the call makes or removes."""
_NAMES: Final = {"open": "create", "openat": "create"}
_FAMILIES: Final = {"renameat": "rename", "renameat2": "rename", "linkat": "link", "unlinkat": "unlink"}
_PAGE_BYTES: Final = 4096

_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_ANSWER: Final = struct.Struct("=QqiI")
_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_GO_ON: Final = 1


class Call(NamedTuple):
    """A call that waits: whose it is, what it is, and the file it names or the first line that it sends."""

    pid: int
    """Of the process, whichever of its threads makes the call."""
    name: str
    what: str


def stop_me(to: socket.socket) -> None:
    """Have this process's calls stopped from now on, and those of its children; the listener goes out through `to`."""
    audit, calls = _MACHINES[platform.machine()]
    program = _filter(audit, calls)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS, without which only root may filter
        raise OSError(ctypes.get_errno(), "prctl")
    number = {"x86_64": 317, "aarch64": 277}[platform.machine()]
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    listener = libc.syscall(number, 1, 8, ctypes.create_string_buffer(head, len(head)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(to, [b"l"], [listener])
    os.close(listener)


def _filter(audit: int, calls: dict[str, int]) -> bytes:
    def step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, otherwise, value)

    made = [step(_LOAD, 4), step(_IF_EQUAL, audit, 1, 0), step(_RETURN, _ALLOW), step(_LOAD, 0)]
    for name, number in calls.items():
        if name in _FLAGS_ARGUMENT:
            made += [
                step(_IF_EQUAL, number, 0, 4),
                step(_LOAD, 16 + 8 * _FLAGS_ARGUMENT[name]),
                step(_IF_ANY_BIT, os.O_CREAT, 0, 1),
                step(_RETURN, _NOTIFY),
                step(_RETURN, _ALLOW),
            ]
        else:
            made += [step(_IF_EQUAL, number, 0, 1), step(_RETURN, _NOTIFY)]
    return b"".join([*made, step(_RETURN, _ALLOW)])


def attend(listener: int, goes_on: Callable[[Call], bool]) -> None:
    """Ask about every call, and let it go on or not, until the last stopped process has ended.

    A call of a process that was killed must not go on: it would be made before the process ends.
    """
    names = {number: name for name, number in _MACHINES[platform.machine()][1].items()}
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    while not waiting.poll()[0][1] & select.POLLHUP:
        raw = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, raw)
        except (FileNotFoundError, InterruptedError):  # it was killed meanwhile
            continue
        ident, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(raw)
        if not goes_on(_read(pid, names[number], arguments)):
            continue
        with suppress(FileNotFoundError):
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(ident, 0, 0, _GO_ON))


def _read(pid: int, name: str, arguments: list[int]) -> Call:
    pid = _process_of(pid)
    shown = _FAMILIES.get(_NAMES.get(name, name), _NAMES.get(name, name))
    try:
        if name == "sendto":
            return Call(pid, "send", _text(pid, arguments[1]).split("\r\n")[0])
        if (at := _PATH_ARGUMENT.get(name)) is None:
            return Call(pid, shown, str(Path(f"/proc/{pid}/fd/{arguments[0]}").readlink()))
        path = _text(pid, arguments[at]).split("\0")[0]
        return Call(pid, shown, str(Path(f"/proc/{pid}/cwd").readlink() / path))
    except OSError:
        return Call(pid, shown, "")


def _process_of(thread: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{thread}/status").read_text().splitlines():
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    return thread


def _text(pid: int, address: int) -> str:
    """What is there in the memory of the process; less if the next page is not mapped."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        raw = memory.read(_PAGE_BYTES - address % _PAGE_BYTES)
        if b"\0" not in raw:
            with suppress(OSError):
                raw += memory.read(_PAGE_BYTES)
        return raw.decode(errors="replace")
