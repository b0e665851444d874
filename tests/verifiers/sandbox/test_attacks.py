# ruff: noqa: E501 (programs are quoted as one line)
"""Programs that try to get out, to cheat, or to stay: each against every tier that claims to stop it.

A program prints `held` where its attempt is refused and `ESCAPED` where it is not. After every test
the box has no process but its own, and the machine has no new socket, shared memory or file.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import rlvr_cli
from rlvr_cli.verifiers.sandbox import (
    Isolation,
    Limits,
    Outcome,
    Sandbox,
    SandboxError,
    box_process,
    landlock,
    probe,
    run_python,
    shared,
)
from rlvr_cli.verifiers.sandbox.host import KEPT
from rlvr_cli.verifiers.sandbox.received import json_value, same
from rlvr_cli.verifiers.sandbox.seccomp import ARCHITECTURES, assemble

pytestmark = pytest.mark.slow

TIERS = {tier.name: tier for tier in probe()}
BOXED = ("bwrap", "userns")
ALL = (*BOXED, "rlimit")
SECONDS = 20.0
"""For programs that end by themselves; the machine may be busy."""

TRY = """
import os, sys, ctypes
libc = ctypes.CDLL(None, use_errno=True)
def attempt(action):
    try:
        result = action()
    except (OSError, PermissionError, ValueError, ModuleNotFoundError) as error:
        print("held", flush=True)
    else:
        print("held" if isinstance(result, int) and result < 0 else "ESCAPED", flush=True)
"""

ANY_TIER = {
    "tcp": "import socket; attempt(lambda: socket.create_connection(('127.0.0.1', 22), 1))",
    "udp": "import socket; attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))",
    "listen": "import socket; attempt(lambda: socket.create_server(('127.0.0.1', 0)))",
    "abstract unix socket": "import socket; attempt(lambda: socket.socket(socket.AF_UNIX).bind('\\0rlvr'))",
    "datagram pair": "import socket; attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))",
    "packet pair": "import socket; attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))",
    "bind one of a pair": "import socket; attempt(lambda: socket.socketpair()[0].bind('\\0rlvr'))",
    "send to an address": """
import errno, socket
try:
    socket.socketpair()[0].sendto(b'x', '/dev/log')
except OSError as error:  # as a stream it has no use for an address, and would say so
    print("held" if error.errno == errno.EPERM else error)""",
    "send descriptors": "import socket; attempt(lambda: socket.send_fds(socket.socketpair()[0], [b'x'], [0]))",
    "larger socket buffers": """
import socket
attempt(lambda: socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20))""",
    "netlink": "import socket; attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))",
    "run a shell": "import subprocess; attempt(lambda: subprocess.run(['/bin/sh', '-c', 'true'], check=True))",
    "exec python": "attempt(lambda: os.execv(sys.executable, [sys.executable, '-c', 'print(1)']))",
    "ptrace the parent": "attempt(lambda: libc.ptrace(16, os.getppid() or 1, 0, 0))",
    "be traced": "attempt(lambda: libc.ptrace(0, 0, 0, 0))",
    "kill everybody": "attempt(lambda: os.kill(-1, 9))",
    "signal the parent": "attempt(lambda: os.kill(os.getppid(), 9))",
    "signal the group": "attempt(lambda: os.kill(0, 9))",
    "signal by pidfd": "attempt(lambda: signal.pidfd_send_signal(os.pidfd_open(os.getppid() or 1), 9))",
    "limits of the parent": """
import resource
attempt(lambda: resource.prlimit(os.getppid() or 4242, resource.RLIMIT_NOFILE, (0, 0)))""",
    "park the parent": "attempt(lambda: os.setpriority(os.PRIO_PROCESS, os.getppid() or 4242, 19))",
    "move the parent": "attempt(lambda: os.sched_setaffinity(os.getppid() or 4242, {0}))",
    "idle the parent": """
attempt(lambda: os.sched_setscheduler(os.getppid() or 4242, os.SCHED_IDLE, os.sched_param(0)))""",
    "starve the parent's disk": "attempt(lambda: libc.syscall(251, 1, os.getppid() or 4242, 3 << 13))",
    "a signal by a descriptor": """
import fcntl, socket
attempt(lambda: fcntl.fcntl(socket.socketpair()[0], fcntl.F_SETOWN, os.getppid() or 1))""",
    "which signal": "import fcntl, socket; attempt(lambda: fcntl.fcntl(socket.socketpair()[0], fcntl.F_SETSIG, 9))",
    "a signal by a request": """
import fcntl, socket
attempt(lambda: fcntl.ioctl(socket.socketpair()[0], 0x8901, (os.getppid() or 1).to_bytes(4, 'little')))""",
    "flush the host's disks": "attempt(lambda: libc.syscall(162))",
    "flush a disk": "attempt(lambda: libc.syncfs(0))",
    "lock a file of the host's": "import fcntl; attempt(lambda: fcntl.flock(open(os.__file__), fcntl.LOCK_EX))",
    "watch the host's files": "attempt(lambda: libc.inotify_init1(0))",
    "many timers": """
timer = ctypes.c_void_p()
made = 0
while made < 999 and libc.timer_create(0, None, ctypes.byref(timer)) == 0:
    made += 1
print("held" if made < 999 else "ESCAPED")""",
    "outlive the parent": "attempt(lambda: libc.prctl(1, 0, 0, 0, 0))",
    "user namespace": "attempt(lambda: libc.unshare(0x10000000))",
    "user namespace by clone": "attempt(lambda: libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0))",
    "clone3": "attempt(lambda: libc.syscall(435, ctypes.create_string_buffer(88), 88))",
    "enter a namespace": "attempt(lambda: libc.setns(0, 0))",
    "mount": "attempt(lambda: libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "new mount calls": "attempt(lambda: libc.syscall(430, b'tmpfs', 0))",
    "chroot": "attempt(lambda: os.chroot('/tmp'))",
    "shared memory": "attempt(lambda: libc.shmget(0x5151, 4096, 0o1666))",
    "semaphore": "attempt(lambda: libc.semget(0x5151, 1, 0o1666))",
    "message queue": "attempt(lambda: libc.msgget(0x5151, 0o1666))",
    "keyring": "attempt(lambda: libc.syscall(248, b'user', b'rlvr', b'x', 1, -4))",
    "bpf": "attempt(lambda: libc.syscall(321, 0, 0, 0))",
    "io_uring": "attempt(lambda: libc.syscall(425, 8, ctypes.create_string_buffer(120)))",
    "userfaultfd": "attempt(lambda: libc.syscall(323, 1))",
    "x32 system calls": "attempt(lambda: libc.syscall(0x40000000 + 39))",
    "file in memory": "attempt(lambda: os.memfd_create('x'))",
    "become root": "attempt(lambda: os.setresuid(0, 0, 0))",
    "become a group": "attempt(lambda: os.setgroups([0]))",
    "host name": "attempt(lambda: libc.sethostname(b'mine', 4))",
    "clock": "import time; attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))",
    "write to the system": "attempt(lambda: open('/usr/lib/rlvr', 'w').write('x' * 9999))",
    "raise a limit": "import resource; attempt(lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)))",
    "ask for a gigabyte": """
try:
    bytearray(1 << 30)
    print("ESCAPED")
except MemoryError:
    print("held")""",
    "many files": """
held = []
def more():
    while True:
        held.append(os.open('/dev/null', 0))
attempt(more)""",
}
IN_A_BOX = {
    "read the machine's files": "attempt(lambda: open('/etc/passwd').read())",
    "read the tests": "attempt(lambda: open(sys.stdin.readline().strip()).read())",
    "list the home": "attempt(lambda: os.listdir('/root') + os.listdir('/home'))",
    "the parent's environment": "attempt(lambda: open('/proc/1/environ').read())",
    "the parent's memory": "attempt(lambda: open(f'/proc/{os.getppid()}/mem', 'rb+'))",
    "processes": "attempt(lambda: os.listdir('/proc'))",
    "the host's sockets": "attempt(lambda: open('/proc/net/unix').read())",
    "kernel settings": "attempt(lambda: open('/sys/kernel/uevent_helper', 'w'))",
    "a real disk": "attempt(lambda: os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0)))",
    "write to the root": "attempt(lambda: open('/x', 'w'))",
    "write to Python": "attempt(lambda: open(os.__file__, 'a'))",
    "leave by a link": "os.symlink('/proc/1/root', '/tmp/l'); attempt(lambda: os.listdir('/tmp/l/'))",
    "hard link": "attempt(lambda: os.link('/usr/bin/env', '/tmp/env'))",
    "leave by ..": "os.chdir('/'); attempt(lambda: os.listdir('/../../../home'))",
    "descriptors of ours": """
def look():
    for n in range(4, 1024):
        try:
            return os.fstat(n).st_ino
        except OSError:
            pass
    raise OSError
attempt(look)""",
    "a terminal": "attempt(lambda: open('/dev/tty', 'w'))",
    "a large /tmp": """
def fill():
    for n in range(100):
        with open(f'/tmp/{n}', 'wb') as file:
            file.write(bytes(8 << 20))
attempt(fill)""",
    "many small files": """
def fill():
    for n in range(10_000):
        open(f'/tmp/{n}', 'w').close()
attempt(fill)""",
    "large shared memory": """
def fill():
    with open('/dev/shm/x', 'wb') as file:
        file.write(bytes(64 << 20))
attempt(fill)""",
}
WITH_LANDLOCK = {
    "read the machine's files": "attempt(lambda: open('/etc/passwd').read())",
    "read the tests": "attempt(lambda: open(ours).read())",
    "change the tests": "attempt(lambda: open(ours, 'r+'))",
    "empty the tests": "attempt(lambda: os.truncate(ours, 0))",
    "remove the tests": "attempt(lambda: os.remove(ours))",
    "list the root": "attempt(lambda: os.listdir('/'))",
    "list the tests' folder": "attempt(lambda: os.listdir(os.path.dirname(ours)))",
    "the parent's environment": "attempt(lambda: open(f'/proc/{os.getppid()}/environ').read())",
    "its own memory as a file": "attempt(lambda: open('/proc/self/mem', 'rb+'))",
    "the host's sockets": "attempt(lambda: open('/proc/net/unix').read())",
    "an empty file": "attempt(lambda: os.close(os.open(folder + '/rlvr_attack', os.O_CREAT | os.O_WRONLY)))",
    "an empty file in shared memory": "attempt(lambda: os.close(os.open('/dev/shm/rlvr', os.O_CREAT | os.O_WRONLY)))",
    "a folder": "attempt(lambda: os.mkdir(folder + '/rlvr_attack'))",
    "a link": "attempt(lambda: os.symlink('/', folder + '/rlvr_attack'))",
    "a pipe": "attempt(lambda: os.mkfifo(folder + '/rlvr_attack'))",
}
"""What only Landlock stops where there is no box. `folder` is anybody's to write in, `ours` too."""
NUMBERED = {"user namespace by clone", "keyring", "bpf", "userfaultfd", "x32 system calls",
            "starve the parent's disk", "flush the host's disks"}  # fmt: skip
"""Attempts by the number a call has on x86_64."""


def tiers(*names: str) -> Callable:
    """Run for these tiers; skipped only where the tier's own trial says that it does not work here."""

    def parameter(name: str) -> object:
        tier = TIERS[name]
        skip = pytest.mark.skipif(not tier.available, reason=f"{name} is unavailable: {tier.detail}")
        return pytest.param(name, marks=skip)

    return pytest.mark.parametrize("tier", [parameter(name) for name in names])


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[str, Sandbox]]:
    made = {n: Sandbox(Isolation(n), Limits(memory_mb=400)) for n in ALL if TIERS[n].available}
    yield made
    for sandbox in made.values():
        sandbox.close()


def left_behind() -> dict[str, object]:
    """What programs could leave on the machine."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {
        "shared memory": sorted(p.name for p in Path("/dev/shm").iterdir() if "rlvr" in p.name),
        "sysv": [x for n in ("shm", "sem", "msg") for x in Path(f"/proc/sysvipc/{n}").read_text().split()
                 if x == str(0x5151)],
        "sockets": sorted(line.split()[-1] for line in lines if "rlvr" in line and "@rlvr-sandbox-" not in line),
        "files": sorted(p.name for p in Path("/tmp").iterdir() if p.name.startswith("rlvr_attack")),
    }  # fmt: skip


def processes(sandbox: Sandbox) -> list[str]:
    """Below the sandbox's boxes: bwrap or the launcher have the zygote and nothing else."""
    below = [p for box in sandbox._free for p in psutil.Process(box.process.pid).children(recursive=True)]
    return [f"{p.pid} {p.status()}" for p in below]


@pytest.fixture
def sandbox(tier: str, sandboxes: dict[str, Sandbox]) -> Iterator[Sandbox]:
    chosen = sandboxes[tier]
    chosen.script("", b"", SECONDS)  # the box is there and warm
    before, size = left_behind(), len(processes(chosen))
    yield chosen
    assert left_behind() == before
    end = time.monotonic() + 5
    while len(processes(chosen)) > size and time.monotonic() < end:
        time.sleep(0.02)
    assert len(processes(chosen)) <= size, processes(chosen)


def run(sandbox: Sandbox, source: str, stdin: bytes = b"", seconds: float = SECONDS) -> Outcome:
    return sandbox.script(TRY + source, stdin, seconds)


def held(outcome: Outcome) -> bool:
    return outcome.stdout == b"held\n" and outcome.code == 0


@pytest.mark.parametrize("name", ANY_TIER)
@tiers(*ALL)
def test_refused_everywhere(sandbox: Sandbox, name: str) -> None:
    if name in NUMBERED and os.uname().machine != "x86_64":
        pytest.skip("an attempt by a number that x86_64 has")
    if name == "become a group" and os.geteuid() != 0:
        pytest.skip("users cannot, sandbox or not")
    outcome = run(sandbox, "import signal\n" + ANY_TIER[name])
    assert held(outcome), outcome


@pytest.mark.parametrize("name", IN_A_BOX)
@tiers(*BOXED)
def test_refused_in_a_box(sandbox: Sandbox, name: str) -> None:
    with tempfile.NamedTemporaryFile(mode="w") as tests:
        tests.write("expected: 42")
        tests.flush()
        os.chmod(tests.name, 0o644)
        outcome = run(sandbox, IN_A_BOX[name], tests.name.encode() + b"\n")
    assert held(outcome), outcome


@pytest.mark.parametrize("name", WITH_LANDLOCK)
@tiers("rlimit")
def test_refused_by_landlock(sandbox: Sandbox, name: str) -> None:
    if not landlock.version():
        pytest.skip("this kernel has no Landlock")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        tests = Path(folder) / "tests"
        tests.write_text("expected: 42")
        tests.chmod(0o666)
        outcome = run(sandbox, f"folder, ours = {folder!r}, {str(tests)!r}\n" + WITH_LANDLOCK[name])
        assert held(outcome) and tests.read_text() == "expected: 42", outcome
        assert os.listdir(folder) == ["tests"]


@tiers(*ALL)
def test_landlock_is_the_second_line(sandbox: Sandbox) -> None:
    """In a box the root can be listed by anybody, but for Landlock."""
    if not landlock.version():
        pytest.skip("this kernel has no Landlock")
    assert held(run(sandbox, "attempt(lambda: os.listdir('/'))"))


@tiers(*ALL)
def test_what_programs_may_use(sandbox: Sandbox) -> None:
    """Devices, the standard library's files, and in a box a folder to write, move and remove in."""
    source = """
import asyncio, encodings.idna, sqlite3, tempfile, zoneinfo
async def nothing(): os.sched_setaffinity(0, os.sched_getaffinity(0))
asyncio.run(nothing())
for name in ("null", "zero", "full"):
    open(f"/dev/{name}", "r+b", buffering=0).close()
print(len(open("/dev/zero", "rb").read(3)), len(open("/dev/urandom", "rb").read(5)))
if TMP:
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/b")
        open(f"{folder}/a", "w").write("text")
        os.truncate(f"{folder}/a", 2)
        os.rename(f"{folder}/a", f"{folder}/b/c")
        print(open(f"{folder}/b/c").read())
"""
    outcome = run(sandbox, f"TMP = {sandbox.tier != 'rlimit'}\n{source}")
    assert outcome.stdout.split() == ([b"3", b"5"] if sandbox.tier == "rlimit" else [b"3", b"5", b"te"]), (
        outcome
    )


@pytest.mark.parametrize("version", [0, 1, 3, 4, 7])
def test_landlock_of_older_kernels(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version asks for no right it does not know, and for every one it does; without one nothing is done."""
    asked: list[tuple[int, ...]] = []

    def call(number: int, *arguments: Any) -> int:
        if number == landlock.CREATE_RULESET:
            asked.append(struct.unpack("QQQ", arguments[0]))
            return os.open("/dev/null", os.O_RDONLY)
        if number == landlock.ADD_RULE:
            asked.append(struct.unpack("=Qi", arguments[2]))
        return 0

    monkeypatch.setattr(landlock, "version", lambda: version)
    monkeypatch.setattr(landlock, "_call", call)
    landlock.restrict(["/usr", "/no/such"], ["/tmp"], ["/dev/null"])
    if version == 0:
        assert asked == []
        return
    (handled, network, scopes), (read, _), (own, _), (write, _) = asked
    assert handled == {1: 0x1FFF, 3: 0x7FFF, 4: 0x7FFF, 7: 0xFFFF}[version]
    assert (network, scopes) == {1: (0, 0), 3: (0, 0), 4: (3, 0), 7: (3, 3)}[version]
    assert read == 0b1100 and write == 0x4006 & handled
    assert own & ~handled == 0 and not own & (1 | 1 << 6 | 1 << 11 | 1 << 15)  # run, devices


@tiers(*ALL)
def test_attempts_would_be_seen(sandbox: Sandbox) -> None:
    """The harness of this file says ESCAPED where an attempt succeeds."""
    assert run(sandbox, "attempt(lambda: os.getpid())").stdout == b"ESCAPED\n"


@tiers(*BOXED)
def test_identity(sandbox: Sandbox) -> None:
    """A private uid, the first process of its namespace, no capability, no variable of ours."""
    os.environ["RLVR_SECRET"] = "token"
    source = """
import json
print(json.dumps([os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), os.getpid(), sorted(os.environ)]))
header = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4))
data = ctypes.create_string_buffer(24)
libc.capget(header, data)
print(data.raw.hex(), libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0))
"""
    facts, capabilities = run(sandbox, source).stdout.decode().splitlines()
    uid, euid, gid, groups, pid, variables = json.loads(facts)
    assert uid == euid == gid and 60578 <= uid < 61184 and 0 not in groups
    assert pid == 1
    assert set(variables) <= {*box_process.ENVIRONMENT, "PWD"}
    assert capabilities == f"{'00' * 24} 1 2"  # none; no new privileges; a filter


@tiers(*BOXED)
def test_fork_bomb(sandbox: Sandbox) -> None:
    source = """
made = 0
try:
    while True:
        if os.fork() == 0:
            import time; time.sleep(60)
        made += 1
except OSError:
    print(made)
"""
    outcome = run(sandbox, source)
    assert outcome.code == 0 and 0 < int(outcome.stdout) <= 9, outcome


@tiers(*BOXED)
def test_explosive_fork_bomb_is_over_in_time(sandbox: Sandbox) -> None:
    started = time.monotonic()
    source = "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    outcome = run(sandbox, source, seconds=1.0)
    assert outcome.stopped == "time" and time.monotonic() - started < 8
    assert run(sandbox, "print('next')").stdout == b"next\n"


@tiers(*ALL)
def test_daemon(sandbox: Sandbox) -> None:
    """A child with a session of its own, and one of its own again, spinning on; the fixture looks for it."""
    source = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for n in range(3):
            os.close(n)
        while True:
            pass
    os._exit(0)
print("parent done")
"""
    assert run(sandbox, source).stdout == b"parent done\n"


@tiers(*ALL)
def test_threads_left_behind(sandbox: Sandbox) -> None:
    source = """
import threading
def spin():
    while True:
        pass
for _ in range(3):
    threading.Thread(target=spin, daemon=True).start()
print("done")
"""
    assert run(sandbox, source).stdout == b"done\n"


@tiers(*ALL)
def test_too_many_threads(sandbox: Sandbox) -> None:
    source = """
import threading, time
try:
    for n in range(400):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    print("ESCAPED")
except (RuntimeError, MemoryError):
    print("held")
"""
    if sandbox.tier == "rlimit" and os.geteuid() != 0:
        pytest.skip("without a box a user's own processes would count as well: no such limit")
    assert held(run(sandbox, source))


@pytest.mark.parametrize("source", ["import time; time.sleep(60)", "while True: pass", "input()\nwhile 1: 1"])
@tiers(*ALL)
def test_time(sandbox: Sandbox, source: str) -> None:
    started = time.monotonic()
    outcome = sandbox.script(source, b"x\n", 0.5)
    assert outcome.stopped == "time" and outcome.code == -signal.SIGKILL
    assert 0.4 < time.monotonic() - started < 6


@tiers(*ALL)
def test_deaf_to_signals(sandbox: Sandbox) -> None:
    source = """
import shutil
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for n in range(1, 65):
    try:
        signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
"""
    assert run(sandbox, source, seconds=0.7).stopped == "time"


@pytest.mark.parametrize(
    "source",
    ["while True: print('x' * 65536)", "import os\nwhile True: os.write(1, b'x' * 65536)"],
)
@tiers(*ALL)
def test_endless_output(sandbox: Sandbox, source: str) -> None:
    outcome = sandbox.script(source, b"", SECONDS)
    assert outcome.stopped == "output" and len(outcome.stdout) < (9 << 20)


@pytest.mark.parametrize("junk", [b"[", b"\n", b"{}\n"])
@tiers(*ALL)
def test_endless_message(sandbox: Sandbox, junk: bytes) -> None:
    source = f"import os\nwhile True: os.write(3, {junk!r} * 16384)"
    with sandbox.open({"mode": "script", "source": source}) as program:
        assert program.finish(time.monotonic() + SECONDS).stopped == "message"
    source = f"import os\ndef main(x):\n while True: os.write(3, {b'['!r} * 65536)"
    with pytest.raises(ValueError, match="message"):
        sandbox.call(source, "main", [1], SECONDS)


@pytest.mark.parametrize("junk", [b"[" * 100_000, b'{"value": ' + b"9" * 5000 + b"}", b"\xff\xfe", b'{"value": [1]}',
                                  b'{"value": {"handle": 0}, "x": 1}', b'{"value": {"__class__": 1}}', b"null"])  # fmt: skip
@tiers(*ALL)
def test_junk_messages(sandbox: Sandbox, junk: bytes) -> None:
    line = junk + b"\n"
    source = f"import os\ndef main(x):\n os.write(3, {line!r}); os._exit(0)"
    try:
        said = sandbox.call(source, "main", [1], SECONDS)
    except ValueError:
        return
    assert not same(said, [1]) and not same(said, 1)
    with pytest.raises(ValueError, match="no JSON"):
        json_value(said)


@tiers(*ALL)
def test_deep_recursion(sandbox: Sandbox) -> None:
    for source in (
        "def f(n): return f(n + 1)\nf(0)",
        "import ctypes; ctypes.string_at(0)",
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**5): x = [x]\nprint(repr(x))",
        "eval('(' * 100_000)",
    ):
        outcome = sandbox.script(source, b"", SECONDS)
        assert outcome.code != 0 and outcome.stdout == b""
    assert sandbox.script("print(1)", b"", SECONDS).stdout == b"1\n"


@tiers(*ALL)
def test_nothing_of_the_last_program(sandbox: Sandbox) -> None:
    """Neither files nor memory: the zygote has never held a source or an input."""
    first = "x = 'find' + 'me' * 3\nimport builtins; builtins.print = None\n"
    if sandbox.tier != "rlimit":
        first += "open('/tmp/note', 'w').write(x)"
    assert sandbox.script(first, b"findmememe", SECONDS).code == 0
    second = """
import gc
word = ''.join(['find', *['me'] * 3])  # no constant of this source
found = [o for o in gc.get_objects() if isinstance(o, (list, tuple)) and word in map(str, o[:50])]
print(len(found), os.path.exists('/tmp/note'))
"""
    assert run(sandbox, second).stdout == b"0 False\n"


@tiers(*ALL)
def test_inputs_cannot_be_changed(sandbox: Sandbox) -> None:
    source = "attempt(lambda: os.write(0, b'x'))"
    assert held(run(sandbox, source, b"input"))


@tiers(*ALL)
def test_box_dies_with_its_owner(tier: str, tmp_path: Path) -> None:
    """The worker is killed while its program spins and forks: nothing is left."""
    script = tmp_path / "owner.py"
    marker = f"rlvr_marker_{os.getpid()}_{tier}"
    program = "import os\nos.fork()\nwhile True: pass"
    script.write_text(
        "from rlvr_cli.verifiers.sandbox import Isolation, Sandbox\n"
        f"sandbox = Sandbox(Isolation('{tier}'))\n"
        "sandbox.script('', b'', 30)\nprint(sandbox._free[0].process.pid, flush=True)\n"
        f"sandbox.script({program!r}, b'', 60)  # {marker}\n"
    )
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    box = psutil.Process(int(owner.stdout.readline()))
    end = time.monotonic() + 20
    while len(family := [box, *box.children(recursive=True)]) < (3 if tier == "rlimit" else 4):
        assert time.monotonic() < end
        time.sleep(0.02)
    owner.kill()
    owner.wait()
    if tier == "rlimit":  # claims this of the program, not of what it has started
        family = family[:2]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@tiers(*BOXED)
def test_killed_zygote_is_no_verdict(tier: str) -> None:
    with Sandbox(Isolation(tier)) as sandbox:
        sandbox.script("", b"", SECONDS)
        box = sandbox._free[0]
        with (
            pytest.raises(SandboxError),
            sandbox.open({"mode": "script", "source": "while 1: pass"}) as program,
        ):
            os.kill(box.process.pid, signal.SIGKILL)
            program.finish(time.monotonic() + SECONDS)
        assert sandbox.script("print(2)", b"", SECONDS).stdout == b"2\n"  # with a new box


def test_run_python_is_json_in_and_out() -> None:
    if not any(TIERS[name].available for name in BOXED):
        pytest.skip("; ".join(TIERS[name].detail for name in BOXED))
    assert run_python("def main(p): return {'n': len(p), 'p': p}", [1, "a", None]) == {
        "n": 3,
        "p": [1, "a", None],
    }
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        run_python("def main(p): return 1 / 0", 1)
    with pytest.raises(ValueError, match="time"):
        run_python("def main(p):\n while True: pass", 1, seconds=0.5)
    with pytest.raises(ValueError, match="defines no 'main'"):
        run_python("x = 1", 1)


def test_a_thread_keeps_a_few_sandboxes() -> None:
    """Many kinds of limits leave no more boxes than `KEPT` of them need."""
    if not any(TIERS[name].available for name in BOXED):
        pytest.skip("; ".join(TIERS[name].detail for name in BOXED))
    first = shared(Isolation.auto, Limits(memory_mb=300))
    pids = []
    for n in range(KEPT + 2):
        used = shared(Isolation.auto, Limits(memory_mb=300 + n))
        assert used.script("print(1)", b"", SECONDS).stdout == b"1\n"
        pids.append(used._free[0].process.pid)
    assert shared(Isolation.auto, Limits(memory_mb=301 + KEPT)) is used
    assert [psutil.pid_exists(pid) for pid in pids] == [False, False, *[True] * KEPT]
    assert shared(Isolation.auto, Limits(memory_mb=300)) is not first


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_is_well_formed(machine: str) -> None:
    """Every jump lands inside, the last instruction returns; 8 bytes each, at most the kernel's 4096."""
    code = assemble(machine, 7)
    instructions = [code[i : i + 8] for i in range(0, len(code), 8)]
    assert 100 < len(instructions) < 4096 and len(code) % 8 == 0
    for place, (_, _, yes, no, *_) in enumerate(instructions):
        assert place + 1 + max(yes, no) <= len(instructions) - 1 or instructions[place][0] == 6
    assert instructions[-1][0] == 6


@pytest.mark.parametrize("tier", BOXED)
def test_an_installation_below_tmp(tier: str) -> None:
    """A box has a /tmp of its own; a clone or a virtual environment may lie in the real one."""
    if not TIERS[tier].available:
        pytest.skip(f"{tier}: {TIERS[tier].detail}")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(Path(rlvr_cli.__file__).parent, f"{folder}/rlvr_cli")
        program = f"""
from rlvr_cli.verifiers import sandbox
assert sandbox.__file__.startswith({folder!r})
with sandbox.Sandbox(sandbox.Isolation.{tier}) as box:
    print(box.script("import os; print(os.listdir('/tmp'))", b"", 20).stdout.decode())
"""
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == "[]", done.stderr
