"""What a program's process gives up before the first line of the program. Runs in that process."""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import Any

from rlvr_cli.verifiers.sandbox import kernel, landlock, seccomp
from rlvr_cli.verifiers.sandbox.limits import NUMPY_MB

Settings = dict[str, Any]
"""The fields of Limits, and `boxed`, `uid`, `readable`: sent by the host with every program."""
READABLE = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/dev/random",
    "/dev/urandom",
]
WRITABLE = ["/dev/null", "/dev/zero", "/dev/full"]


def own_place(settings: Settings) -> None:
    """Namespaces for the next child, and an empty /tmp of its own. Runs in that child's parent."""
    kernel.unshare(kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
    options = f"size={settings['file_mb']}m,nr_inodes=4096,mode=1777"
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def confine(settings: Settings) -> None:
    """Limits, then identity, then capabilities, then what makes all of it final: Landlock and the filter."""
    os.chdir("/tmp" if settings["boxed"] else "/")
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    memory = settings["memory_mb"] + (NUMPY_MB if settings["numpy"] else 0) << 20
    files = settings["file_mb"] << 20
    limit(resource.RLIMIT_AS, memory)
    limit(resource.RLIMIT_CPU, settings["cpu_s"])
    # Without a box, files would stay behind.
    limit(resource.RLIMIT_FSIZE, files if settings["boxed"] else 0)
    limit(resource.RLIMIT_NOFILE, 64)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_MSGQUEUE, 0)
    limit(resource.RLIMIT_MEMLOCK, 0)
    limit(resource.RLIMIT_SIGPENDING, 64)  # of timers, too, which are memory of the kernel's
    if os.geteuid() == 0:  # root has no limit on processes
        limit(resource.RLIMIT_NPROC, settings["processes"])
        become(settings["uid"])
    elif settings["boxed"]:  # counted per user namespace, in which the box itself has two
        limit(resource.RLIMIT_NPROC, settings["processes"] + 2)
    kernel.drop_capabilities()
    if not settings["boxed"]:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    readable = [*READABLE, sys.base_prefix, *settings["readable"]]
    landlock.restrict(readable, ["/tmp"] if settings["boxed"] else [], WRITABLE)
    seccomp.install()


def limit(kind: int, value: int) -> None:
    """Set both limits; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def become(uid: int) -> None:
    """From root to `uid` in all three identities, without other groups."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
