"""The rules of one seat, as a pure function: ``step(state, event, now) -> (state, output)``.

Nothing here reads a clock, draws a random number or opens a socket, so that the vectors in ``clients/spec/machine`` can turn
time by hand. What the words mean is written down once for all clients, in ``clients/spec/README.md``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

ENDS = frozenset(("lease_expired", "lease_released", "lease_terminated", "lease_evicted", "invalid_token", "pool_not_found"))
CLOSED = frozenset(("maintenance", "recovering"))
FULL = frozenset(("pool_full", "tenant_full", "queue_full"))
GRACE_OVER = "outage_grace_over"

REQUEST_MS = 8_000
LONG_POLL_MS = 20_000
END_MS = 3_000
MOST_MS = 31 * 24 * 3_600_000  # What a heartbeat may report as a length of time.
TEXTS = ("title", "detail", "reason", "blocked_until", "request_id")
NUMBERS = ("retry_after_ms", "in_use", "capacity", "position", "eta_ms")
TOLD = ("notice",)
UNUSED = ("idle", "max_hold")  # Why a seat was taken from somebody who may have another one.
AWAY_MS = 60_000


class Now(NamedTuple):
    """Two clocks, in milliseconds. Either may stand still or jump; what counts is the one that went further."""

    mono: int
    wall: int


@dataclass(frozen=True)
class Options:
    """What a seat is asked with."""

    pool: str
    holder: str | None = None
    tenant: str | None = None
    label: str | None = None
    platform: str | None = None
    activities: tuple[str, ...] | None = None
    wait: bool = False
    reacquire: bool = False
    request: bool = False
    max_grace_ms: int | None = None
    key: str = "none"  # or `fixed`, or `function`: one that can be asked for another key.


@dataclass
class Flight:
    """The request that is under way."""

    id: int
    kind: str
    at: Now
    news: bool = False
    idle: bool = False


@dataclass
class Ending:
    """A lease or a place that is being given back."""

    path: str
    body: dict[str, Any]
    tries: int
    at: Now
    left: int = 0


@dataclass
class State:
    """Everything that is known of one seat. Not to be shown: it holds the token."""

    options: Options = field(repr=False)
    name: str = "idle"
    code: str | None = None
    position: int | None = None
    lease: dict[str, Any] | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    proof: str | None = field(default=None, repr=False)
    ticket: str | None = field(default=None, repr=False)
    sent: Now = Now(0, 0)
    acquisition: int = 0
    requests: int = 0
    flight: Flight | None = None
    strays: dict[int, str] = field(default_factory=dict)
    ending: Ending | None = field(default=None, repr=False)
    misses: int = 0
    fresh: bool = False
    refused: bool = False
    heard: bool = False
    again: bool = False
    dormant: bool = False
    idle_ms: int | None = None
    ends: dict[str, Any] | None = None
    asked: float | None = None
    wishes: bool = False
    can_request: bool = False
    requested: bool = False
    returned: bool = False
    plain: bool = False
    news: bool = False
    label: str | None = None
    activities: tuple[str, ...] | None = None
    running: frozenset[str] = frozenset()


def begin(options: Options) -> State:
    """A seat that nobody has asked for."""
    return State(options, wishes=options.request, label=options.label, activities=options.activities)


def since(then: Now, now: Now) -> int:
    """How long ago it was, by the clock that says more."""
    return max(now.mono - then.mono, now.wall - then.wall)


def left(state: State, now: Now) -> int:
    """How much longer the lease surely lives, counted from when its last good request left."""
    return int(state.lease["expires_in_ms"]) - since(state.sent, now) if state.lease else 0


def grace(state: State) -> int | None:
    """How long work may go on after that; None is without limit."""
    told = state.lease.get("outage_grace_ms") if state.lease else None
    limits = [int(limit) for limit in (told, state.options.max_grace_ms) if limit is not None and _is_length(limit)]
    return min(limits) if limits else None


def seen(state: State, now: Now) -> tuple[str, str | None]:
    """Name and code of the state as the clock has it, also where no timer has fired yet."""
    rest, limit = left(state, now), grace(state)
    if state.name not in ("held", "unstable", "grace") or rest > 0:
        return state.name, state.code
    if limit is not None and rest + limit <= 0:
        return "lost", GRACE_OVER
    return "grace", state.code


def sure(state: State, now: Now) -> bool:
    """Whether nobody else can have the seat."""
    return seen(state, now)[0] in ("held", "unstable")


def away(state: State) -> bool:
    """Whether the next activity of the user makes a difference: to a seat that may end as idle, or to one that has ended so."""
    lease = state.lease or {}
    if not lease or state.dormant:
        return state.dormant
    if state.ends and state.ends.get("reason") == "idle":
        return True
    return _is_text(lease.get("active_at")) and (state.idle_ms or 0) >= min(int(lease["renew_after_ms"]), AWAY_MS)


def yields(state: State) -> bool:
    """Whether the answer to a yield is awaited."""
    return bool(state.flight and state.flight.kind == "yield")


def step(state: State, event: dict[str, Any], now: Now) -> tuple[State, dict[str, Any]]:
    """What follows from an event. The output has only what is to be done; see the specification."""
    draft = copy.copy(state)
    draft.strays = dict(state.strays)
    draft.flight, draft.ending = copy.copy(state.flight), copy.copy(state.ending)
    out: dict[str, Any] = {}
    _Step(draft, now, out).take(event)
    if _is_busy(state) and not _is_busy(draft):
        out["done"] = True
    return draft, out


def _is_busy(state: State) -> bool:
    return bool(state.flight or state.strays or state.running or state.ending or state.dormant)


def spread(ids: list[int], status: int, headers: dict[str, Any], body: Any) -> list[dict[str, Any]]:
    """Makes of the answer to a `renew-many` one event for each beat in it. A malformed one ends nobody."""
    results = body.get("results") if status == 200 and isinstance(body, dict) else None
    if not isinstance(results, list) or len(results) != len(ids):
        # Words that end a lease stand in a result, and nowhere else.
        foreign = status == 200 or (isinstance(body, dict) and body.get("code") in ENDS)
        answer = {"event": "answer", "status": status, "headers": headers, "body": None if foreign else body}
        return [{**answer, "id": id} for id in ids]
    return [{"event": "result", "id": id, "result": result} for id, result in zip(ids, results)]


def _is_length(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_lease(lease: Any) -> bool:
    return (
        isinstance(lease, dict)
        and _is_text(lease.get("id"))
        and _is_length(lease.get("expires_in_ms"))
        and _is_length(lease.get("renew_after_ms"))
    )


def _problem_code(status: int, headers: dict[str, Any], body: Any) -> str | None:
    """The code of a problem document of Leasehold. The error page of a proxy has none."""
    media = headers.get("content-type", "").split(";")[0].strip().lower()
    if status < 400 or media != "application/problem+json" or not isinstance(body, dict):
        return None
    return body["code"] if _is_text(body.get("code")) else None


def _is_settled(status: int) -> bool:
    return bool(status) and status < 500 and status not in (408, 429)


def _retry_after(headers: dict[str, Any], body: Any, ours: bool) -> int:
    if ours and isinstance(body, dict) and _is_length(body.get("retry_after_ms")):
        return int(body["retry_after_ms"])
    seconds = headers.get("retry-after", "").strip()
    return int(seconds) * 1_000 if seconds.isdecimal() and len(seconds) < 10 else 0


def _details(status: int, body: Any, ours: bool) -> dict[str, Any]:
    """What an event tells of an answer. Never a token or a ticket."""
    if not ours or not isinstance(body, dict):
        return {"status": status} if status else {}
    details = {name: body[name] for name in TEXTS if _is_text(body.get(name))}
    details.update({name: body[name] for name in NUMBERS if _is_length(body.get(name))})
    return {"status": status, **details} if status >= 400 else details


class _Step:
    """One step, with the state that it works on and the output that it collects."""

    def __init__(self, state: State, now: Now, out: dict[str, Any]) -> None:
        self.state, self.now, self.out = state, now, out

    def take(self, event: dict[str, Any]) -> None:
        s = self.state
        kind = event["event"]
        if kind == "timer":
            s.running -= {event["timer"]}
        if kind != "forked":
            self.look()
        if kind in ("answer", "result", "failed"):
            self.hear(event)
        else:
            getattr(self, f"on_{kind}")(event)

    # Events of the program and of the shell.

    def on_acquire(self, _: dict[str, Any]) -> None:
        s = self.state
        if s.name in ("acquiring", "waiting") or s.lease:
            return
        self.stop("next")
        s.misses, s.fresh, s.again, s.dormant, s.plain = 0, False, False, False, False
        s.acquisition += 1
        self.to("acquiring")
        if s.ending:
            s.again = True  # The seat that is being given back may be the one that it gets.
            if not s.flight:
                self.give_back(s.ending)
        else:
            self.ask()

    def on_adopt(self, event: dict[str, Any]) -> None:
        s = self.state
        if s.name == "idle":
            s.token = event["token"]
            self.to("acquiring")
            self.beat()

    def on_timer(self, event: dict[str, Any]) -> None:
        s = self.state
        if event["timer"] == "deadline":
            if s.name in ("held", "unstable", "grace") and "deadline" not in s.running:
                self.watch()
        elif s.flight:
            pass
        elif s.ending:
            self.give_back(s.ending)
        elif s.lease or (s.token and s.name == "acquiring"):
            self.beat()
        elif s.name in ("acquiring", "waiting"):
            self.ask()
        elif s.name == "lost" and s.again:
            self.on_acquire({})

    def on_wake(self, _: dict[str, Any]) -> None:
        s = self.state
        if s.ending or not (s.lease or s.name in ("acquiring", "waiting")):
            return
        if s.flight:
            if since(s.flight.at, self.now) <= 3_000:
                return
            self.abort(s.flight)  # The network that it hangs on may be gone.
        elif s.lease and since(s.sent, self.now) <= 1_000:
            return
        self.stop("next")
        self.beat() if s.token else self.ask()

    def on_report(self, event: dict[str, Any]) -> None:
        s = self.state
        s.activities = tuple(event["activities"]) if "activities" in event else s.activities
        s.label = event.get("label", s.label)
        s.news = True
        if s.lease and not s.flight:
            self.wait(500, 500)

    def on_active(self, _: dict[str, Any]) -> None:
        """The user is there, or back."""
        s = self.state
        if s.dormant:
            self.on_acquire({})
        elif s.flight:
            s.returned = s.flight.idle
        elif s.name == "held" and away(s):  # In an outage the tries have their own times.
            self.beat()

    def on_request(self, _: dict[str, Any]) -> None:
        """Whoever waits would like the seat of somebody else."""
        if self.state.name in ("acquiring", "waiting"):
            self.state.wishes = True
            self.request()

    def on_yield(self, _: dict[str, Any]) -> None:
        """The seat goes to whoever asked for one."""
        s = self.state
        if not s.lease or s.ending or (s.flight and s.flight.kind == "yield"):
            return
        if s.flight:
            self.abort(s.flight)
        rest = left(s, self.now)
        timeout = max(250, min(REQUEST_MS, rest // 2)) if rest > 0 else REQUEST_MS
        self.send("/v1/leases/yield", {"token": s.token}, timeout, kind="yield", fresh=s.fresh)

    def on_release(self, _: dict[str, Any]) -> None:
        self.end("/v1/leases/release", "lease_released", 3)

    def on_close(self, _: dict[str, Any]) -> None:
        self.end("/v1/leases/leave", "closed", 1)

    def on_cancel(self, _: dict[str, Any]) -> None:
        if self.state.name in ("acquiring", "waiting"):
            self.end("/v1/leases/release", "cancelled", 3)

    def on_forked(self, _: dict[str, Any]) -> None:
        s = self.state
        # The sockets, the timers and the seat are the parent's.
        s.flight = s.ending = None
        s.strays, s.running, s.again, s.dormant = {}, frozenset(), False, False
        if s.name in ("acquiring", "waiting", "held", "unstable", "grace") or s.lease:
            self.finish("lost", "forked")

    # Answers.

    def hear(self, event: dict[str, Any]) -> None:
        s = self.state
        flight = s.flight
        if event["id"] in s.strays:
            kind = s.strays.pop(event["id"])
            body = event.get("body")
            body = body if isinstance(body, dict) else {}
            if kind == "request":
                s.requested = _is_settled(event.get("status", 0))
                return
            if kind != "end" and _is_text(body.get("token")):
                self.send("/v1/leases/release", {"token": body["token"]}, END_MS, stray="end")
            elif kind == "ask" and _is_text(body.get("ticket")):
                self.leave_queue(body["ticket"])
            return
        if not flight or flight.id != event["id"]:
            return  # It came too late, and a later one has been heard.
        s.flight = None
        s.idle_ms = event.get("idle_ms")
        if event["event"] == "result":
            return self.beat_result(flight, event["result"])
        status = event.get("status", 0)
        headers, body = event.get("headers", {}), event.get("body")
        code = _problem_code(status, headers, body)
        heard = {"end": self.end_heard, "renew": self.beat_heard, "yield": self.yield_heard, "ask": self.ask_heard}[flight.kind]
        heard(flight, status, headers, body, code)

    def ask_heard(self, flight: Flight, status: int, headers: dict[str, Any], body: Any, code: str | None) -> None:
        s = self.state
        is_object = isinstance(body, dict)
        granted = is_object and status in (200, 201) and _is_lease(body.get("lease")) and _is_text(body.get("token"))
        queued = is_object and status == 202 and _is_text(body.get("ticket"))
        ours = bool(granted or queued or code)
        wait = _retry_after(headers, body, ours)
        details = _details(status, body, ours)
        refused, s.refused = s.refused, False
        s.heard = s.heard or ours
        if granted:
            return self.hold(flight, body, body["lease"])
        if queued:
            s.requested = s.requested and body["ticket"] == s.ticket
            s.ticket, s.misses, s.can_request = body["ticket"], 0, body.get("can_request") is True
            self.to("waiting", None, details)
            rest = max(0, (wait or 2_000) - since(flight.at, self.now))
            self.wait(rest // 2, rest - rest // 10) if rest else self.wait(0, 100)
            return self.request()
        if code == "ticket_expired" and s.ticket:
            s.ticket = None
            s.acquisition += 1
            self.to("acquiring", code, details)
            return self.wait(0, 100)
        if code in CLOSED or (s.options.wait and code in FULL):
            s.misses = 0
            self.to("waiting", code, details)
            least = min(max(wait, 500), 60_000 if code in CLOSED else 5_000)
            return self.wait(least, least + least // 10)
        if code == "unauthorized" and s.options.key == "function" and not refused:
            s.refused = True
            return self.ask()
        if code == "invalid_request" and s.idle_ms is not None:
            s.plain = True  # An older server knows nothing of it.
            return self.ask()
        temporary = status in (0, 408, 429) or status >= 500
        if code and not temporary and code != "ticket_expired":
            return self.finish("denied", code, details)
        if not ours and not s.heard and not temporary:
            return self.finish("denied", "not_leasehold", details)
        if code == "draining" and not s.misses:
            return self.at_once()
        if s.name == "acquiring":
            self.to("acquiring", code or ("not_leasehold" if status else "unreachable"), details)
        self.retry(wait, not status)

    def beat_heard(self, flight: Flight, status: int, headers: dict[str, Any], body: Any, code: str | None) -> None:
        s = self.state
        lease: Any = body.get("lease") if status == 200 and isinstance(body, dict) else None
        if _is_lease(lease) and (s.lease is None or lease["id"] == s.lease["id"]):
            return self.hold(flight, body, lease)
        if code in ENDS:
            return self.lose(code, _details(status, body, True))
        s.news = s.news or (flight.news and code != "invalid_request")
        if code == "draining" and not s.misses:
            return self.at_once()
        if code == "invalid_request" and s.idle_ms is not None and s.lease:
            s.lease = {name: value for name, value in s.lease.items() if name != "active_at"}
            s.news = s.news or flight.news
            return self.wait(0, 100)
        said = code or ("not_leasehold" if status else "unreachable")
        self.miss(said, _details(status, body, bool(code)), _retry_after(headers, body, bool(code)), not status)

    def beat_result(self, flight: Flight, result: Any) -> None:
        s = self.state
        result = result if isinstance(result, dict) else {}
        status, code = result.get("status"), result.get("code")
        if result.get("id", s.lease and s.lease["id"]) != (s.lease and s.lease["id"]):
            status = None  # Somebody else's.
        if status in ("renewed", "resumed") and s.lease and _is_length(result.get("expires_in_ms")):
            kept = ("expires_in_ms", "renew_after_ms", "outage_grace_ms", "active_at")
            lease = {**s.lease, **{name: result[name] for name in kept if name in result}}
            return self.hold(flight, {**result, "resumed": status == "resumed"}, lease)
        if status == "lost" and code in ENDS:
            return self.lose(code, _details(0, result, True))
        if status == "invalid":
            return self.lose("invalid_token", {})
        s.news = s.news or flight.news
        self.miss("not_leasehold", {}, 0, False)

    def yield_heard(self, flight: Flight, status: int, headers: dict[str, Any], body: Any, code: str | None) -> None:
        s = self.state
        if status == 200 and isinstance(body, dict) and body.get("yielded") is True:
            return self.finish("released", "handed_over")
        if code in ENDS:
            return self.lose(code, _details(status, body, True))
        s.fresh = s.fresh or not status
        self.wait(0, 100)  # A heartbeat tells whether the seat is still there.

    def end_heard(self, flight: Flight, status: int, *_: Any) -> None:
        s = self.state
        ending = s.ending
        if ending and not _is_settled(status) and ending.tries < ending.left and since(ending.at, self.now) < END_MS - 500:
            return self.wait(100, 400)
        s.ending = None
        if s.again:
            s.again = False
            self.ask()

    # What is done.

    def hold(self, flight: Flight, body: dict[str, Any], lease: dict[str, Any]) -> None:
        s = self.state
        resumed = body.get("resumed") is True
        s.lease, s.sent = lease, flight.at
        s.token = body["token"] if _is_text(body.get("token")) else s.token
        s.proof = body["proof"] if _is_text(body.get("proof")) else s.proof
        s.ticket = s.position = None
        s.fresh, s.heard = False, True
        told = {name: body[name] for name in TOLD if body.get(name) is not None}
        ends = body.get("ends")
        ends = ends if isinstance(ends, dict) and _is_length(ends.get("in_ms")) else None
        if ends or s.ends:
            told["ending"] = ends
        s.ends, s.plain = ends, False
        request = body.get("seat_requested")
        request = request if isinstance(request, dict) and _is_length(request.get("answer_in_ms")) else None
        # Once for each request: the time that is left grows only when another one comes.
        if request and (s.asked is None or request["answer_in_ms"] > s.asked):
            told["seat_requested"] = request
        elif not request and s.asked is not None:
            told["seat_requested"] = None
        s.asked = request["answer_in_ms"] if request else None
        if told:
            self.out["tell"] = told
        rest = left(s, self.now)
        if rest <= 0:  # It took longer than the lease lasts.
            if s.name in ("acquiring", "waiting"):
                s.name = "held"
            self.look()
            return self.retry(0, False)
        s.misses = 0
        self.to("held", None, {"resumed": True} if resumed else {})
        self.watch()
        every = max(100, min(int(lease["renew_after_ms"]), int(lease["expires_in_ms"]) // 2))
        low, high = (500, 500) if s.news else (every - every * 15 // 100, every)
        if s.returned and away(s):
            low = high = 0
        s.returned = False
        self.wait(low, high)

    def miss(self, code: str, details: dict[str, Any], retry_after: int, unheard: bool) -> None:
        s = self.state
        if s.name in ("held", "unstable"):
            self.to("unstable", code, details)
        elif s.name == "acquiring":
            self.to("acquiring", code, details)
        elif s.name == "grace":
            s.code = code
        self.retry(retry_after, unheard)

    def lose(self, code: str, details: dict[str, Any]) -> None:
        s = self.state
        if s.name == "acquiring" and s.options.reacquire and code != "lease_terminated":
            # It was remembered from an earlier life of the program.
            s.token = None
            s.acquisition += 1
            return self.ask()
        self.finish("released" if code == "lease_released" else "lost", code, details)
        if s.options.reacquire and code in ("lease_expired", "invalid_token"):
            s.again = True
            self.wait(0, 2_000)
        # Whoever took it back before anybody is there would undo what the pool is asked to do.
        s.dormant = s.options.reacquire and code == "lease_evicted" and details.get("reason") in UNUSED

    def end(self, path: str, code: str, tries: int) -> None:
        s = self.state
        token, ticket = s.token, s.ticket
        if code == "cancelled":
            token = None  # An adopted one is not this program's to give up.
        if not (s.lease or s.again or s.dormant or s.name in ("acquiring", "waiting")):
            return
        if s.ending:  # It was asked for again, and is no longer.
            s.again = False
            return self.to("released", code)
        if s.flight and s.flight.kind == "ask":
            s.strays[s.flight.id] = "poll" if ticket else "ask"  # If it brings a seat or a place, that goes back.
            s.flight = None
        elif s.flight:
            self.abort(s.flight)
        self.finish("released", code)
        if token:
            s.ending = Ending(path, {"token": token}, 0, self.now, tries)
            self.give_back(s.ending)
        elif ticket:
            self.leave_queue(ticket)

    def request(self) -> None:
        s = self.state
        if s.wishes and s.can_request and s.ticket and not s.requested:
            s.requested = True
            path = f"/v1/pools/{quote(s.options.pool, safe='')}/queue/request"
            self.send(path, {"ticket": s.ticket}, 1_000, stray="request")

    def leave_queue(self, ticket: str) -> None:
        self.send(f"/v1/pools/{quote(self.state.options.pool, safe='')}/queue/leave", {"ticket": ticket}, 1_000, stray="end")

    def give_back(self, ending: Ending) -> None:
        ending.tries += 1
        rest = END_MS - since(ending.at, self.now)
        self.send(ending.path, ending.body, max(100, min(2_000, rest)), kind="end", fresh=ending.tries > 1)

    def ask(self) -> None:
        s, o = self.state, self.state.options
        body: dict[str, Any] = {"holder": o.holder, "tenant": o.tenant, "label": s.label, "platform": o.platform}
        body["activities"] = list(s.activities) if s.activities else None
        body["wait"] = o.wait or None
        if s.ticket:
            body = {"ticket": s.ticket, "wait_ms": LONG_POLL_MS}
        s.news = False
        timeout = REQUEST_MS + (LONG_POLL_MS if s.ticket else 0)
        path = f"/v1/pools/{quote(o.pool, safe='')}/leases"
        more: dict[str, Any] = {"acquisition": s.acquisition, **({"refused": True} if s.refused else {})}
        self.send(path, body, timeout, kind="ask", fresh=s.fresh, more=more, idle=not s.ticket and not s.plain)

    def beat(self) -> None:
        s = self.state
        rest = left(s, self.now)
        body: dict[str, Any] = {"token": s.token}
        if s.news:
            body["activities"] = list(s.activities) if s.activities is not None else None
            body["label"] = s.label
        if s.lease and rest < 0 and "outage_grace_ms" in s.lease:
            limit = grace(s)
            body["grace_used_ms"] = min(-rest, MOST_MS if limit is None else limit, MOST_MS)
        timeout = max(250, min(REQUEST_MS, rest // 2)) if rest > 0 else REQUEST_MS
        idle = "active_at" in (s.lease or {})
        self.send("/v1/leases/renew", body, timeout, kind="renew", fresh=s.fresh, news=s.news, idle=idle)
        s.news = False

    def retry(self, retry_after: int, unheard: bool) -> None:
        """Plans the next try: full jitter, and what the server asked for as far as the lease allows."""
        s = self.state
        rest = left(s, self.now)
        limit, most = 60_000, 8_000
        if s.lease and rest > 0:
            limit = max(100, rest // 2)
            most = min(8_000, int(s.lease["renew_after_ms"]) // 2)
        elif s.lease:  # Whoever beats within a lease's length of the server's return keeps the seat.
            most = limit = max(100, min(30_000, int(s.lease["expires_in_ms"]) // 2))
        low = max(100, min(retry_after, limit - limit // 10))
        high = max(low + low // 10, min(most, 1_000 << min(s.misses, 10)))
        s.misses += 1
        s.fresh = s.fresh or unheard
        self.wait(low, max(low, min(high, limit)))

    def at_once(self) -> None:
        """The node says good-bye: another one answers a new connection."""
        self.state.misses = 1
        self.state.fresh = True
        self.wait(0, 0)

    def finish(self, name: str, code: str, details: dict[str, Any] | None = None) -> None:
        s = self.state
        self.stop("next")
        self.stop("deadline")
        s.lease = s.token = s.ticket = s.proof = s.position = None
        s.misses, s.fresh, s.refused, s.again = 0, False, False, False
        s.dormant, s.idle_ms, s.ends, s.returned = False, None, None, False
        s.asked, s.wishes, s.can_request, s.requested = None, s.options.request, False, False
        self.to(name, code, details)

    def look(self) -> None:
        """Brings the state up to the clock."""
        s = self.state
        name, code = seen(s, self.now)
        if name == s.name:
            return
        self.to(name, code)
        self.stop("deadline")
        if name == "grace":
            self.watch()

    def watch(self) -> None:
        s = self.state
        rest, limit = left(s, self.now), grace(s)
        if rest > 0:
            self.wait(rest, rest, "deadline")
        elif limit is not None:
            self.wait(rest + limit, rest + limit, "deadline")

    def to(self, name: str, code: str | None = None, details: dict[str, Any] | None = None) -> None:
        s = self.state
        details = details or {}
        position = details.get("position")
        told = name != s.name or details.get("resumed")
        told = told or (name in ("acquiring", "waiting", "lost") and code != s.code)
        told = told or (name == "waiting" and position is not None and position != s.position)
        s.position = s.position if name == "waiting" and position is None else position
        s.name, s.code = name, code
        if told:
            self.out.setdefault("emit", []).append({"state": name, **({"code": code} if code else {}), **details})

    def send(
        self, path: str, body: dict[str, Any], timeout: int, *, kind: str = "", stray: str = "", fresh: bool = False,
        more: dict[str, Any] | None = None, news: bool = False, idle: bool = False,
    ) -> None:  # fmt: skip
        s = self.state
        s.requests += 1
        body = {name: value for name, value in body.items() if value is not None}
        request = {"id": s.requests, "path": path, "body": body, "timeout_ms": timeout, **(more or {})}
        if fresh:
            request["fresh"] = True
        if idle:
            request["idle"] = True  # It may report how long nobody did anything.
        self.out.setdefault("send", []).append(request)
        if stray:
            s.strays[s.requests] = stray
        else:
            self.stop("next")
            s.flight = Flight(s.requests, kind, self.now, news, idle and kind == "renew")

    def abort(self, flight: Flight) -> None:
        s = self.state
        self.out["abort"] = flight.id
        s.news = s.news or flight.news
        s.flight, s.fresh = None, True

    def wait(self, low: int, high: int, timer: str = "next") -> None:
        self.state.running |= {timer}
        self.out.setdefault("timers", {})[timer] = [low, high]

    def stop(self, timer: str) -> None:
        if timer in self.state.running:
            self.state.running -= {timer}
            self.out.setdefault("timers", {})[timer] = None
