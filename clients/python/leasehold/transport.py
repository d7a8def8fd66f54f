"""One POST of JSON, over connections that are kept. It follows no redirect and sends nothing twice."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import threading
import time
import urllib.request
from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlsplit

USER_AGENT = "leasehold-python/0.1.0 (spec 2)"
IDLE_S = 30.0
MOST_IDLE = 8
MOST_BYTES = 4 << 20


class Call:
    """A request that is under way. Any thread may abort it."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.aborted = self.done = False

    def abort(self) -> None:
        self.aborted = True
        if self.socket is not None:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)  # Wakes who reads from it; closing would not.
            except OSError:
                pass


class Transport:
    """The way to one server."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of a server begins with http:// or https://, not {url!r}")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("the address of a server has no user, no query and no fragment")
        self.host, self.prefix = parts.hostname, parts.path.rstrip("/")
        self.authority = parts.netloc
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self.proxy = _proxy(parts.scheme, parts.hostname)
        self.target = (
            f"http://{self.authority}" if self.proxy and not self.tls else ""
        )  # Before the path, for a proxy that reads it.
        self.lock = threading.Lock()
        self.idle: list[tuple[socket.socket, float]] = []

    def forget(self) -> None:
        """Lets go of all kept connections; in a child of a fork they are the parent's."""
        idle, self.lock, self.idle = self.idle, threading.Lock(), []
        for sock, _ in idle:
            sock.close()  # Of the child's copies; the connections themselves go on.

    def post(
        self, call: Call, path: str, headers: dict[str, str], body: dict[str, Any], timeout: float, fresh: bool
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers in small letters and the body, which is None if it is not JSON. Raises OSError or HTTPException."""
        data = json.dumps(body, separators=(",", ":")).encode()
        headers = {
            "host": self.authority,
            "user-agent": USER_AGENT,
            "accept": "application/json",
            "content-type": "application/json",
            "content-length": str(len(data)),
            **headers,
        }
        head = f"POST {self.target}{self.prefix}{path} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()
        )
        head += self.proxy[2] if self.proxy and self.target else ""
        until = time.monotonic() + timeout
        sock = self._take(fresh) or self._connect(timeout)
        keep = False
        try:
            call.socket = sock
            if call.aborted:
                raise TimeoutError("given up")
            sock.settimeout(max(0.05, until - time.monotonic()))
            sock.sendall(head.encode("latin-1") + b"\r\n" + data)  # One write: some servers answer a head that comes alone.
            with http.client.HTTPResponse(sock, method="POST") as response:
                response.begin()
                text = response.read(MOST_BYTES)
                keep = not response.will_close and response.isclosed()
                said = {name.lower(): value for name, value in response.getheaders()}
                return response.status, said, _json(text)
        finally:
            call.socket = None
            with self.lock:
                keep = keep and not call.aborted and len(self.idle) < MOST_IDLE
                if keep:
                    self.idle.append((sock, time.monotonic()))
            if not keep:
                sock.close()

    def _take(self, fresh: bool) -> socket.socket | None:
        with self.lock:
            while self.idle:
                sock, since = self.idle.pop()
                # One that can be read was closed by the other side: nothing is expected.
                if not fresh and time.monotonic() - since < IDLE_S and not select.select([sock], [], [], 0)[0]:
                    return sock
                sock.close()
        return None

    def _connect(self, timeout: float) -> socket.socket:
        sock = socket.create_connection(self.proxy[:2] if self.proxy else (self.host, self.port), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.proxy and self.tls:
                there = f"{self.host}:{self.port}"
                sock.sendall(f"CONNECT {there} HTTP/1.1\r\nhost: {there}\r\n{self.proxy[2]}\r\n".encode("latin-1"))
                response = http.client.HTTPResponse(sock, method="CONNECT")
                response.begin()
                if response.status != 200:
                    raise OSError(f"the proxy answered {response.status}")
            return self.tls.wrap_socket(sock, server_hostname=self.host) if self.tls else sock
        except BaseException:
            sock.close()
            raise


def _proxy(scheme: str, host: str) -> tuple[str, int, str] | None:
    """Host, port and credentials of the proxy that the environment names; none to this machine."""
    address = urllib.request.getproxies().get(scheme)
    if not address or host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(address if "//" in address else f"http://{address}")
    if not parts.hostname:
        return None
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    line = f"proxy-authorization: Basic {b64encode(user.encode()).decode()}\r\n" if user else ""
    return parts.hostname, parts.port or 80, line


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
