"""The system call filter of a program: a classic BPF program, assembled here and installed by prctl.

A list of what is refused, since Python needs a hundred harmless calls that differ between machines.
Calls newer than the list are refused as a whole. Refusals are errors (EPERM, ENOSYS), no kills: a
program that tries something odd fails at that place and is judged on what it has printed.
"""

from __future__ import annotations

import ctypes
import os
import struct

from rlvr_cli.verifiers.sandbox import kernel

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine -> column of the tables below, and the kernel's name for it."""
NEWEST = 451
"""The last system call that was looked at."""

REFUSED = {
    # mounts, roots, namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "reboot": (169, 142),
    # other programs and other processes
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "kcmp": (312, 272),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    # network, and what outlives a process
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "sendmsg": (46, 211), "sendmmsg": (307, 269), "setsockopt": (54, 208),
    "mq_open": (240, 180), "msgget": (68, 186),
    "semget": (64, 190), "shmget": (29, 194), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # what is shared with the host even by those who see little of it: disks, files, the scheduler
    "sync": (162, 81), "syncfs": (306, 267), "flock": (73, 32), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    # large or rarely needed parts of the kernel
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "init_module": (175, 105), "delete_module": (176, 106), "finit_module": (313, 273),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "personality": (135, 92),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None),
    "nfsservctl": (180, 42), "lookup_dcookie": (212, 18), "vhangup": (153, 58), "syslog": (103, 116),
    "move_pages": (279, 239), "migrate_pages": (256, 238), "mbind": (237, 235),
    "set_mempolicy": (238, 237), "set_mempolicy_home_node": (450, 450),
    # the machine's clock and names
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162),
}  # fmt: skip
TO_ITSELF = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
"""Calls whose first argument is a process: allowed for the program's own."""
TO_ITSELF_OR_0 = {
    "prlimit64": (302, 261), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
}  # fmt: skip
"""The same, where 0 also means the caller."""
CLONE, CLONE3 = (56, 220), (435, 435)
NEW_NAMESPACES = 0x7E020080
"""All CLONE_NEW* flags."""
STREAM, NONBLOCK, CLOEXEC = 1, 0o4000, 0o2000000
REFUSED_IF: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    # Undoing "die with your parent" would let it outlive us where there is no PID namespace.
    "prctl": ((157, 167), 0, (kernel.PR_SET_PDEATHSIG,)),
    # Signals that the kernel sends to somebody else when a descriptor is ready.
    "fcntl": ((72, 25), 2, (8, 10, 15)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX
    "ioctl": ((16, 29), 2, (0x8901, 0x8902)),  # FIOSETOWN, SIOCSPGRP
}
"""Call -> its numbers, a word of its arguments, the values that are refused there."""
STREAMS = (STREAM, STREAM | NONBLOCK, STREAM | CLOEXEC, STREAM | NONBLOCK | CLOEXEC)
REFUSED_UNLESS: dict[str, tuple[tuple[int, int], tuple[tuple[int, tuple[int, ...]], ...]]] = {
    # Pairs that can reach nothing but each other: asyncio has one.
    "socketpair": ((53, 199), ((2, STREAMS),)),
    "sendto": ((44, 206), ((8, (0,)), (9, (0,)))),  # without an address
}
"""Call -> its numbers, words of its arguments with the values that are allowed there.

Word 2n is the lower half of argument n, word 2n + 1 the upper.
"""

LOAD, JUMP_ALWAYS, RETURN = 0x20, 0x05, 0x06
JUMP_EQUAL, JUMP_GREATER, JUMP_ANY_BIT = 0x15, 0x25, 0x45
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38
PR_SET_SECCOMP, MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, constant)"""


def assemble(machine: str, pid: int) -> bytes:
    """The filter for a process `pid` on `machine`, as the kernel's array of struct sock_filter."""
    column, architecture = ARCHITECTURES[machine]
    number, argument = (LOAD, 0, 0, 0), (LOAD, 0, 0, 16)
    code: list[Instruction] = [(LOAD, 0, 0, 4), (JUMP_EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL)]
    # x32 calls on x86_64 have bit 30 set: they are `newer` too.
    code += [number, (JUMP_GREATER, 0, 1, NEWEST), _refuse(ENOSYS)]
    # glibc then falls back to clone, whose flags are in a register where a filter can see them.
    code += [(JUMP_EQUAL, 0, 1, CLONE3[column]), _refuse(ENOSYS)]
    for numbers in REFUSED.values():
        if (value := numbers[column]) is not None:
            code += [(JUMP_EQUAL, 0, 1, value), _refuse(EPERM)]
    code += [(JUMP_EQUAL, 0, 4, CLONE[column]), argument]
    code += [(JUMP_ANY_BIT, 0, 1, NEW_NAMESPACES), _refuse(EPERM), (RETURN, 0, 0, ALLOW)]
    for both, word, values in REFUSED_IF.values():
        code += _rule(both[column], [(word, values, False)])
    for both, words in REFUSED_UNLESS.values():
        code += _rule(both[column], [(word, values, True) for word, values in words])
    for table, values in ((TO_ITSELF, (pid,)), (TO_ITSELF_OR_0, (pid, 0))):
        for both in table.values():
            code += _rule(both[column], [(0, values, True)])
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _refuse(error: int) -> Instruction:
    return (RETURN, 0, 0, ERRNO | error)


def _rule(number: int, words: list[tuple[int, tuple[int, ...], bool]]) -> list[Instruction]:
    """For one call: each word of its arguments is among the values, or (False) is not, or it is refused."""
    body: list[Instruction] = []
    for word, values, among in words:
        body.append((LOAD, 0, 0, 16 + 4 * word))
        for place, value in enumerate(values):
            after = len(values) - 1 - place  # comparisons still to come
            body.append((JUMP_EQUAL, after + 1, 0, value))
        body += [_refuse(EPERM)] if among else [(JUMP_ALWAYS, 0, 0, 1), _refuse(EPERM)]
    body.append((RETURN, 0, 0, ALLOW))
    return [(JUMP_EQUAL, 0, len(body), number), *body]


def install() -> None:
    """Filter this process and its children from now on. Needs PR_SET_NO_NEW_PRIVS. OSError if refused."""
    program = assemble(os.uname().machine, os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)))
    kernel.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(header))
