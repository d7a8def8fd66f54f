"""The real program, with a Redis of its own: what scenarios that are marked `real` run against, too."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Optional

ADMIN = "conformance-admin-key"


class Real:
    """One node for all scenarios, with a pool for each."""

    def __init__(self, program: Path) -> None:
        self.data = Path(tempfile.mkdtemp(prefix="leasehold-conformance-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.log = open(self.data / "log", "wb")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LEASEHOLD_")}
        self.process = subprocess.Popen(
            [program, "serve", "--listen", self.url.removeprefix("http://"), "--data-dir", self.data / "redis"],
            env={**clean, "LEASEHOLD_ADMIN_KEY": ADMIN}, stdout=self.log, stderr=subprocess.STDOUT, cwd=self.data,
        )  # fmt: skip
        until = time.monotonic() + 30
        while self.ask("GET", "/readyz")[0] != 200:
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(f"the server does not start:\n{(self.data / 'log').read_text()[-2_000:]}")
            time.sleep(0.1)
        self.document = self.ask("GET", "/v1/openapi.json")[1]
        self.numbers = itertools.count(1)

    def ask(self, method: str, path: str, body: Optional[dict] = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers, method=method), timeout=10) as response:
                text = response.read()
                return response.status, json.loads(text) if text.startswith((b"{", b"[")) else None
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return 0, None

    def pool(self, scenario: dict) -> "Pool":
        return Pool(self, scenario)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        shutil.rmtree(self.data, ignore_errors=True)


class Pool:
    """A pool of the real server that belongs to one scenario. It has the methods of a scripted server that make sense."""

    def __init__(self, real: Real, scenario: dict) -> None:
        self.real, self.url, self.key = real, real.url, ADMIN
        self.own = f"pool-{next(real.numbers)}"
        self.policy = scenario["real"]
        self.wrong: list[str] = []
        self.tokens: dict[str, str] = {}

    def name(self, pool: str) -> str:
        return self.own if pool == "crm" else pool

    async def up(self) -> None:
        await self._must("PUT", f"/v1/pools/{self.own}", self.policy)

    async def down(self) -> None:
        await asyncio.to_thread(self.real.ask, "POST", f"/v1/pools/{self.own}/leases/terminate", {"all": True})
        await asyncio.to_thread(self.real.ask, "DELETE", f"/v1/pools/{self.own}")

    async def operate(self, step: dict) -> None:
        kind, path = step["operator"], f"/v1/pools/{self.own}"
        if kind == "terminate":
            await self._must("POST", f"{path}/leases/terminate", {"holder": step["holder"], "reason": step["reason"]})
        elif kind == "acquire":
            said = await self._must("POST", f"{path}/leases", {"holder": step["holder"]})
            self.tokens[step["holder"]] = said["token"]
        elif kind == "release":
            await self._must("POST", "/v1/leases/release", {"token": self.tokens[step["holder"]]})
        elif kind == "set":
            await self._must("PATCH", path, step["set"])
        elif kind == "delete":
            await self._must("POST", f"{path}/leases/terminate", {"all": True})
            await self._must("DELETE", path)
        elif kind == "holds":
            _, said = await asyncio.to_thread(self.real.ask, "GET", f"{path}/leases?holder={step['holder']}")
            if not said or not said["items"]:
                self.wrong.append(f"{step['holder']} holds nothing")
        elif kind in ("empty", "nobody_waits"):
            number, until = ("in_use" if kind == "empty" else "waiting"), time.monotonic() + 6
            while True:
                _, said = await asyncio.to_thread(self.real.ask, "GET", path)
                if said and not said[number]:
                    return
                if time.monotonic() > until:
                    self.wrong.append(f"{number} is not 0")
                    return
                await asyncio.sleep(0.05)

    async def _must(self, method: str, path: str, body: Optional[dict] = None) -> Any:
        until = time.monotonic() + 20
        while True:
            status, said = await asyncio.to_thread(self.real.ask, method, path, body)
            if status not in (0, 503) or time.monotonic() > until:
                break
            await asyncio.sleep(0.5)  # A busy machine; each of these may be sent twice.
        if status // 100 != 2:
            raise RuntimeError(f"{method} {path} was answered {status}")
        return said
