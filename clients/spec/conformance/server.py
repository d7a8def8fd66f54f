"""A server that answers by a script, breaks connections when told to, and notices what was not asked."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from typing import Any, Optional

from . import schema
from .load import SPEC

PREFIX = "SECRET-"  # Stands before every secret of a script, and in nothing else.
CODES = json.loads((SPEC / "errors.json").read_text())["codes"]
ROUTES = {
    "acquire": "/v1/pools/{pool}/leases",
    "renew": "/v1/leases/renew",
    "renew-many": "/v1/leases/renew-many",
    "release": "/v1/leases/release",
    "leave": "/v1/leases/leave",
    "yield": "/v1/leases/yield",
    "queue-leave": "/v1/pools/{pool}/queue/leave",
    "queue-request": "/v1/pools/{pool}/queue/request",
    "jwks": "/v1/jwks",
}


def lease(id: str = "L1", ttl_ms: int = 60_000, **more: Any) -> dict:
    """A whole lease, as a server tells it."""
    return {
        "id": id, "pool": "crm", "holder": "ann", "tenant": None, "label": None, "activities": [], "platform": None,
        "seat": "concurrent", "fence": 1795000000000000, "started_at": "2026-11-29T12:00:00.000Z",
        "renewed_at": "2026-11-29T12:00:00.000Z", "expires_at": "2026-11-29T12:01:00.000Z", "expires_in_ms": ttl_ms,
        "ttl_ms": ttl_ms, "renew_after_ms": ttl_ms // 3, **more,
    }  # fmt: skip


def render(answer: dict, kind: str, body: dict, document: Optional[dict]) -> tuple[int, dict, bytes]:
    """Status, headers and body of an answer of the script; a body of ours is checked against the OpenAPI document."""
    headers = {"content-type": "application/json", **answer.get("headers", {})}
    if "raw" in answer:
        return answer.get("status", 200), {"content-type": "text/html", **answer.get("headers", {})}, answer["raw"].encode()
    if "keys" in answer:
        status, said = 200, {"keys": json.loads((SPEC / "proof" / "proofs.json").read_text())["keys"]}
        return status, headers, json.dumps(said).encode()
    if "empty" in answer:
        return answer["empty"], answer.get("headers", {}), b""
    if "grant" in answer:
        status, token, of_lease = answer.get("status", 201), answer.get("token", "t1"), answer["grant"]
        if token == "by-holder":  # One script for many seats: each has its holder's name as its token.
            token, of_lease = body["holder"], {"id": "L" + body["holder"], **of_lease}
        said = {"lease": lease(**of_lease), "token": PREFIX + token, "pool": {"in_use": 1, "capacity": 5}}
    elif "renewed" in answer:
        token = body["token"].removeprefix(PREFIX)
        own = {"id": "L" + token} if token.startswith("s") else {}
        status, said = 200, {"lease": lease(**{**own, **answer["renewed"]}), "resumed": answer.get("resumed", False)}
        if "token" in answer:
            said["token"] = PREFIX + answer["token"]
    elif "queued" in answer:
        status = 202
        said = {"ticket": PREFIX + answer.get("token", "k1"), "position": 1, "retry_after_ms": 2_000, "eta_ms": 9_000, **answer["queued"]}
    elif "said" in answer:
        status, said = 200, dict(answer["said"])
    elif "results" in answer:
        # One for each token; `results` says how those that differ do, by token.
        status, results = 200, []
        for token in body.get("tokens") or [lease["token"] for lease in body["leases"]]:
            name = token.removeprefix(PREFIX)
            results.append(answer["results"].get(name, {"id": "L" + name, "status": "renewed", "expires_in_ms": answer["members"]["ttl_ms"]}))
        said = {"results": results}
    else:
        code = answer["problem"]
        status = answer.get("status") or CODES[code]["status"]
        headers["content-type"] = "application/problem+json"
        said = {"type": f"urn:leasehold:problem:{code}", "title": code, "status": status, "detail": f"Because of {code}.", "code": code}
    said.update({} if "results" in answer else answer.get("members", {}))
    if document and ROUTES[kind] in document["paths"]:
        wrong = schema.answer_faults(document, ROUTES[kind], status, said)
        if wrong:
            raise ValueError(f"no server says this: {'; '.join(wrong)}")
    return status, headers, json.dumps(said).encode()


class Scripted:
    """Answers one scenario."""

    def __init__(self, scenario: dict, document: Optional[dict]) -> None:
        self.script = list(scenario.get("script", []))
        self.otherwise = scenario.get("otherwise", {})
        self.document = document
        self.at = 0
        self.counts: dict[str, int] = {}
        self.connections = 0
        self.last: Optional[tuple[float, int]] = None
        self.keys: dict[str, str] = {}
        self.wrong: list[str] = []
        self.writers: set[asyncio.StreamWriter] = set()
        self.server: Optional[asyncio.Server] = None
        self.port = 0
        self.moved = asyncio.Event()

    async def up(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)
        self.port = self.server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self.server:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            _reset(writer)

    def unread(self) -> list[str]:
        return [f"was not asked: {exchange['expect']} (exchange {n})" for n, exchange in enumerate(self.script, 1) if n > self.at]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, served = self.connections, 0
        self.writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
                served += 1
                upcoming = self.script[self.at] if self.at < len(self.script) else {}
                if upcoming.get("answer", {}).get("broken") == "reset_before":
                    self._next(upcoming["expect"], headers, {}, number, served)
                    return _reset(writer)
                text = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(writer, method, path, headers, text, number, served):
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        except Exception as error:  # Told as a fault of the scenario, not as a broken connection.
            self.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _answer(self, writer, method, path, headers, text, connection, served) -> bool:
        kind = next((kind for kind, route in ROUTES.items() if _fits(path, route)), None)
        try:
            body = {} if kind == "jwks" else json.loads(text)
        except ValueError:
            body = None
        if method != ("GET" if kind == "jwks" else "POST") or kind is None or not isinstance(body, dict):
            self.wrong.append(f"nobody expects {method} {path} {text[:80]!r}")
            return False
        answer = self._next(kind, headers, body, connection, served)
        if answer is None:
            self.wrong.append(f"unexpected: {kind} {json.dumps(body)}")
            answer = {"problem": "internal"}
        if answer.get("delay_ms"):
            await asyncio.sleep(answer["delay_ms"] / 1_000)
        broken = answer.get("broken")
        if broken == "reset_after":
            _reset(writer)
            return False
        if broken == "close":
            return False
        if broken == "hang":
            await asyncio.sleep(60)
            return False
        if broken == "garbage":
            writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            await writer.drain()
            return False
        if broken == "trickle":
            for byte in b"HTTP/1.1 200 OK\r\nx-slow: " + b"a" * 600:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
            return False
        status, said, data = render(answer, kind, body, self.document)
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(data)}", *(f"{name}: {value}" for name, value in said.items())]
        if status == 204:
            lines = [line for line in lines if not line.startswith("content-")]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await writer.drain()
        return True

    def _next(self, kind: str, headers: dict, body: dict, connection: int, served: int) -> Optional[dict]:
        instant = time.monotonic()
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.moved.set()
        if self.at < len(self.script) and self.script[self.at]["expect"] == kind:
            exchange = self.script[self.at]
            self.at += 1
            self.wrong += [f"exchange {self.at} ({kind}): {what}" for what in self._faults(exchange, headers, body, connection, served, instant)]
            self.last = (instant, connection)
            return exchange["answer"]
        if kind in self.otherwise:
            return self.otherwise[kind]
        return None

    def _faults(self, exchange, headers, body, connection, served, instant) -> list[str]:
        found = []
        for name, value in exchange.get("with", {}).items():
            secret = name in ("token", "ticket")
            if body.get(name) != (PREFIX + value if secret else value):
                found.append(f"{name} is {body.get(name)!r}, not {value!r}")
        found += [f"{name} is there" for name in exchange.get("without", []) if name in body]
        if "idle_ms" in exchange:
            low, high = exchange["idle_ms"]
            for said in body.get("leases", [body]):
                if not low <= said.get("idle_ms", -1) <= high:
                    found.append(f"idle_ms is {said.get('idle_ms')!r}, not within {low} to {high}")
        if "key" in exchange:
            key = headers.get("idempotency-key")
            known = self.keys.setdefault(exchange["key"], key)
            same = [name for name, value in self.keys.items() if value == key]
            if not key or known != key or same != [exchange["key"]]:
                found.append(f"the Idempotency-Key {key!r} is not that of {exchange['key']}")
        if "authorization" in exchange:
            expected = exchange["authorization"]
            expected = expected and f"Bearer {PREFIX}{expected}"
            if headers.get("authorization") != expected:
                found.append("another Authorization than expected")
        if "agent" in exchange and exchange["agent"] not in headers.get("user-agent", ""):
            found.append(f"User-Agent is {headers.get('user-agent')!r}")
        if exchange.get("connection") == "new" and served > 1:
            found.append("came on a connection that had been used before")
        if "after_ms" in exchange and self.last:
            low, high = exchange["after_ms"]
            after = (instant - self.last[0]) * 1_000
            if not low - 30 <= after <= high:
                found.append(f"came after {after:.0f} ms, not within {low} to {high}")
        return found


def _fits(path: str, route: str) -> bool:
    want, have = route.split("/"), path.split("?")[0].split("/")
    return len(want) == len(have) and all(w == h or w == "{pool}" for w, h in zip(want, have))


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()
