"""What training can do without: sandboxes, Weights & Biases, the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rlvr_cli.doctor.check_result import CheckResult, Status

SECONDS = 5.0
"""For an answer over the network."""
BOXES = "apt install bubblewrap, and allow user namespaces (in Docker: --security-opt seccomp=unconfined)"


def sandbox() -> Iterator[CheckResult]:
    """Each tier tried with a program; `auto` needs one of the first two."""
    from rlvr_cli.verifiers.sandbox import probe

    tiers = {tier.name: tier for tier in probe()}
    isolates = any(tiers[name].available for name in ("bwrap", "userns"))
    for name, tier in tiers.items():
        status = Status.ok if tier.available else Status.missing
        fix = "" if tier.available or isolates else BOXES
        yield CheckResult(name=f"box {name}", status=status, detail=tier.detail, fix=fix, needed=False)


def wandb() -> list[CheckResult]:
    """Where runs would be recorded: on the server with a login, else in files that can be sent later."""
    from rlvr_cli.tracking.wandb_run import logged_in

    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "disabled"):
        return [CheckResult(name="wandb", status=Status.ok, detail=f"WANDB_MODE={mode}", needed=False)]
    if not logged_in():
        detail = "no login: runs are recorded offline, in their wandb/ folder"
        fix = "wandb login"
        return [CheckResult(name="wandb", status=Status.missing, detail=detail, fix=fix, needed=False)]
    url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    fault = unreachable(url)
    if fault is None:
        return [
            CheckResult(name="wandb", status=Status.ok, detail=f"login found, {url} answers", needed=False)
        ]
    detail = f"login found, {url} does not answer ({fault})"
    fix = "tracker.wandb=offline, and wandb sync later"
    return [CheckResult(name="wandb", status=Status.missing, detail=detail, fix=fix, needed=False)]


def unreachable(url: str) -> str | None:
    """None if a server answers, whatever it says; else why not."""
    import httpx

    try:
        httpx.get(url, timeout=SECONDS)
    except httpx.HTTPError as error:
        return type(error).__name__
    return None


def hub() -> list[CheckResult]:
    """Whether models and data can be downloaded, and whether the token there is one."""
    import httpx
    from huggingface_hub import constants, get_token

    def found(status: Status, detail: str, fix: str = "") -> list[CheckResult]:
        return [CheckResult(name="hub", status=status, detail=detail, fix=fix, needed=False)]

    if constants.HF_HUB_OFFLINE:
        return found(Status.ok, "HF_HUB_OFFLINE is set: only what is in the cache is used")
    url, token = constants.ENDPOINT, get_token()
    path = "/api/whoami-v2" if token else "/api/models?limit=1"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(url + path, headers=headers, timeout=SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        fix = "work from local folders and the cache: HF_HUB_OFFLINE=1; or a mirror: HF_ENDPOINT"
        return found(Status.missing, f"{url} does not answer ({type(error).__name__})", fix)
    if token and answer.status_code in (401, 403):
        # A bad token is sent with every request, and refused for public models too.
        return found(Status.failed, f"{url} refuses the token", "hf auth login, or unset HF_TOKEN")
    if answer.is_error:
        return found(
            Status.failed, f"{url} answers {answer.status_code}", "try again later, or HF_HUB_OFFLINE=1"
        )
    if token:
        return found(Status.ok, f"{url} answers and knows the token")
    return found(Status.ok, f"{url} answers; no token, which gated models need (hf auth login)")
