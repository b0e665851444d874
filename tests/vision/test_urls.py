"""Images of https addresses: what is fetched, once; what is refused before anything is asked for."""

from __future__ import annotations

import datetime
import io
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rlvr_cli.vision import urls
from rlvr_cli.vision.pictures import BadImage, Linked, _demand_image, picture
from rlvr_cli.vision.urls import NotFetched, fetched, public


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def certificate(folder: Path) -> Path:
    """A key and a certificate for localhost, which vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    made = made.not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = made.add_extension(names, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "localhost.pem"
    file.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return file


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.path)
        kind, _, more = self.path.strip("/").partition("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", server.places.get(more, more))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if kind == "busy" and len(server.asked) == 1:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b"<html>log in</html>" if kind == "page" else server.content
        self.send_response(404 if kind == "gone" else 200)
        if kind == "huge":
            self.send_header("Content-Length", f"{urls.MOST_BYTES + 1}")
        elif kind == "cut":
            self.send_header("Content-Length", f"{len(body) + 5}")
        elif kind != "endless":
            self.send_header("Content-Length", f"{len(body)}")
        self.end_headers()
        if kind == "endless":
            while True:
                self.wfile.write(b"0" * 2**20)
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError, ssl.SSLError):  # the client has had enough
            super().handle()


def serve(host: str, pem: Path, content: bytes) -> Any:
    server: Any = ThreadingHTTPServer((host, 0), Site)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.asked, server.places, server.content = [], {}, content
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("pem"))


@pytest.fixture
def site(pem: Path) -> Iterator[Any]:
    server = serve("127.0.0.1", pem, png())
    yield server
    server.shutdown()
    server.server_close()


def trust(pem: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pem))


def at(site: Any, path: str) -> str:
    return f"https://localhost:{site.server_address[1]}/{path}"


def here(address: Any) -> bool:
    return bool(address.is_loopback)


def get(url: str, folder: Path, pem: Path) -> Path:
    return fetched(url, folder, _demand_image, here, trust(pem))


def test_fetched_once_and_read_without_the_network(site: Any, pem: Path, tmp_path: Path) -> None:
    url = at(site, "a.png?size=2")
    file = get(url, tmp_path, pem)
    assert file.read_bytes() == png() and site.asked == ["/a.png?size=2"]
    assert get(url, tmp_path, pem) == file and len(site.asked) == 1
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [urls.name_of(url)]
    # from the folder also a run reads it that could not ask: no address of this machine is asked
    found = picture(url, urls=tmp_path)
    assert found.rgb().shape == (20, 30, 3) and found.key == Linked(url, Path("elsewhere")).key
    assert found.key != picture(at(site, "b.png"), urls=tmp_path).key
    with pytest.raises(BadImage, match=r"localhost is at .*, which is not on the open internet"):
        picture(at(site, "b.png"), urls=tmp_path).rgb()
    with pytest.raises(BadImage, match=r"on the network; download it, or name a folder .* \(image_urls\)"):
        picture(url)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gone", "answers HTTP 404"),
        ("page", "it is no image that PIL knows"),
        ("huge", "is larger than 64 MiB"),
        ("endless", "is larger than 64 MiB"),
        ("to/here", "redirects more than 3 times"),
        ("to/plain", "redirects to http://localhost/a.png, which is no https address"),
        ("to/file", "redirects to file:///etc/passwd, which is no https address"),
        ("to/user", "has a user in it, and nobody is logged in"),
        ("to/inside", "10.0.0.1 is at 10.0.0.1, which is not on the open internet"),
        ("to/cloud", "169.254.169.254, which is not on the open internet"),
    ],
)
def test_what_is_not_fetched(site: Any, pem: Path, tmp_path: Path, path: str, said: str) -> None:
    site.places |= {"here": at(site, "to/here"), "plain": "http://localhost/a.png"}
    site.places |= {"file": "file:///etc/passwd", "user": at(site, "a.png").replace("//", "//me:pass@")}
    site.places |= {"inside": "https://10.0.0.1/a.png", "cloud": "https://169.254.169.254/latest"}
    with pytest.raises(NotFetched, match=said) as told:
        get(at(site, path), tmp_path, pem)
    assert "\n" not in str(told.value) and not [p for p in tmp_path.iterdir() if p.is_file()]
    assert len(site.asked) <= 4


def test_redirects_and_a_second_attempt(
    site: Any, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls.time, "sleep", lambda seconds: None)
    site.places["twice"] = "/to/once"
    site.places["once"] = at(site, "a.png")
    assert get(at(site, "to/twice"), tmp_path, pem).read_bytes() == png()
    site.asked.clear()
    assert get(at(site, "busy"), tmp_path, pem).read_bytes() == png() and len(site.asked) == 2
    site.asked.clear()
    with pytest.raises(NotFetched, match="cannot be read"):  # an answer that breaks off
        get(at(site, "cut"), tmp_path, pem)
    assert len(site.asked) == 2
    with pytest.raises(NotFetched, match=r"cannot be read .*certificate verify failed"):
        fetched(at(site, "b.png"), tmp_path, _demand_image, here)


def test_only_addresses_of_the_open_internet() -> None:
    inside = "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 "
    inside += "255.255.255.255 ::1 :: fe80::1 fc00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::a00:1"
    inside += " 2002:a00:1::"
    assert [each for each in inside.split() if public(ip_address(each))] == []
    outside = "8.8.8.8 1.1.1.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808"
    assert [each for each in outside.split() if not public(ip_address(each))] == []


def test_a_name_that_changes_its_address_after_the_check_is_not_followed(
    site: Any, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the second look-up of a name would lead to another machine."""
    port = site.server_address[1]
    other = ThreadingHTTPServer(("127.0.0.2", port), Site)
    try:
        looked: list[str] = []

        def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
            looked.append(host)  # a name is at another place from the second time on
            place = host if host[0].isdigit() else f"127.0.0.{1 + (looked.count(host) > 1)}"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        url = at(site, "a.png")
        file = fetched(url, tmp_path, _demand_image, lambda a: str(a) == "127.0.0.1", trust(pem))
        assert file.read_bytes() == png() and looked.count("localhost") == 1
        with pytest.raises(NotFetched, match=r"localhost is at 127.0.0.2, which is not on"):
            fetched(at(site, "b.png"), tmp_path, _demand_image, lambda a: str(a) == "127.0.0.1", trust(pem))
    finally:
        other.server_close()


ASKS = """
import ssl, sys
from pathlib import Path
from rlvr_cli.vision.pictures import _demand_image
from rlvr_cli.vision.urls import fetched

url, folder, pem = sys.argv[1:]
trusted = ssl.create_default_context(cafile=pem)
fetched(url, Path(folder), _demand_image, lambda address: address.is_loopback, trusted)
"""


def test_processes_that_want_the_same_ask_once(site: Any, pem: Path, tmp_path: Path) -> None:
    """Not copies of this process: a copy has its locks, and none of the threads that would let go of them."""
    words = [sys.executable, "-c", ASKS, at(site, "a.png"), str(tmp_path), str(pem)]
    children = [subprocess.Popen(words) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4 and site.asked == ["/a.png"]


def test_ranks_of_a_launch_agree_on_what_failed(
    site: Any, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_PORT", "1")
    for _ in range(2):
        with pytest.raises(NotFetched, match="HTTP 404"):
            get(at(site, "gone"), tmp_path, pem)
    assert len(site.asked) == 1
    monkeypatch.setenv("MASTER_PORT", "2")  # another launch tries again
    with pytest.raises(NotFetched, match="HTTP 404"):
        get(at(site, "gone"), tmp_path, pem)
    assert len(site.asked) == 2
