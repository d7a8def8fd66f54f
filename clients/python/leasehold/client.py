"""Seats for programs with threads, and the thread that keeps them.

One thread a client turns the clock of :mod:`leasehold.machine` for all of its seats; each request has a short-lived thread of
its own, so that one that hangs delays nobody. All of them are daemons: none keeps a program from ending.
"""

from __future__ import annotations

import atexit
import heapq
import http.client
import itertools
import logging
import os
import queue
import random
import secrets
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Union

from . import machine
from .errors import SeatError, SeatLost
from .machine import Now
from .transport import Call, Transport

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger("leasehold")
Key = Union[str, Callable[[bool], str], None]
Listener = Callable[["Seat", dict[str, Any]], None]

TICK_S = 1.0
MANY = 20
BATCH = 500
EXIT_S = 3.0
HAND_OVER_S = 10.0
MOST_IDLE_MS = 31 * 24 * 3_600_000
_boot = getattr(time, "CLOCK_BOOTTIME", None)  # Goes on while the machine sleeps, unlike the monotonic clock.


def now() -> Now:
    mono = time.clock_gettime(_boot) if _boot is not None else time.monotonic()
    return Now(int(mono * 1_000), int(time.time() * 1_000))


class AcquireOptions(TypedDict, total=False):
    """Who asks for a seat, and how. See :meth:`Client.acquire`."""

    holder: str | None
    tenant: str | None
    label: str | None
    platform: str | None
    activities: Iterable[str] | None
    wait: bool
    reacquire: bool
    request: bool
    max_grace: float | None
    on_event: Listener | None
    on_lost: Callable[[Seat, SeatLost], None] | None
    idle: Callable[[], float | None] | None


class Seat:
    """A seat, from the first request for it to its end. It is made by :meth:`Client.acquire`.

    As a context manager it is released at the end of the block; a block that has ended without noticing that the seat was lost
    raises :class:`SeatLost`.
    """

    def __init__(
        self, engine: Engine, options: machine.Options, listeners: Iterable[Listener] = (),
        idle: Callable[[], float | None] | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._idle = idle
        self._touched: int | None = None
        self._last_idle: int | None = None
        self._idle_fails = self._idle_said = False
        self._polled = 0
        self._polls = False
        self._machine = machine.begin(options)
        self._seed = secrets.token_urlsafe(16)
        self._timers: dict[str, int] = {}
        self._details: dict[str, Any] = {}
        self._lost: SeatLost | None = None
        self._fault = ""
        self._listeners = list(listeners)
        self._watchers: list[Callable[[], None]] = []
        self._keep: Callable[[Seat, str], None] | None = None
        self._outlives = False  # Its token is kept for the next start of the program.
        self.pool, self.holder, self.tenant = options.pool, options.holder, options.tenant

    def __repr__(self) -> str:
        return f"<Seat {self.id or '-'} of {self.pool}: {self.state}>"

    @property
    def state(self) -> str:
        """`idle`, `acquiring`, `waiting`, `held`, `unstable`, `grace`, `lost`, `denied` or `released`, as of now."""
        return machine.seen(self._machine, now())[0]

    @property
    def code(self) -> str | None:
        """Why it is not simply held."""
        return machine.seen(self._machine, now())[1]

    @property
    def sure(self) -> bool:
        """Whether nobody else can have the seat at this moment."""
        return machine.sure(self._machine, now())

    @property
    def lease(self) -> dict[str, Any]:
        """The lease as the server told it last; empty without one."""
        return dict(self._machine.lease or {})

    @property
    def id(self) -> str | None:
        """The id of the lease. Not a secret."""
        return self.lease.get("id")

    @property
    def fence(self) -> int | None:
        """Grows with every grant in the pool, for resources that refuse older holders."""
        return self.lease.get("fence")

    @property
    def proof(self) -> str | None:
        """The signed proof of the lease, in a pool that has proofs."""
        return self._machine.proof

    @property
    def token(self) -> str | None:
        """The secret of the lease, to be kept by a backend that goes on after a restart: see :meth:`Client.adopt`."""
        return self._machine.token

    def check(self) -> None:
        """Raises :class:`SeatLost` if work has to stop. In `grace` it may go on."""
        state, code = machine.seen(self._machine, now())
        if state not in ("held", "unstable", "grace"):
            raise self._loss() or SeatLost(code or state, self._details)

    def report(self, *, activities: Iterable[str] | None = None, label: str | None = None) -> None:
        """Tells operators what the holder works on, with the next heartbeat."""
        event: dict[str, Any] = {"event": "report"}
        if activities is not None:
            event["activities"] = [activities] if isinstance(activities, str) else list(activities)
        if label is not None:
            event["label"] = label
        self._engine.feed(self, event)

    def touch(self) -> None:
        """The user did something just now. From the first call on, heartbeats report how long nobody did.

        It may be called often. Without it, and without ``idle``, the seat counts as used.
        """
        self._touched = now().mono
        state = self._machine
        if state.flight or machine.away(state):
            self._engine.feed(self, {"event": "active"})

    def request(self) -> None:
        """While it waits: asks those who have a seat whether one of them gives theirs away."""
        self._engine.feed(self, {"event": "request"})

    def hand_over(self) -> bool:
        """Gives the seat to whoever asked for one first; whether it did. If nobody asks any more, the seat stays."""
        self._engine.feed(self, {"event": "yield"})
        self._engine.wait(lambda: not machine.yields(self._machine), HAND_OVER_S)
        return (self._machine.name, self._machine.code) == ("released", "handed_over")

    def listen(self, listener: Listener) -> None:
        """Calls ``listener(seat, event)`` on a thread of its own for every change from now on."""
        self._listeners.append(listener)

    def release(self) -> None:
        """Gives the seat back. It never raises, takes three seconds at most, and may be called at any time."""
        self._end("release")

    def close(self) -> None:
        """Goes away, as a page does: the seat is kept for the pool's `linger_ms`, for whoever goes on with its token."""
        self._end("close")

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Waits until work has to stop; whether that is so."""
        return self._engine.wait(lambda: self.state not in ("held", "unstable", "grace"), timeout)

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        lost = self._loss()
        self.release()
        if lost is not None and kind is None:
            raise lost

    def _asked_idle(self) -> int | None:
        """What the program's own function returns, in milliseconds."""
        self._idle_fails = False
        try:
            value = self._idle() if self._idle is not None else None
            return None if value is None else max(0, min(int(value * 1_000), MOST_IDLE_MS))
        except Exception:
            self._idle_fails = True
            if not self._idle_said:  # Heartbeats go on for days, and a traceback with each would fill a log.
                self._idle_said = True
                log.exception("the function for the idle time of a seat raised; its heartbeats go on, and the seat counts as used")
            return None

    def _idle_ms(self) -> int | None:
        """How long nobody has used the seat; None if that is not known."""
        self._last_idle = self._asked_idle()
        touched = None if self._touched is None else min(max(0, now().mono - self._touched), MOST_IDLE_MS)
        known = [value for value in (self._last_idle, touched) if value is not None]
        return min(known) if known and not self._idle_fails else None

    def _poll_idle(self) -> None:
        """Notices that the user is back, where only the program's function knows."""
        last, self._last_idle = self._last_idle, self._asked_idle()
        self._polls = False
        if last is not None and self._last_idle is not None and self._last_idle < last:
            self._engine.feed(self, {"event": "active"})

    def _loss(self) -> SeatLost | None:
        state, code = machine.seen(self._machine, now())
        return (self._lost or SeatLost(code or state)) if state == "lost" else None

    def _end(self, how: str) -> None:
        self._engine.feed(self, {"event": how})
        self._engine.wait(lambda: self not in self._engine.busy, EXIT_S)

    def _granted(self, timeout: float | None) -> Seat:
        """Waits for the seat. Whoever stops waiting has none."""
        try:
            self._engine.wait(self._decided, timeout)
        except BaseException:
            self._give_up()
            raise
        return self._decision()

    def _decided(self) -> bool:
        return self._machine.name not in ("acquiring", "waiting")

    def _decision(self) -> Seat:
        state = self._machine
        if state.lease is not None and state.name != "lost":
            return self
        code = state.code or ("timeout" if state.name in ("acquiring", "waiting") else state.name)
        details = {"detail": self._fault} if code == "unreachable" else self._details
        error = (SeatLost if state.name == "lost" else SeatError)(code, details)
        self._give_up()
        raise error

    def _give_up(self) -> None:
        self._engine.feed(self, {"event": "cancel"})
        if self._machine.lease is not None:  # The grant came first.
            self._engine.feed(self, {"event": "release"})


class Engine:
    """Carries out what the machines of all seats of a client ask for."""

    def __init__(self, transport: Transport, key: Key) -> None:
        self.transport, self.key = transport, key
        self.seats: weakref.WeakSet[Seat] = weakref.WeakSet()
        self._begin()
        _engines.add(self)

    def _begin(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.due: list[tuple[int, int, Any, str]] = []
        self.order = itertools.count()
        self.calls: dict[tuple[int, int], Call] = {}
        self.batch: list[tuple[Seat, dict[str, Any]]] | None = None
        self.exiting: deque[Callable[[], None]] | None = None
        self.thread: threading.Thread | None = None
        self.news: queue.SimpleQueue[Any] | None = None
        self.busy: set[Seat] = set()  # Holds on to the seats that nobody else may know any more.
        self.random = random.Random()

    def forked(self) -> None:
        """In the child: no lock, thread, connection or seat of the parent is used."""
        self.transport.forget()
        self._begin()
        for seat in list(self.seats):
            seat._machine, out = machine.step(seat._machine, {"event": "forked"}, now())
            seat._timers, seat._watchers = {}, []
            if "emit" in out:
                seat._lost = SeatLost("forked")

    def wait(self, until: Callable[[], bool], timeout: float | None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        with self.changed:
            while not until():
                rest = None if end is None else end - time.monotonic()
                if rest is not None and rest <= 0:
                    return until()
                self.changed.wait(TICK_S if rest is None else min(rest, TICK_S))
        return True

    def feed(self, seat: Seat, event: dict[str, Any]) -> None:
        """Takes one step of a seat, and carries out what follows."""
        with self.changed:
            self.seats.add(seat)
            before = seat._machine.token
            seat._machine, out = machine.step(seat._machine, event, now())
            self._carry_out(seat, out)
            token = seat._machine.token
            if seat._keep is not None and token is not None and token != before:
                self._later(seat._keep, seat, token)

    def _carry_out(self, seat: Seat, out: dict[str, Any]) -> None:
        if "abort" in out and (call := self.calls.pop((id(seat), out["abort"]), None)):
            call.abort()
        for timer, span in out.get("timers", {}).items():
            seat._timers.pop(timer, None)
            if span is not None:
                seat._timers[timer] = self._at(self.random.uniform(*span), seat, timer)
        for request in out.get("send", ()):
            if self.batch is not None and request["path"].endswith("/renew") and len(request["body"]) == 1:
                self.batch.append((seat, request))
            else:
                self._send([(seat, request)])
        for event in out.get("emit", ()):
            self._tell(seat, event)
        if "tell" in out:
            self._listeners(seat, {"state": seat._machine.name, **out["tell"]})
        if out.get("done"):
            self.busy.discard(seat)
        elif out:
            self.busy.add(seat)
        if "emit" in out or "done" in out:
            for watcher in list(seat._watchers):
                watcher()
        self.changed.notify_all()
        if self.thread is None and self.busy:
            self.thread = threading.Thread(target=self._run, name="leasehold", daemon=True)
            self.thread.start()

    def _tell(self, seat: Seat, event: dict[str, Any]) -> None:
        log.debug("seat of %s: %s %s", seat.pool, event["state"], event.get("code", ""))
        seat._details = {name: value for name, value in event.items() if name not in ("state", "code")}
        if event["state"] == "lost":
            seat._lost = SeatLost(event["code"], seat._details)
        elif event["state"] == "held":
            seat._lost = None
        self._listeners(seat, event)

    def _listeners(self, seat: Seat, event: dict[str, Any]) -> None:
        for listener in list(seat._listeners):
            self._later(listener, seat, dict(event))

    def _later(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls what the program gave us, on a thread of its own: it may raise, and take as long as it likes."""
        if self.news is None:
            self.news = queue.SimpleQueue()
            weakref.finalize(self, self.news.put, None)
            try:
                threading.Thread(target=_deliver, args=(self.news,), name="leasehold events", daemon=True).start()
            except RuntimeError:  # The interpreter is shutting down.
                pass
        self.news.put((function, arguments))

    def _at(self, ms: float, what: Any, kind: str) -> int:
        due = now().mono + int(ms)
        heapq.heappush(self.due, (due, next(self.order), what, kind))
        return due

    def _run(self) -> None:
        """The thread: fires what is due, and notices when time has jumped."""
        changed, last = self.changed, now()
        with changed:
            while self.changed is changed:
                if not self.busy:
                    self.thread = None
                    self.due.clear()
                    return
                rest = (self.due[0][0] - now().mono) / 1_000 if self.due else TICK_S
                changed.wait(min(TICK_S, max(0.0, rest)))
                try:
                    last = self._turn(last)
                except Exception:  # A thread that dies of a bug would let every seat run out.
                    log.exception("the engine of a Leasehold client met a bug, and goes on")

    def _turn(self, last: Now) -> Now:
        instant = now()
        jumped = abs((instant.wall - instant.mono) - (last.wall - last.mono)) > 1_000
        if jumped or instant.mono - last.mono > 1_000 * TICK_S + 2_000:
            for seat in list(self.busy):
                self.feed(seat, {"event": "wake"})
        for seat in self.busy:
            asks = seat._idle is not None and not seat._polls and instant.mono - seat._polled >= 1_000
            if asks and machine.away(seat._machine):
                seat._polled, seat._polls = instant.mono, True
                self._later(seat._poll_idle)
        held = [seat for seat in self.busy if seat._machine.lease]
        self.batch = [] if len(held) > MANY else None
        while self.due and self.due[0][0] <= instant.mono:
            due, _, what, timer = heapq.heappop(self.due)
            if not isinstance(what, Seat):
                what()
            elif what._timers.get(timer) == due:
                self._fire(what, timer)
        if self.batch:
            for seat in held:  # Those that are nearly due go along.
                early = int(seat._machine.lease["renew_after_ms"] * 0.15) if seat._machine.lease else 0
                if seat._timers.get("next", instant.mono + early + 1) <= instant.mono + early:
                    self._fire(seat, "next")
        batch, self.batch = self.batch or [], None
        for first in range(0, len(batch), BATCH):
            self._send(batch[first : first + BATCH])
        return instant

    def _fire(self, seat: Seat, timer: str) -> None:
        del seat._timers[timer]
        self.feed(seat, {"event": "timer", "timer": timer})

    def _send(self, group: list[tuple[Seat, dict[str, Any]]]) -> None:
        call = Call()
        seat, request = group[0]
        timeout = min(request["timeout_ms"] for _, request in group)
        if len(group) == 1:  # One seat of many that is released must not abort the heartbeats of all.
            self.calls[id(seat), request["id"]] = call

        def give_up() -> None:
            if not call.done:
                call.abort()
                self._heard(group, {"event": "failed"})

        def work() -> None:
            self._post(call, group, timeout / 1_000)

        self._at(timeout, give_up, "timeout")
        if self.exiting is not None:
            self.exiting.append(work)  # Threads cannot be started any more.
            return
        threading.Thread(target=work, name="leasehold request", daemon=True).start()

    def _post(self, call: Call, group: list[tuple[Seat, dict[str, Any]]], timeout: float) -> None:
        changed = self.changed
        seat, request = group[0]
        path, body, headers = request["path"], request["body"], {}
        for one, asked in group:
            if asked.get("idle") and (idle_ms := one._idle_ms()) is not None:
                asked["idle_ms"] = idle_ms
        if len(group) > 1:
            path = "/v1/leases/renew-many"
            leases = [{"token": asked["body"]["token"], **_reported(asked)} for _, asked in group]
            body = {"leases": leases} if any(len(lease) > 1 for lease in leases) else {"tokens": [lease["token"] for lease in leases]}
        else:
            body = {**body, **_reported(request)}
        try:
            if "acquisition" in request:
                headers["idempotency-key"] = f"{seat._seed}-{request['acquisition']}"
                key = self.key(request.get("refused", False)) if callable(self.key) else self.key
                if key:
                    headers["authorization"] = f"Bearer {key}"
            fresh = any(request.get("fresh") for _, request in group)
            status, said, body = self.transport.post(call, path, headers, body, timeout, fresh)
            event = {"event": "answer", "status": status, "headers": said, "body": body}
        except (OSError, http.client.HTTPException) as error:
            log.debug("%s got no answer: %s", path, error)
            for one, _ in group:
                one._fault = f"{self.transport.authority} did not answer: {error or type(error).__name__}"
            event = {"event": "failed"}
        except Exception:  # The program's own function for keys, for example.
            log.exception("%s was not sent", path)
            event = {"event": "failed"}
        with changed:
            if self.changed is changed:
                call.done = True
                self._heard(group, event)

    def _heard(self, group: list[tuple[Seat, dict[str, Any]]], event: dict[str, Any]) -> None:
        for seat, request in group:
            self.calls.pop((id(seat), request["id"]), None)
        events = [{**event, "id": request["id"]} for _, request in group]
        if len(group) > 1 and event["event"] == "answer":
            ids = [request["id"] for _, request in group]
            events = machine.spread(ids, event["status"], event["headers"], event["body"])
        for (seat, request), one in zip(group, events):
            self.feed(seat, {**one, **_reported(request)})

    def end(self, how: str, exiting: bool = False) -> None:
        """Ends all seats, with one limit of time for all of them. At the end of the program those stay whose tokens are kept."""
        with self.changed:
            seats = [seat for seat in self.busy if not (exiting and seat._outlives)]
            for seat in seats:
                self.feed(seat, {"event": how})
        until = time.monotonic() + EXIT_S
        while time.monotonic() < until and not self.busy.isdisjoint(seats):
            if self.exiting:
                self.exiting.popleft()()
            else:
                with self.changed:
                    self.changed.wait(0.05)


class Client:
    """Speaks to one server. One for a whole program is enough; it may be used by all threads.

    ``key`` is a client key, or a function that returns one. It is called with True after a key was refused.
    """

    def __init__(self, url: str, key: Key = None, *, tls: ssl.SSLContext | None = None) -> None:
        if isinstance(key, str) and not (key.isascii() and key.isprintable() and key.strip() == key and key):
            raise ValueError("a key is one line of plain letters")  # Without the key itself: this may be logged.
        self.url = url
        self._kind = "function" if callable(key) else "fixed" if key else "none"
        self._engine = Engine(Transport(url, tls), key)

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    def acquire(self, pool: str, *, timeout: float | None = -1, **options: Unpack[AcquireOptions]) -> Seat:
        """Takes a seat, or raises :class:`SeatError`.

        ``holder``, ``tenant``, ``label``, ``platform`` and ``activities`` say who asks. With ``wait=True`` it queues when all seats
        are in use. ``timeout``, in seconds, limits this call and never the seat's life: 30 by default, none when it queues.
        ``request=True`` asks those who have one for theirs while it waits, where the pool allows that.
        ``reacquire=True`` asks once more when the seat has expired, ``max_grace`` (seconds) stops sooner in an outage than the
        server allows; ``on_event(seat, event)`` and ``on_lost(seat, error)`` are called on a thread of their own. ``idle`` is a
        function that returns for how many seconds the user has done nothing, or None; it has to be quick. See :meth:`Seat.touch`.
        """
        seat = self._seat(pool, options)
        if timeout == -1:
            timeout = None if seat._machine.options.wait else 30.0
        self._engine.feed(seat, {"event": "acquire"})
        return seat._granted(timeout)

    def adopt(self, pool: str, token: str, *, timeout: float | None = 30.0, **options: Unpack[AcquireOptions]) -> Seat:
        """Goes on with a seat whose token was kept; if its lease has ended meanwhile, asks for another one."""
        seat = self._seat(pool, options)
        self._engine.feed(seat, {"event": "adopt", "token": token})
        return seat._granted(timeout)

    def close(self) -> None:
        """Releases all seats of this client, within three seconds."""
        self._engine.end("release")
        self._engine.transport.forget()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seat(self, pool: str, options: AcquireOptions) -> Seat:
        unknown = set(options) - set(AcquireOptions.__annotations__)
        if unknown:
            raise TypeError(f"acquire() got an unexpected option {sorted(unknown)[0]!r}")
        if not pool or not isinstance(pool, str):
            raise ValueError("a seat is of a pool, which has a name")
        activities, max_grace = options.get("activities"), options.get("max_grace")
        if isinstance(activities, str):
            raise ValueError("activities are a list of texts")
        wanted = machine.Options(
            pool,
            holder=options.get("holder"),
            tenant=options.get("tenant"),
            label=options.get("label"),
            platform=options.get("platform"),
            activities=None if activities is None else tuple(activities),
            wait=options.get("wait", False),
            reacquire=options.get("reacquire", False),
            request=options.get("request", False),
            max_grace_ms=None if max_grace is None else int(max_grace * 1_000),
            key=self._kind,
        )
        on_event, on_lost = options.get("on_event"), options.get("on_lost")
        listeners = [on_event] if on_event else []
        if on_lost is not None:
            told = on_lost
            listeners.append(lambda seat, event: told(seat, SeatLost(event["code"], event)) if event["state"] == "lost" else None)
        return Seat(self._engine, wanted, listeners, options.get("idle"))


def _reported(request: dict[str, Any]) -> dict[str, int]:
    return {"idle_ms": request["idle_ms"]} if "idle_ms" in request else {}


def _deliver(news: queue.SimpleQueue[Any]) -> None:
    while (one := news.get()) is not None:
        function, arguments = one
        try:
            function(*arguments)
        except Exception:
            log.exception("a listener of a seat raised; its heartbeats go on")


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_pid = os.getpid()


def _after_fork() -> None:
    global _pid
    _pid = os.getpid()
    for engine in list(_engines):
        engine.forked()


def _at_exit() -> None:
    for engine in list(_engines):
        engine.exiting = deque()
        engine.end("release", exiting=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
