"""vLLM's own OpenAI server, with models of the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlvr_cli.core.rank_process import free_port
from rlvr_cli.rollout.servers.names import SEES

SEEING = (
    *("--limit-mm-per-prompt", json.dumps({"image": 2, "video": 0}), "--skip-mm-profiling"),
    *("--worker-extension-cls", "rlvr_cli.rollout.servers.transfer.WorkerExtension"),
    *("--generation-config", "vllm", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"),
)
"""Of a server of images; the extension repairs what is missing without torchvision."""


@contextmanager
def served(
    model: Path, log: Path, length: int = 64, *, sees: bool = False
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """(URL, process) of a server that is ready."""
    port = free_port()
    words = [
        "--model",
        str(model),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--max-model-len",
        f"{length}",
    ]
    words += ["--dtype", "float32", "--enforce-eager", *(SEEING if sees else ())]
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    variables |= {SEES: "1"} if sees else {}
    module = "rlvr_cli.rollout.servers.serve" if sees else "vllm.entrypoints.openai.api_server"
    command = [sys.executable, "-m", module, *words]
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=out, stderr=out, start_new_session=True
        )
    url, end = f"http://127.0.0.1:{port}/v1", time.monotonic() + 300
    try:
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{url}/models", timeout=5)
                break
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.5)
        yield url, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
