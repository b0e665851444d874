"""Runs Python that nobody has read: a policy's answer, with limits, without network, without a view of us.

    probe() -> [Tier(name="bwrap", available=True, detail="..."), ...]     what this machine offers
    run_python("def main(payload): return sum(payload)", [1, 2]) -> 3       JSON in, JSON out
    with Sandbox(Isolation.auto, Limits(memory_mb=512)) as sandbox:
        outcome = sandbox.script(source, stdin, seconds=2.0)                standard input and output
        with sandbox.open({"mode": "serve", "source": source}) as program:  calls (program.py has the modes)
            program.send({...}); program.receive(deadline)

Tiers (tiers.py), strongest first; `auto` takes the first that passes a real trial run and never a
weaker one in silence. `rlimit` must be asked for by name.

    bwrap    a box made by bubblewrap
    userns   the same box made by our own system calls (box.py)
    rlimit   no box: limits and the system call filter only

A box is a new mount, PID, network, IPC and UTS namespace with one small process in it, the zygote
(zygote.py). It forks for every program, and each program gets a PID namespace, an empty /tmp and a
private uid of its own, then loses every privilege (confine.py). Programs are judged outside, on
data; the exit status and what the program says about itself only ever make a verdict worse.
Linux on x86_64 or aarch64. The threat model is in docs/security.md.
"""

from rlvr_cli.verifiers.sandbox.box_process import SandboxError, numpy_folders
from rlvr_cli.verifiers.sandbox.host import Sandbox, run_python, shared
from rlvr_cli.verifiers.sandbox.limits import Isolation, Limits
from rlvr_cli.verifiers.sandbox.running import Outcome, Program
from rlvr_cli.verifiers.sandbox.tiers import Tier, choose, probe

__all__ = [
    "Isolation",
    "Limits",
    "Outcome",
    "Program",
    "Sandbox",
    "SandboxError",
    "Tier",
    "choose",
    "numpy_folders",
    "probe",
    "run_python",
    "shared",
]
