"""Start of a box's own process. For userns it builds the box; for bwrap it is in one already.

python -c BOOTSTRAP <tier> <control descriptor> <uid> <parent pid> <folder that numpy is in, or "">
    <read-only folders...>
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from rlvr_cli.verifiers.sandbox import confine, kernel, zygote

DEVICES = ("null", "zero", "full", "random", "urandom")
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
"""What programs need of the system besides /usr; links where the system has links."""


def main() -> None:
    tier, control, uid, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if tier != "bwrap":  # which dies with its parent itself, and hides its number
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with suppress(OSError):  # bwrap has no /proc; then the host's own setting holds
        Path("/proc/self/oom_score_adj").write_text("1000")  # the first to go when memory runs out
    zygote.warm(sys.argv[5])
    if tier == "userns":
        enter(uid)
        build([Path(folder) for folder in sys.argv[6:]])
        first_process()
    zygote.serve(control)


def enter(uid: int) -> None:
    """New namespaces: as root by right, as anyone else by way of a user namespace."""
    if os.geteuid() == 0 and kernel.capable(kernel.CAP_SYS_ADMIN):
        kernel.unshare(kernel.NAMESPACES)
        return
    if os.geteuid() == 0:  # root of a container: no more than a user, and rlimits do not bind it
        confine.become(uid)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or /proc/self would stay root's
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.NAMESPACES)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{uid} {outer_gid} 1")


def build(folders: list[Path]) -> None:
    """A root of read-only system folders, five devices and nothing else; the old root is gone.

    Twice pivot_root, as bubblewrap does it: first onto an empty tmpfs, from where all of the old
    root is in sight (also what /tmp hides), then onto the finished new one.
    """
    os.umask(0o022)  # programs are another user
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/new")
    kernel.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    for folder in folders:
        bind(folder)
    for path in map(Path, SYSTEM):
        old = Path("/old") / path.relative_to("/")
        if old.is_symlink():
            os.symlink(os.readlink(old), Path("/new") / path.relative_to("/"))
        elif old.exists():
            bind(path)
    for name in DEVICES:
        bind(Path("/dev") / name, device=True)
    for name in ("tmp", "old"):
        os.makedirs(f"/new/{name}", exist_ok=True)  # Python or numpy may lie below /tmp
    os.symlink("/tmp", "/new/dev/shm")
    kernel.mount("/new", "/new", None, kernel.MS_BIND | kernel.MS_REC)
    kernel.pivot_root("/new", "/new/old")
    os.chdir("/")
    kernel.umount("/old")
    read_only("/")


def bind(path: Path, device: bool = False) -> None:
    """Show `path` of the old root at the same place of the new one."""
    old, new = Path("/old") / path.relative_to("/"), Path("/new") / path.relative_to("/")
    if old.is_dir():
        new.mkdir(parents=True, exist_ok=True)
    else:
        new.parent.mkdir(parents=True, exist_ok=True)
        new.touch()
    # Recursive: a user namespace may not uncover what lies beneath somebody else's mounts.
    kernel.mount(str(old), str(new), None, kernel.MS_BIND | kernel.MS_REC)
    if not device:
        read_only(str(new))


def read_only(path: str) -> None:
    """Flags the mount has already may be locked, and must then be given again."""
    kept = os.statvfs(path).f_flag & (kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("none", path, None, flags | kept)


def first_process() -> None:
    """Return in the first process of the PID namespace; with it, everything in there ends."""
    child = os.fork()
    if child:
        os.closerange(3, 1024)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
