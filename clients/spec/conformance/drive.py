"""Drives one client through one scenario: a child process that speaks lines of JSON."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any, Optional

from .load import CLIENTS
from .server import PREFIX, Scripted

SLACK_MS = 4_000  # For a machine that does other things, too.


class Failed(Exception):
    """The client does not do what the scenario says."""


class Driver:
    """The child, and the lines that it has written."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: dict[str, list[dict]] = {}
        self.results: dict[str, list[dict]] = {}
        self.text: list[bytes] = []
        self.changed = asyncio.Event()
        self.readers = [asyncio.create_task(self._lines()), asyncio.create_task(self._errors())]

    @classmethod
    async def start(cls, command: list[str], client: str) -> "Driver":
        return cls(
            await asyncio.create_subprocess_exec(
                *command, cwd=CLIENTS / client, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, limit=1 << 20,
            )  # fmt: skip
        )

    async def _lines(self) -> None:
        while line := await self.process.stdout.readline():
            self.text.append(line)
            try:
                said = json.loads(line)
                streams = self.events if "event" in said else self.results
                streams.setdefault(said.get("seat", ""), []).append(said)
            except (ValueError, AttributeError):
                self.results.setdefault("", []).append({"garbage": line.decode(errors="replace")})
            self.changed.set()
        self.changed.set()

    async def _errors(self) -> None:
        while line := await self.process.stderr.readline():
            self.text.append(line)

    async def say(self, line: dict) -> None:
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        await self.process.stdin.drain()

    async def see(self, wanted: dict, within_ms: int, skip: list) -> None:
        """The next line for that seat is this one, or else one of those that may be skipped."""
        seat = wanted.get("seat", "")
        stream = (self.events if "event" in wanted else self.results).setdefault(seat, [])
        until = time.monotonic() + (within_ms + SLACK_MS) / 1_000
        while True:
            while stream:
                line = stream.pop(0)
                if _fits(line, wanted):
                    return
                if not any(_fits(line, {"event": one} if isinstance(one, str) else one) for one in skip):
                    raise Failed(f"expected {json.dumps(wanted)}, saw {json.dumps(line)}")
            self.changed.clear()
            rest = until - time.monotonic()
            if rest <= 0 or (self.process.returncode is not None and self.readers[0].done()):
                raise Failed(f"never saw {json.dumps(wanted)}; {self._heard()}")
            try:
                await asyncio.wait_for(self.changed.wait(), min(rest, 0.5))
            except asyncio.TimeoutError:
                pass

    def _heard(self) -> str:
        return "it said: " + b"".join(self.text[-12:]).decode(errors="replace")[-1_500:]

    async def end(self) -> None:
        if self.process.returncode is None:
            try:
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            except ProcessLookupError:
                pass
        await self.process.wait()
        await asyncio.gather(*self.readers)


def _proof(name: str) -> dict:
    """What a driver has to know of one vector of proof/."""
    vectors = json.loads((CLIENTS / "spec" / "proof" / "proofs.json").read_text())["vectors"]
    found = next(vector for vector in vectors if vector["name"] == name)
    return {member: found[member] for member in ("proof", "at", "issuer", "audience")}


def _fits(line: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(line, dict) and all(_fits(line.get(name), value) for name, value in wanted.items())
    return line == wanted


async def run(scenario: dict, command: list[str], client: str, document: Optional[dict], real: Optional[Any]) -> Optional[str]:
    """None, or why it failed, or `needs …` for what this client cannot have."""
    server: Any = real.pool(scenario) if real else Scripted(scenario, document)
    try:
        await server.up()
    except RuntimeError as error:
        return f"the pool for it cannot be made: {error}"
    driver = await Driver.start(command, client)
    try:
        ready = await asyncio.wait_for(_ready(driver), 30)
        lacks = sorted(set(scenario.get("needs", [])) - set(ready["can"]))
        if lacks:
            return f"needs {', '.join(lacks)}"
        keys = [server.key] if real else [PREFIX + key for key in scenario.get("keys", ["key"])]
        await driver.say({"do": "start", "url": server.url if real else f"http://127.0.0.1:{server.port}", "keys": keys})
        for number, step in enumerate(scenario["drive"], 1):
            if step.get("only", "real" if real else "script") == ("real" if real else "script"):
                try:
                    await _step(step, driver, server, bool(real))
                except Failed as error:
                    raise Failed(f"step {number}: {error}") from None
        await driver.end()
        _rest(scenario, driver, server, keys, bool(real))
        return None
    except (Failed, RuntimeError, asyncio.TimeoutError) as error:
        more = f"; the server: {'; '.join(server.wrong)}" if server.wrong else ""
        return (str(error) or "it is never ready") + more
    finally:
        await driver.end()
        await server.down()


async def _ready(driver: Driver) -> dict:
    while not driver.results.get("", []):
        driver.changed.clear()
        await driver.changed.wait()
        if driver.process.returncode is not None and not driver.results.get("", []):
            raise Failed(f"it did not start; {driver._heard()}")
    ready = driver.results[""].pop(0)
    if ready.get("spec") != 2 or "can" not in ready:
        raise Failed(f"its first line is {json.dumps(ready)}; {driver._heard()}")
    return ready


async def _step(step: dict, driver: Driver, server: Any, real: bool) -> None:
    if "do" in step:
        line = {name: value for name, value in step.items() if name != "only"}
        if "vector" in line:
            line.update(_proof(line.pop("vector")))
        if real and "pool" in line:
            line["pool"] = server.name(line["pool"])
        if real and "token" in line:  # That of a holder for whom the operator has acquired.
            line["token"] = server.tokens.get(line["token"], line["token"])
        await driver.say(line)
    elif "see" in step:
        await driver.see(step["see"], step.get("within_ms", 2_000), step.get("skip", []))
    elif "sleep" in step:
        await asyncio.sleep(step["sleep"] / 1_000)
    elif "signal" in step:
        driver.process.send_signal(getattr(signal, "SIG" + step["signal"]))
    elif "server" in step:
        await (server.up() if step["server"] == "up" else server.down())
    elif "operator" in step:
        await server.operate(step)
    elif "asked" in step:
        await _asked(step, server)
    elif "exits" in step:
        began = time.monotonic()
        try:
            code = await asyncio.wait_for(driver.process.wait(), (step["exits"] + SLACK_MS) / 1_000)
        except asyncio.TimeoutError:
            raise Failed(f"it did not end within {step['exits']} ms") from None
        if (time.monotonic() - began) * 1_000 > step["exits"] + 1_500:
            raise Failed(f"it ended after {(time.monotonic() - began) * 1_000:.0f} ms, not {step['exits']}")
        if "code" in step and code != step["code"]:
            raise Failed(f"it ended with {code}; {driver._heard()}")


async def _asked(step: dict, server: Scripted) -> None:
    """Waits until the server was asked this often, by kind; `script` is for the whole script."""
    until = time.monotonic() + (step.get("within_ms", 3_000) + SLACK_MS) / 1_000
    while True:
        done = server.at >= len(server.script) if step["asked"] == "script" else _enough(server.counts, step["asked"])
        if done:
            return
        rest = until - time.monotonic()
        if rest <= 0:
            raise Failed(f"was asked only {server.counts}, {server.at} of the script")
        server.moved.clear()
        try:
            await asyncio.wait_for(server.moved.wait(), rest)
        except asyncio.TimeoutError:
            pass


def _enough(counts: dict, wanted: dict) -> bool:
    return all(counts.get(kind, 0) >= number for kind, number in wanted.items())


def _rest(scenario: dict, driver: Driver, server: Any, keys: list, real: bool) -> None:
    """What was said, asked or shown beyond the scenario."""
    ignored = scenario.get("ignore", [])
    for stream in (*driver.events.values(), *driver.results.values()):
        for line in stream:
            if not any(_fits(line, {"event": one} if isinstance(one, str) else one) for one in ignored):
                raise Failed(f"said without being asked: {json.dumps(line)}")
    text = b"".join(driver.text)
    secrets = [PREFIX, *keys, *(server.tokens.values() if real else ())]
    if any(secret.encode() in text for secret in secrets):
        raise Failed(f"a secret is shown: {driver._heard()}")
    for words, times in scenario.get("shown", {}).items():
        if (seen := text.count(words.encode())) != times:
            raise Failed(f"{words!r} is shown {seen} times, not {times}; {driver._heard()}")
    if server.wrong:
        raise Failed("; ".join(server.wrong))
    if not real and server.unread():
        raise Failed("; ".join(server.unread()))


