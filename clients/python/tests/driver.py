"""The program that the scenarios of ../../spec/wire drive: lines of JSON in, lines of JSON out. See ../../spec/README.md."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import leasehold  # noqa: E402

try:
    from leasehold import verify
except ImportError:  # Needs `cryptography`.
    verify = None

writing = threading.Lock()
PREFIX = "SECRET-"
FAULT = "a function of the program"  # Not where it is raised: a traceback shows that line, too.
OPTIONS = ("holder", "tenant", "label", "wait", "reacquire", "request", "activities")
idle = {}  # What the program says of each seat: milliseconds, or "raise".


def say(**line):
    text = json.dumps({name: value for name, value in line.items() if value is not None}) + "\n"
    with writing:
        os.write(1, text.encode())


def options(line):
    more = {name: line[name] for name in OPTIONS if name in line}
    if "max_grace_ms" in line:
        more["max_grace"] = line["max_grace_ms"] / 1_000
    if "timeout_ms" in line:
        more["timeout"] = line["timeout_ms"] / 1_000
    name, kind = line.get("as", "s"), line.get("listener")
    known = {}

    def told(seat, event):
        event = dict(event)
        known["seat"] = seat
        say(seat=name, event=event.pop("state"), id=seat.id, **{k: v for k, v in event.items() if k != "id"})
        if kind == "raise":
            raise RuntimeError("a listener of the program")
        if kind == "block":
            time.sleep(10)

    def asked():
        if idle[name] == "raise":
            raise RuntimeError(FAULT)
        return idle[name] / 1_000

    more["on_event"] = told
    if "idle" in line:
        idle[name] = line["idle"]
        more["idle"] = asked
    return more


def key_of(line):
    keys = line["keys"]
    return keys[0] if len(keys) == 1 else lambda refused: keys[1 if refused else 0]


def error_line(name, error):
    say(seat=name, error=error.code, detail=error.detail, temporary=error.is_temporary)


def check(name, seat):
    try:
        seat.check()
        said = "ok"
    except leasehold.SeatError as error:
        said = error.code
    say(seat=name, check=said, state=seat.state, sure=seat.sure)


class Sync:
    can = ["sync", "fork", "gateway", "exit", *(["verify"] if verify else [])]

    def __init__(self):
        self.seats, self.verifier = {}, None

    def start(self, line):
        self.url, self.client = line["url"], leasehold.Client(line["url"], key_of(line))

    def verify(self, line):
        def once():
            try:
                return bool(self.verifier.verify(line["proof"], at=line["at"]))
            except verify.InvalidProof:
                return False

        self.verifier = self.verifier or verify.Verifier(line["issuer"], line["audience"], url=self.url)
        work = lambda: say(seat="s", verified=sum(once() for _ in range(line["times"])))  # noqa: E731
        threading.Thread(target=work, daemon=True).start()

    def gateway(self, line):
        self.tokens = dict(line["tokens"])
        self.gateway = leasehold.Gateway(self.client, line["pool"], tokens=self.tokens)
        self.restore(line)

    def restore(self, line):
        def work():
            restored = self.gateway.restore(timeout=line.get("timeout_ms", 30_000) / 1_000)
            say(seat="s", restored=restored, kept=self._kept())

        threading.Thread(target=work, daemon=True).start()

    def login(self, line):
        def work():
            seat = self.gateway.login(line["session"], holder=line["holder"], reacquire=line.get("reacquire", False))
            say(seat="s", login=line["session"], id=seat.id)

        threading.Thread(target=work, daemon=True).start()

    def kept(self, line):
        say(seat="s", kept=self._kept())

    def _kept(self):
        return {session: token.removeprefix(PREFIX) for session, token in self.tokens.items()}

    def acquire(self, line):
        name = line.get("as", "s")

        def work():
            try:
                if line["do"] == "adopt":
                    seat = self.client.adopt(line["pool"], line["token"], **options(line))
                else:
                    seat = self.client.acquire(line["pool"], **options(line))
                self.seats[name] = seat
                say(seat=name, result="held", id=seat.id, fence=seat.fence, sure=seat.sure)
            except leasehold.SeatError as error:
                error_line(name, error)

        threading.Thread(target=work, daemon=True).start()

    adopt = acquire

    def hold(self, line):
        name = line.get("as", "s")

        def work():
            try:
                with self.client.acquire(line["pool"], **options(line)) as seat:
                    self.seats[name] = seat
                    say(seat=name, body="runs")
                    while True:
                        seat.check()
                        time.sleep(0.02)
            except leasehold.SeatLost as error:
                say(seat=name, body="lost", code=error.code, reason=error.reason)

        threading.Thread(target=work, daemon=True).start()

    def many(self, line):
        self.touches = line.get("touch", False)

        def work():
            threads = []
            for number in range(1, line["count"] + 1):
                name = f"s{number}"
                threads.append(threading.Thread(target=self._quietly, args=(name, line["pool"])))
                threads[-1].start()
            for thread in threads:
                thread.join()
            say(seat="", result="held", count=len(self.seats))

        threading.Thread(target=work, daemon=True).start()

    def _quietly(self, name, pool):
        lost = lambda seat, error: say(seat=name, event="lost", code=error.code)  # noqa: E731
        self.seats[name] = self.client.acquire(pool, holder=name, on_lost=lost)
        if self.touches:
            self.seats[name].touch()

    def release(self, line):
        self._end(line, "release")

    def close(self, line):
        self._end(line, "close")

    def _end(self, line, how):
        name = line.get("as", "s")

        def work():
            began = time.monotonic()
            getattr(self.seats[name], how)()
            say(seat=name, done=how, ms=int((time.monotonic() - began) * 1_000))

        threading.Thread(target=work, daemon=True).start()

    def check(self, line):
        check(line.get("as", "s"), self.seats[line.get("as", "s")])

    def report(self, line):
        self.seats[line.get("as", "s")].report(activities=line["activities"])

    def hand_over(self, line):
        name = line.get("as", "s")
        threading.Thread(target=lambda: say(seat=name, handed_over=self.seats[name].hand_over()), daemon=True).start()

    def touch(self, line):
        if "session" in line:
            self.gateway.touch(line["session"])
        else:
            self.seats[line.get("as", "s")].touch()

    def idle(self, line):
        idle[line.get("as", "s")] = line["ms"]

    def fork(self, line):
        if os.fork() == 0:
            name = line.get("as", "s")
            check(name, self.seats[name])
            self.seats[name].release()
            time.sleep(1.5)
            say(seat=name, done="child")
            os._exit(0)

    def run(self):
        say(ready="python", spec=2, can=self.can)
        for text in sys.stdin:
            line = json.loads(text)
            if line["do"] == "quit":
                return
            if line["do"] == "raise":
                raise RuntimeError("an error of the program")
            getattr(self, line["do"])(line)


class Async:
    can = ["asyncio", "cancel"]

    def __init__(self):
        self.seats, self.tasks = {}, {}

    def start(self, line):
        self.client = leasehold.AsyncClient(line["url"], key_of(line))

    async def acquire(self, line):
        name = line.get("as", "s")
        try:
            if line["do"] == "adopt":
                seat = await self.client.adopt(line["pool"], line["token"], **options(line))
            else:
                seat = await self.client.acquire(line["pool"], **options(line))
            self.seats[name] = seat
            say(seat=name, result="held", id=seat.id, fence=seat.fence, sure=seat.sure)
        except leasehold.SeatError as error:
            error_line(name, error)
        except asyncio.CancelledError:
            say(seat=name, error="cancelled")
            raise

    adopt = acquire

    async def hold(self, line):
        name = line.get("as", "s")
        try:
            async with self.client.acquire(line["pool"], **options(line)) as seat:
                self.seats[name] = seat
                say(seat=name, body="runs")
                await asyncio.sleep(60)
        except leasehold.SeatLost as error:
            say(seat=name, body="lost", code=error.code, reason=error.reason)
        except asyncio.CancelledError:
            say(seat=name, body="cancelled")
            raise

    async def many(self, line):
        async def one(name):
            lost = lambda seat, error: say(seat=name, event="lost", code=error.code)  # noqa: E731
            self.seats[name] = await self.client.acquire(line["pool"], holder=name, on_lost=lost)
            if line.get("touch"):
                self.seats[name].touch()

        await asyncio.gather(*(one(f"s{number}") for number in range(1, line["count"] + 1)))
        say(seat="", result="held", count=len(self.seats))

    def cancel(self, line):
        self.tasks[line.get("as", "s")].cancel()

    async def release(self, line):
        await self._end(line, "release")

    async def close(self, line):
        await self._end(line, "close")

    async def _end(self, line, how):
        name, began = line.get("as", "s"), time.monotonic()
        await getattr(self.seats[name], how)()
        say(seat=name, done=how, ms=int((time.monotonic() - began) * 1_000))

    def check(self, line):
        check(line.get("as", "s"), self.seats[line.get("as", "s")])

    def report(self, line):
        self.seats[line.get("as", "s")].report(activities=line["activities"])

    async def hand_over(self, line):
        name = line.get("as", "s")
        say(seat=name, handed_over=await self.seats[name].hand_over())

    def touch(self, line):
        self.seats[line.get("as", "s")].touch()

    def idle(self, line):
        idle[line.get("as", "s")] = line["ms"]

    async def run(self):
        say(ready="python", spec=2, can=self.can)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while text := await reader.readline():
            line = json.loads(text)
            if line["do"] == "quit":
                return
            if line["do"] == "raise":
                raise RuntimeError("an error of the program")
            done = getattr(self, line["do"])(line)
            if asyncio.iscoroutine(done):
                task = asyncio.ensure_future(done)
                self.tasks.setdefault(line.get("as", "s"), task)
                if line["do"] in ("acquire", "hold"):
                    self.tasks[line.get("as", "s")] = task


def main():
    # As programs do that want to end well: without it, SIGTERM ends Python at once.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "--asyncio" in sys.argv:
        asyncio.run(Async().run())
    else:
        Sync().run()


main()
