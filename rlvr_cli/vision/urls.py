"""Images of https addresses, each fetched once and kept in a folder.

A data set is somebody else's text: an address in it may lead to this machine, to its neighbours, or to the
service in which a cloud keeps its keys. So every name is looked up once, all of its addresses are checked,
and the connection goes to one of these: a name that changes after the check (DNS rebinding) changes nothing.
The same holds for every redirect. Proxies of the environment are not used, as they look names up themselves.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from rlvr_cli.core.files import write_atomically

MOST_BYTES = 64 * 2**20
REDIRECTS = 3
CONNECT_S = 10.0
"""To connect, and between two pieces of an answer."""
TOTAL_S = 60.0
"""For one attempt, redirects included."""
ATTEMPTS = 2
"""Of what may go better at once: no answer, or one of `BUSY`."""
BUSY = (408, 429, 500, 502, 503, 504)
MOVED = (301, 302, 303, 307, 308)
REMEMBERED_S = 600.0
"""A failure on one rank is one on all ranks of a launch: they must read the same rows."""

Address = IPv4Address | IPv6Address
Allowed = Callable[[Address], bool]


class NotFetched(ValueError):
    """Why an address gives no image, in a few words."""


class _Busy(NotFetched):
    """Another attempt may go better."""


def public(address: Address) -> bool:
    """Whether it is on the open internet, also where an IPv6 address only wraps one of IPv4."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address.packed[:12] == bytes.fromhex("0064ff9b0000000000000000"):
            inner = IPv4Address(address.packed[12:])  # NAT64
        if inner is not None:
            return public(inner)
    return address.is_global and not address.is_multicast


def name_of(url: str) -> str:
    """The file in the folder that holds it."""
    return sha256(url.encode()).hexdigest()


def fetched(
    url: str,
    folder: Path,
    check: Callable[[bytes], None],
    allowed: Allowed = public,
    context: Any = None,
) -> Path:
    """The file with what the address gives; from the folder, where it is there already.

    `check` raises ValueError where it is no image: nothing else is kept. `allowed`: which addresses may be
    connected to; `context`: of TLS, None: the usual one. Raises NotFetched.
    """
    file = folder / name_of(url)
    if file.exists():
        return file
    with _alone(folder, file.name):
        if file.exists():
            return file
        if (why := _failed(file)) is not None:
            raise NotFetched(why)
        try:
            content = _with_patience(url, allowed, context)
            try:
                check(content)
            except ValueError as error:
                raise NotFetched(f"{_short(url)}: {error}") from None
        except NotFetched as error:
            _remember(file, str(error))
            raise
        write_atomically(file, content)
        return file


def _with_patience(url: str, allowed: Allowed, context: Any) -> bytes:
    for attempt in range(ATTEMPTS):
        try:
            return _followed(url, allowed, context)
        except _Busy:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(1.0)
    raise AssertionError


def _followed(url: str, allowed: Allowed, context: Any) -> bytes:
    """What an address, or the one it redirects to, answers with."""
    import httpcore

    end, at = time.monotonic() + TOTAL_S, url
    trusted = _usual() if context is None else context
    with httpcore.ConnectionPool(ssl_context=trusted, network_backend=_checked(allowed, end)) as pool:
        for _ in range(REDIRECTS + 1):
            _demand_https(at, url)
            try:
                found = _answer(pool, at, url, end)
            except (httpcore.TimeoutException, TimeoutError):
                raise _Busy(f"{_short(url)} does not answer in time") from None
            except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
                raise _Busy(f"{_short(url)} cannot be read ({_line(error)})") from None
            if isinstance(found, bytes):
                return found
            at = urljoin(at, found)
    raise NotFetched(f"{_short(url)} redirects more than {REDIRECTS} times")


@cache
def _usual() -> Any:
    """The context of TLS that trusts whom everybody does: reading all of them is slow."""
    import httpx

    return httpx.create_ssl_context()


def _demand_https(at: str, url: str) -> None:
    where = _short(url) if at == url else f"{_short(url)} redirects to {_short(at)}, which"
    try:
        parts = urlsplit(at)
        known = parts.scheme == "https" and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise NotFetched(f"{where} is no https address")
    if parts.username is not None or parts.password is not None:
        raise NotFetched(f"{where} has a user in it, and nobody is logged in; download it")


def _answer(pool: Any, at: str, url: str, end: float) -> bytes | str:
    """The body, or where else it is."""
    import httpcore
    import httpx

    try:
        parts = httpx.URL(at)  # which writes names in IDNA, and spaces as %20
    except httpx.InvalidURL as error:
        raise NotFetched(f"{_short(url)} is no address ({_line(error)})") from None
    timeout = {"connect": CONNECT_S, "read": CONNECT_S, "write": CONNECT_S, "pool": CONNECT_S}
    headers = {"Host": parts.netloc.decode(), "User-Agent": "rlvr", "Accept": "image/*"}
    asked = {"headers": headers | {"Accept-Encoding": "identity"}, "extensions": {"timeout": timeout}}
    target = httpcore.URL(
        scheme=parts.raw_scheme, host=parts.raw_host, port=parts.port or 443, target=parts.raw_path
    )
    with pool.stream("GET", target, **asked) as response:
        told = {name.lower(): value for name, value in response.headers}
        if response.status in MOVED and b"location" in told:
            return told[b"location"].decode("latin-1")
        if response.status != 200:
            kind = _Busy if response.status in BUSY else NotFetched
            raise kind(f"{_short(url)} answers HTTP {response.status}")
        length = told.get(b"content-length", b"")
        if length.isdigit() and int(length) > MOST_BYTES:
            raise NotFetched(f"{_short(url)} is larger than {MOST_BYTES >> 20} MiB")
        body = bytearray()
        for piece in response.iter_stream():
            body += piece
            if len(body) > MOST_BYTES:
                raise NotFetched(f"{_short(url)} is larger than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > end:
                raise _Busy(f"{_short(url)} does not answer in {TOTAL_S:.0f} seconds")
        return bytes(body)


def _checked(allowed: Allowed, end: float) -> Any:
    """How httpcore connects: to an address that was checked, and to no other."""
    import httpcore

    class Checked(httpcore.NetworkBackend):
        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Any = None,
        ) -> httpcore.NetworkStream:
            addresses = _addresses(host, port)
            for address in addresses:
                if not allowed(address):
                    raise NotFetched(f"{host} is at {address}, which is not on the open internet")
            for n, address in enumerate(addresses):
                if time.monotonic() > end:
                    raise httpcore.ConnectTimeout
                try:
                    return httpcore.SyncBackend().connect_tcp(
                        str(address), port, timeout, local_address, socket_options
                    )
                except (httpcore.ConnectError, httpcore.ConnectTimeout):
                    if n + 1 == len(addresses):
                        raise
            raise httpcore.ConnectError(f"{host} has no address")

    return Checked()


def _addresses(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Busy(f"the name {host[:80]} is not found ({_line(error)})") from None
    return list(dict.fromkeys(ip_address(str(each[4][0])) for each in found))


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """No other process fetches the same meanwhile."""
    locks = folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with open(locks / name[:2], "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _launch() -> str | None:
    """What tells the ranks of one launch; None where there is one rank."""
    names = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
    return " ".join(os.environ.get(n, "") for n in names) if _ranks() > 1 else None


def _ranks() -> int:
    return int(os.environ.get("WORLD_SIZE") or 1)


def _remember(file: Path, why: str) -> None:
    if (launch := _launch()) is not None:
        said = {"launch": launch, "time": time.time(), "why": why}
        write_atomically(file.with_suffix(".failed"), json.dumps(said))


def _failed(file: Path) -> str | None:
    """Why another rank of this launch could not fetch it, a moment ago."""
    if (launch := _launch()) is None:
        return None
    try:
        said = json.loads(file.with_suffix(".failed").read_bytes())
        recent = said["launch"] == launch and abs(time.time() - said["time"]) < REMEMBERED_S
        return str(said["why"]) if recent else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _short(url: str) -> str:
    return url if len(url) <= 80 else f"{url[:77]}..."


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__
