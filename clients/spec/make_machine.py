#!/usr/bin/env python3
"""Writes machine/*.json. What is expected stands here, word by word; no client is asked.

    make_machine.py           writes the files
    make_machine.py --check   fails if they are not what this program would write
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
ERRORS = json.loads((HERE / "errors.json").read_text())["codes"]
TTL = 60_000
PROBLEM = {"content-type": "application/problem+json"}
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html"}
ACQUIRE, RENEW = "/v1/pools/crm/leases", "/v1/leases/renew"
RELEASE, LEAVE, QUEUE_LEAVE = "/v1/leases/release", "/v1/leases/leave", "/v1/pools/crm/queue/leave"
ANN = {"pool": "crm", "holder": "ann"}
FIRST = [100, 1_000]  # The first retry: nothing was asked for, and one second is the most.


def lease(id="L1", ttl=TTL, **more):
    return {"id": id, "fence": 7, "expires_in_ms": ttl, "ttl_ms": ttl, "renew_after_ms": ttl // 3, **more}


def answer(id, status, body=None, headers=JSON):
    return {"event": "answer", "id": id, "status": status, "headers": headers, "body": body}


def granted(id, /, token="t1", status=201, more=None, **of_lease):
    return answer(id, status, {"lease": lease(**of_lease), "token": token, "pool": {"in_use": 1, "capacity": 5}, **(more or {})})


def renewed(id, /, resumed=False, more=None, **of_lease):
    return answer(id, 200, {"lease": lease(**of_lease), "resumed": resumed, **(more or {})})


def queued(id, position=1, ticket="k1", **more):
    return answer(id, 202, {"ticket": ticket, "position": position, "retry_after_ms": 2_000, "eta_ms": 60_000, **more})


def problem(id, code, status=None, headers=None, **members):
    status = status or ERRORS[code]["status"]
    body = {"type": f"urn:leasehold:problem:{code}", "title": "T", "status": status, "detail": "D", "code": code, **members}
    return answer(id, status, body, {**PROBLEM, **(headers or {})})


def failed(id):
    return {"event": "failed", "id": id}


def said(state, code, status=None, **more):
    """An event for a problem of ours."""
    return {"state": state, "code": code, "title": "T", "detail": "D", "status": status or ERRORS[code]["status"], **more}


def ask(id, acquisition=1, body=None, timeout=8_000, idle=True, **more):
    more = {"idle": True, **more} if idle else more
    return {"id": id, "path": ACQUIRE, "body": body or {"holder": "ann"}, "acquisition": acquisition, "timeout_ms": timeout, **more}


def poll(id, acquisition=1, ticket="k1", **more):
    return ask(id, acquisition, {"ticket": ticket, "wait_ms": 20_000}, 28_000, idle=False, **more)


def beat(id, token="t1", timeout=8_000, fresh=False, idle=False, **body):
    marks = {**({"fresh": True} if fresh else {}), **({"idle": True} if idle else {})}
    return {"id": id, "path": RENEW, "body": {"token": token, **body}, "timeout_ms": timeout, **marks}


def end(id, path=RELEASE, token="t1", timeout=2_000, fresh=False):
    return {"id": id, "path": path, "body": {"token": token}, "timeout_ms": timeout, **({"fresh": True} if fresh else {})}


def leave_queue(id, ticket="k1"):
    return {"id": id, "path": QUEUE_LEAVE, "body": {"ticket": ticket}, "timeout_ms": 1_000}


NEXT, DEADLINE, WAKE = {"event": "timer", "timer": "next"}, {"event": "timer", "timer": "deadline"}, {"event": "wake"}
ACQUIRED, RELEASED, CLOSED, CANCELLED = ({"event": name} for name in ("acquire", "release", "close", "cancel"))
FORKED, ACTIVE = {"event": "forked"}, {"event": "active"}


class Vector:
    def __init__(self, name, scenarios, **options):
        self.name, self.scenarios, self.options, self.steps = name, scenarios, {**ANN, **options}, []

    def do(self, at, event):
        """An event whose consequences are not looked at: other vectors do."""
        self.steps.append({"at": at, "event": event})
        return self

    def then(self, at, event, state, sure=None, **out):
        """An event, and everything that follows from it. None for `event`: only time has passed."""
        sure = state in ("held", "unstable") if sure is None else sure
        step = {"at": at, **({"event": event} if event else {}), "then": {"state": state, "sure": sure, **out}}
        self.steps.append(step)
        return self

    # What most vectors begin with.

    def asking(self):
        return self.do(0, ACQUIRED)

    def held(self, **of_lease):
        """A seat that was asked for at 0 and granted at 100: certain until 60 000, first beat between 17 100 and 20 100."""
        return self.asking().do(100, granted(1, **of_lease))

    def beating(self, **of_lease):
        """At 20 000 its first beat has left, as request 2."""
        return self.held(**of_lease).do(20_000, NEXT)

    def waiting(self):
        """In the queue since 100, with the ticket k1; nothing is under way."""
        return self.asking().do(100, queued(1))

    def json(self):
        return {"name": self.name, "scenarios": self.scenarios, "options": self.options, "steps": self.steps}


FILES = {}


def file(name):
    vectors = FILES.setdefault(name, [])

    def vector(name, scenarios, **options):
        vectors.append(Vector(name, scenarios, **options))
        return vectors[-1]

    return vector


def at(mono, wall=None):
    return {"mono": mono, "wall": mono if wall is None else wall}


HELD_TIMERS = {"next": [17_000, 20_000], "deadline": [60_000, 60_000]}
GONE = {"next": None, "deadline": None}

# ---------------------------------------------------------------------------------------------------------------- acquire
v = file("acquire")
v("a grant is a seat, and everything is taken from its answer", [1]).then(
    0, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}], send=[ask(1)]
).then(
    100, granted(1), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]},
    peek={"token": "t1", "lease_id": "L1"},
)
v("everything that is known of the holder is sent", [1], tenant="acme", label="Desk", platform="web", activities=["Order 17"]).then(
    0, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}],
    send=[ask(1, body={"holder": "ann", "tenant": "acme", "label": "Desk", "platform": "web", "activities": ["Order 17"]})],
)
v("the name of a pool is encoded as one segment of the path", [1], pool="a/b c").then(
    0, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}], send=[{**ask(1), "path": "/v1/pools/a%2Fb%20c/leases"}]
)
v("200 for a repeated key is the same seat, and held is told once", [2]).asking().then(
    8_000, failed(1), "acquiring", emit=[{"state": "acquiring", "code": "unreachable"}], timers={"next": FIRST}
).then(8_500, NEXT, "acquiring", send=[ask(2, fresh=True)]).then(
    8_600, granted(2, status=200), "held", emit=[{"state": "held"}],
    timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]}, peek={"token": "t1", "lease_id": "L1"},
)
v("a proof in the answer is kept", [1]).asking().then(
    0, granted(1, more={"proof": "a.b.c"}), "held", emit=[{"state": "held"}], timers=HELD_TIMERS, peek={"proof": "a.b.c"}
)
v("unknown fields are ignored", [9]).asking().then(
    0, granted(1, more={"colour": "red", "more": [1]}, new_field={"a": 1}), "held", emit=[{"state": "held"}], timers=HELD_TIMERS
)
for what, response in {
    "200 with HTML": answer(1, 200, None, HTML),
    "200 with an empty object": answer(1, 200, {}),
    "200 with a list": answer(1, 200, []),
    "200 with a JSON string": answer(1, 200, "ok"),
    "201 without a token": answer(1, 201, {"lease": lease()}),
    "201 with an empty token": answer(1, 201, {"lease": lease(), "token": ""}),
    "201 without a lease": answer(1, 201, {"token": "t1"}),
    "201 with a lease without an id": answer(1, 201, {"lease": {**lease(), "id": None}, "token": "t1"}),
    "201 with a lease without a length": answer(1, 201, {"lease": {**lease(), "expires_in_ms": "60000"}, "token": "t1"}),
    "201 with a lease without renew_after_ms": answer(1, 201, {"lease": {**lease(), "renew_after_ms": True}, "token": "t1"}),
    "a grant with status 202": answer(1, 202, {"lease": lease(), "token": "t1"}),
    "202 without a ticket": answer(1, 202, {"position": 1}),
    "204": answer(1, 204, None, {}),
    "302 to a login page": answer(1, 302, None, {**HTML, "location": "https://login.example/"}),
    "400 with HTML": answer(1, 400, None, HTML),
    "401 with HTML": answer(1, 401, None, HTML),
    "403 with HTML": answer(1, 403, None, HTML),
    "404 with HTML": answer(1, 404, None, HTML),
    "404 with JSON that is no problem document": answer(1, 404, {"code": "pool_full", "message": "no"}),
    "409 with a problem document without a code": answer(1, 409, {"title": "T", "status": 409}, PROBLEM),
    "200 with a problem document": answer(1, 200, {"code": "pool_full", "status": 409}, PROBLEM),
}.items():
    status = response["status"]
    v(f"{what} is not Leasehold, and no seat", [3, 4, 5]).asking().then(
        100, response, "denied", emit=[{"state": "denied", "code": "not_leasehold", "status": status}], done=True
    )
for code, entry in ERRORS.items():
    if entry["class"] in ("denied", "misuse") or code in ("pool_not_found", "invalid_token", "lease_expired"):
        number = {"pool_not_found": [5], "pool_full": [6], "queue_full": [21], "unauthorized": [10]}.get(code, [7])
        v(f"{code} is a denial", number).asking().then(100, problem(1, code), "denied", emit=[said("denied", code)], done=True)
v("a denial carries in_use, capacity and retry_after_ms", [6]).asking().then(
    100, problem(1, "pool_full", in_use=5, capacity=5, retry_after_ms=2_500, request_id="r1"), "denied", done=True,
    emit=[said("denied", "pool_full", in_use=5, capacity=5, retry_after_ms=2_500, request_id="r1")],
)
v("a blocked holder gets the reason and the end of the block", [7]).asking().then(
    100, problem(1, "holder_blocked", blocked_until="2026-12-01T00:00:00.000Z", reason="Rest."), "denied", done=True,
    emit=[said("denied", "holder_blocked", blocked_until="2026-12-01T00:00:00.000Z", reason="Rest.")],
)
v("an unknown 4xx code is a denial with that code", [8]).asking().then(
    100, problem(1, "shop_closed", 418), "denied", emit=[said("denied", "shop_closed", 418)], done=True
)
v("an unknown 5xx code is asked again", [8, 12]).asking().then(
    100, problem(1, "on_fire", 503), "acquiring", emit=[said("acquiring", "on_fire", 503)], timers={"next": FIRST}
).then(600, NEXT, "acquiring", send=[ask(2)])
v("the media type of a problem may have parameters and capitals", [8]).asking().then(
    100, problem(1, "pool_full", headers={"content-type": "Application/Problem+JSON; charset=utf-8"}), "denied",
    emit=[said("denied", "pool_full")], done=True,
)
v("after unauthorized a key function is called once more", [10], key="function").asking().then(
    100, problem(1, "unauthorized"), "acquiring", send=[ask(2, refused=True)]
).then(200, granted(2), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]})
v("a key function is called only once more", [10], key="function").asking().do(100, problem(1, "unauthorized")).then(
    200, problem(2, "unauthorized"), "denied", emit=[said("denied", "unauthorized")], done=True
)
v("unauthorized with a fixed key is a denial", [10], key="fixed").asking().then(
    100, problem(1, "unauthorized"), "denied", emit=[said("denied", "unauthorized")], done=True
)
v("a request without an answer is repeated with the same body and key", [11]).asking().then(
    50, failed(1), "acquiring", emit=[{"state": "acquiring", "code": "unreachable"}], timers={"next": FIRST}
).then(1_000, NEXT, "acquiring", send=[ask(2, fresh=True)]).then(
    1_050, failed(2), "acquiring", timers={"next": [100, 2_000]}
).then(3_000, NEXT, "acquiring", send=[ask(3, fresh=True)]).then(3_050, failed(3), "acquiring", timers={"next": [100, 4_000]}).then(
    7_000, NEXT, "acquiring", send=[ask(4, fresh=True)]
).then(7_050, failed(4), "acquiring", timers={"next": [100, 8_000]}).do(15_000, NEXT).then(
    15_050, failed(5), "acquiring", timers={"next": [100, 8_000]}
)
for code, entry in ERRORS.items():
    if entry["class"] == "retry" and code not in ("maintenance", "recovering", "ticket_expired", "draining"):
        for outcome in ("none", "unknown") if entry["status"] == 503 else (None,):
            more = {"outcome": outcome} if outcome else {}
            v(f"{code} is asked again with the same key" + (f", outcome {outcome}" if outcome else ""), [12]).asking().then(
                100, problem(1, code, **more), "acquiring", emit=[said("acquiring", code)], timers={"next": FIRST}
            ).then(600, NEXT, "acquiring", send=[ask(2)])
v("a 5xx of a balancer is asked again", [12]).asking().then(
    100, answer(1, 502, None, HTML), "acquiring", emit=[{"state": "acquiring", "code": "not_leasehold", "status": 502}], timers={"next": FIRST}
).then(600, NEXT, "acquiring", send=[ask(2)])
for status in (408, 429, 500, 503, 504):
    v(f"a {status} that is not Leasehold's is asked again", [12, 13]).asking().then(
        100, answer(1, status, None, HTML), "acquiring",
        emit=[{"state": "acquiring", "code": "not_leasehold", "status": status}], timers={"next": FIRST},
    )
v("Retry-After is obeyed by an acquire", [13]).asking().then(
    100, answer(1, 429, None, {**HTML, "retry-after": "20"}), "acquiring",
    emit=[{"state": "acquiring", "code": "not_leasehold", "status": 429}], timers={"next": [20_000, 22_000]},
)
v("an acquire waits a minute at most", [13]).asking().then(
    100, answer(1, 429, None, {**HTML, "retry-after": "3600"}), "acquiring",
    emit=[{"state": "acquiring", "code": "not_leasehold", "status": 429}], timers={"next": [54_000, 59_400]},
)
v("retry_after_ms takes precedence over the header", [13]).asking().then(
    100, problem(1, "too_many_requests", headers={"retry-after": "2"}, retry_after_ms=1_500), "acquiring",
    emit=[said("acquiring", "too_many_requests", retry_after_ms=1_500)], timers={"next": [1_500, 1_650]},
)
v("a Retry-After with a date is ignored", [13]).asking().then(
    100, answer(1, 503, None, {**HTML, "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), "acquiring",
    emit=[{"state": "acquiring", "code": "not_leasehold", "status": 503}], timers={"next": FIRST},
)
v("after draining the next request goes out at once, on a new connection", [14]).asking().then(100, problem(1, "draining"), "acquiring", timers={"next": [0, 0]}).then(
    100, NEXT, "acquiring", send=[ask(2, fresh=True)]
).then(200, problem(2, "draining"), "acquiring", emit=[said("acquiring", "draining")], timers={"next": [100, 2_000]})
v("a grant that arrives after cancel is released", [15]).asking().then(
    50, CANCELLED, "released", emit=[{"state": "released", "code": "cancelled"}]
).then(100, granted(1), "released", send=[end(2, timeout=3_000)]).then(200, answer(2, 204, None, {}), "released", done=True)
v("a denial that arrives after cancel ends it", [15]).asking().do(50, CANCELLED).then(100, problem(1, "pool_full"), "released", done=True)
v("a request that fails after cancel ends it", [15]).asking().do(50, CANCELLED).then(8_000, failed(1), "released", done=True)
v("a cancel between two tries sends nothing", [15]).asking().do(50, failed(1)).then(
    60, CANCELLED, "released", emit=[{"state": "released", "code": "cancelled"}], timers={"next": None}, done=True
)
v("a cancel of a held seat does nothing", [15]).held().then(200, CANCELLED, "held")
v("a release while acquiring works like cancel", [15]).asking().then(
    50, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}]
).then(100, granted(1), "released", send=[end(2, timeout=3_000)])
v("two acquires are one request", [17]).asking().then(10, ACQUIRED, "acquiring").then(
    100, granted(1), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]}
).then(200, ACQUIRED, "held")
v("an acquire after a release is a new acquisition", [17]).held().do(200, RELEASED).do(250, answer(2, 204, None, {})).then(
    300, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}], send=[ask(3, acquisition=2)]
)
v("an acquire after a denial is a new acquisition", [17]).asking().do(100, problem(1, "pool_full")).then(
    300, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}], send=[ask(2, acquisition=2)]
)
v("an acquire during a release waits for its end", [17, 50]).held().do(200, RELEASED).then(
    210, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}]
).then(250, answer(2, 204, None, {}), "acquiring", send=[ask(3, acquisition=2)])
v("a wake between two tries sends the request at once", [11]).asking().do(50, failed(1)).then(
    60, WAKE, "acquiring", timers={"next": None}, send=[ask(2, fresh=True)]
)
v("a wake aborts a request older than three seconds", [11]).asking().then(
    3_100, WAKE, "acquiring", abort=1, send=[ask(2, fresh=True)]
)
v("a wake leaves a younger request alone", [11]).asking().then(2_900, WAKE, "acquiring")
v("an adopted token is renewed", [1]).then(
    0, {"event": "adopt", "token": "t9"}, "acquiring", emit=[{"state": "acquiring"}], send=[beat(1, "t9")]
).then(0, renewed(1), "held", emit=[{"state": "held"}], timers=HELD_TIMERS, peek={"token": "t9", "lease_id": "L1"})
v("an adopted token can resume its lease", [42]).do(0, {"event": "adopt", "token": "t9"}).then(
    0, renewed(1, resumed=True), "held", emit=[{"state": "held", "resumed": True}], timers=HELD_TIMERS
)
v("an adopted token whose lease has ended is lost", [36]).do(0, {"event": "adopt", "token": "t9"}).then(
    100, problem(1, "lease_expired"), "lost", emit=[said("lost", "lease_expired")], done=True
)
v("with reacquire an adopted token whose lease has ended is replaced", [36], reacquire=True).do(0, {"event": "adopt", "token": "t9"}).then(
    100, problem(1, "lease_expired"), "acquiring", send=[ask(2)]
)
v("an adopted token of a terminated lease is not replaced", [37], reacquire=True).do(0, {"event": "adopt", "token": "t9"}).then(
    100, problem(1, "lease_terminated", reason="Over."), "lost", emit=[said("lost", "lease_terminated", reason="Over.")], done=True
)
v("a cancel while an adopted token is tried leaves the lease alone", [15]).do(0, {"event": "adopt", "token": "t9"}).then(
    50, CANCELLED, "released", emit=[{"state": "released", "code": "cancelled"}], abort=1, done=True
)
v("a release while an adopted token is tried gives it back", [50]).do(0, {"event": "adopt", "token": "t9"}).then(
    50, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], abort=1, send=[end(2, token="t9")]
).then(60, answer(2, 204, None, {}), "released", done=True)
v("an adopted token without an answer is tried again", [33]).do(0, {"event": "adopt", "token": "t9"}).then(
    100, failed(1), "acquiring", emit=[{"state": "acquiring", "code": "unreachable"}], timers={"next": FIRST}
).then(500, NEXT, "acquiring", send=[beat(2, "t9", fresh=True)])

# ------------------------------------------------------------------------------------------------------------------ queue
v = file("queue")
v("a place in the queue is emitted, and renewed in time", [18], wait=True).then(
    0, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}], send=[ask(1, body={"holder": "ann", "wait": True})]
).then(
    100, queued(1, 3), "waiting", emit=[{"state": "waiting", "position": 3, "eta_ms": 60_000, "retry_after_ms": 2_000}],
    timers={"next": [950, 1_710]},
).then(1_500, NEXT, "waiting", send=[poll(2)]).then(
    16_000, granted(2), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [45_500, 45_500]}
)
v("after a long poll the next request goes out at once", [18]).waiting().do(1_500, NEXT).then(
    21_500, queued(2), "waiting", timers={"next": [0, 100]}
)
v("each change of the position is emitted", [19]).waiting().do(1_500, NEXT).do(2_000, queued(2, 1)).do(3_000, NEXT).then(
    4_000, queued(3, 2), "waiting", emit=[{"state": "waiting", "position": 2, "eta_ms": 60_000, "retry_after_ms": 2_000}],
    timers={"next": [500, 900]},
)
v("an unchanged position is not emitted again", [19]).waiting().do(1_500, NEXT).then(
    1_500, queued(2, 1, eta_ms=1), "waiting", timers={"next": [1_000, 1_800]}
)
v("a new ticket takes the place of the old one", [18]).waiting().do(1_500, NEXT).do(1_500, queued(2, ticket="k2")).then(
    2_500, NEXT, "waiting", send=[poll(3, ticket="k2")]
)
v("an expired ticket is emitted and replaced", [20]).waiting().do(1_500, NEXT).then(
    1_600, problem(2, "ticket_expired"), "acquiring", emit=[said("acquiring", "ticket_expired")], timers={"next": [0, 100]}
).then(1_650, NEXT, "acquiring", send=[ask(3, acquisition=2)])
for code in ("pool_full", "tenant_full", "queue_full"):
    v(f"{code} is waited for with the option wait", [21], wait=True).asking().then(
        100, problem(1, code, retry_after_ms=3_000, in_use=5, capacity=5), "waiting",
        emit=[said("waiting", code, retry_after_ms=3_000, in_use=5, capacity=5)], timers={"next": [3_000, 3_300]},
    ).then(3_200, NEXT, "waiting", send=[ask(2, body={"holder": "ann", "wait": True})])
v("without a queue the pool is asked every five seconds", [21], wait=True).asking().then(
    100, problem(1, "pool_full", retry_after_ms=59_000), "waiting", emit=[said("waiting", "pool_full", retry_after_ms=59_000)],
    timers={"next": [5_000, 5_500]},
).do(5_200, NEXT).then(5_300, problem(2, "pool_full", retry_after_ms=54_000), "waiting", timers={"next": [5_000, 5_500]})
v("named seats do not come free by waiting", [7], wait=True).asking().then(
    100, problem(1, "named_seats_exhausted"), "denied", emit=[said("denied", "named_seats_exhausted")], done=True
)
for what, event, out in [
    ("no answer", failed(2), dict(timers={"next": FIRST})),
    ("a 503", problem(2, "store_unavailable"), dict(timers={"next": FIRST})),
    ("a 502 of a balancer", answer(2, 502, None, HTML), dict(timers={"next": FIRST})),
    ("a 404 with HTML", answer(2, 404, None, HTML), dict(timers={"next": FIRST})),
    ("a 302", answer(2, 302, None, HTML), dict(timers={"next": FIRST})),
    ("a 200 with HTML", answer(2, 200, None, HTML), dict(timers={"next": FIRST})),
]:
    fresh = {"fresh": True} if event["event"] == "failed" else {}
    v(f"{what} does not cost the place", [22]).waiting().do(1_500, NEXT).then(1_600, event, "waiting", **out).then(
        2_000, NEXT, "waiting", send=[poll(3, **fresh)]
    )
for code in ("maintenance", "recovering"):
    v(f"{code} is waited for, also without the option wait", [23]).asking().then(
        100, problem(1, code, retry_after_ms=7_000), "waiting", emit=[said("waiting", code, retry_after_ms=7_000)],
        timers={"next": [7_000, 7_700]},
    ).then(7_500, NEXT, "waiting", send=[ask(2)]).then(
        7_500, granted(2), "held", emit=[{"state": "held"}], timers=HELD_TIMERS
    )
v("during maintenance the pool is asked at least once a minute", [23]).asking().then(
    100, problem(1, "maintenance", retry_after_ms=600_000), "waiting", emit=[said("waiting", "maintenance", retry_after_ms=600_000)],
    timers={"next": [60_000, 66_000]},
)
v("while recovering the pool is asked at most twice a second", [23]).asking().then(
    100, problem(1, "recovering", retry_after_ms=1), "waiting", emit=[said("waiting", "recovering", retry_after_ms=1)],
    timers={"next": [500, 550]},
)
v("a denial ends the wait", [7]).waiting().do(1_500, NEXT).then(
    1_600, problem(2, "holder_blocked"), "denied", emit=[said("denied", "holder_blocked")], done=True
)
v("a long poll may take longer than other requests", [24]).waiting().then(
    1_500, NEXT, "waiting", send=[poll(2)]
).then(21_400, None, "waiting").then(21_500, granted(2), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [40_000, 40_000]})
for event, code in ((CANCELLED, "cancelled"), (RELEASED, "lease_released"), (CLOSED, "closed")):
    v(f"{event['event']} leaves the queue", [16]).waiting().then(
        500, event, "released", emit=[{"state": "released", "code": code}], timers={"next": None}, send=[leave_queue(2)]
    ).then(600, answer(2, 204, None, {}), "released", done=True)
v("a server without queue/leave is no error", [16]).waiting().do(500, CANCELLED).then(
    600, problem(2, "route_not_found"), "released", done=True
)
v("a grant that arrives after leaving the queue is released", [15, 16]).waiting().do(1_500, NEXT).then(
    1_600, CANCELLED, "released", emit=[{"state": "released", "code": "cancelled"}], send=[leave_queue(3)]
).do(1_650, answer(3, 204, None, {})).then(1_700, granted(2), "released", send=[end(4, timeout=3_000)]).then(
    1_800, answer(4, 204, None, {}), "released", done=True
)
v("a place that arrives after a cancel is left", [16]).asking().do(50, CANCELLED).then(100, queued(1), "released", send=[leave_queue(2)]).then(
    200, answer(2, 204, None, {}), "released", done=True
)
v("a place that is left is left once", [16]).waiting().do(1_500, NEXT).then(
    1_600, CANCELLED, "released", emit=[{"state": "released", "code": "cancelled"}], send=[leave_queue(3)]
).do(1_650, answer(3, 204, None, {})).then(1_700, queued(2), "released", done=True)
v("an acquire while waiting sends nothing", [17]).waiting().then(200, ACQUIRED, "waiting")

# ------------------------------------------------------------------------------------------------------------------- beat
v = file("beat")
v("a heartbeat comes after 0.85 to 1 of what the server said", [25]).held().then(18_000, NEXT, "held", send=[beat(2)]).then(
    18_100, renewed(2), "held", timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]}
)
v("no second heartbeat starts while one is in flight", [25]).beating().then(20_100, NEXT, "held")
v("the next heartbeat follows a new length", [26]).beating().then(
    20_000, renewed(2, ttl=30_000), "held", timers={"next": [8_500, 10_000], "deadline": [30_000, 30_000]}
)
v("a heartbeat comes at half of a short rest", [26]).beating().then(
    20_000, renewed(2, expires_in_ms=10_000), "held", timers={"next": [4_250, 5_000], "deadline": [10_000, 10_000]}
)
v("renew_after_ms has a lower bound", [26]).beating().then(
    20_000, renewed(2, renew_after_ms=0), "held", timers={"next": [85, 100], "deadline": [60_000, 60_000]}
)
v("a new token is used from then on", [27]).beating().then(
    20_000, renewed(2, more={"token": "t2"}), "held", timers=HELD_TIMERS, peek={"token": "t2"}
).then(38_000, NEXT, "held", send=[beat(3, "t2")])
v("a release uses the new token", [27]).beating().do(20_000, renewed(2, more={"token": "t2"})).then(
    21_000, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], timers=GONE, send=[end(3, token="t2")]
)
for none in (None, ""):
    v(f"without a new token the old one stays, {none!r}", [27]).beating().then(
        20_000, renewed(2, more={"token": none}), "held", timers=HELD_TIMERS, peek={"token": "t1"}
    )
v("a late answer to an aborted heartbeat is ignored", [28]).beating().do(28_000, failed(2)).do(28_500, NEXT).do(
    28_600, renewed(3, more={"token": "t3"})
).then(29_000, renewed(2, more={"token": "t2"}), "held", peek={"token": "t3"}).then(
    29_100, problem(2, "lease_expired"), "held", peek={"token": "t3"}
)
v("an answer to no request is ignored", [28]).held().then(200, problem(9, "lease_terminated"), "held")
v("expiry counts from when the request left", [29]).beating().then(
    25_000, renewed(2), "held", timers={"next": [17_000, 20_000], "deadline": [55_000, 55_000]}
).then(79_999, None, "held").then(80_000, None, "grace")
v("expiry of the first lease counts from its request, too", [29]).asking().do(5_000, granted(1)).then(59_999, None, "held").then(60_000, None, "grace")
foreign = {
    "404 with HTML": answer(2, 404, None, HTML),
    "403 with HTML": answer(2, 403, None, HTML),
    "401 with HTML": answer(2, 401, None, HTML),
    "410 with HTML": answer(2, 410, None, HTML),
    "302": answer(2, 302, None, {**HTML, "location": "/login"}),
    "200 with HTML": answer(2, 200, None, HTML),
    "200 with an empty object": answer(2, 200, {}),
    "200 with another lease": renewed(2, id="L2"),
    "200 with a lease without a length": answer(2, 200, {"lease": {"id": "L1"}}),
    "201 with a lease": answer(2, 201, {"lease": lease()}),
    "204": answer(2, 204, None, {}),
    "400 with JSON": answer(2, 400, {"error": "bad"}),
    "410 with JSON that is no problem document": answer(2, 410, {"code": "lease_expired"}),
    "200 with a problem document": answer(2, 200, {"code": "lease_expired", "status": 410}, PROBLEM),
    "an empty 500": answer(2, 500, None, {}),
    "502 with HTML": answer(2, 502, None, HTML),
    "408 with HTML": answer(2, 408, None, HTML),
    "429 with HTML": answer(2, 429, None, HTML),
}
for what, response in foreign.items():
    v(f"{what} to a heartbeat ends nothing", [30] if response["status"] < 500 else [30, 31]).beating().then(
        20_100, response, "unstable", timers={"next": FIRST},
        emit=[{"state": "unstable", "code": "not_leasehold", "status": response["status"]}],
    ).then(20_500, NEXT, "unstable", send=[beat(3)]).then(
        20_500, renewed(3), "held", emit=[{"state": "held"}], timers=HELD_TIMERS
    )
for code, entry in ERRORS.items():
    if entry["class"] != "ends" and code != "draining":
        v(f"{code} to a heartbeat ends nothing", [31] if entry["class"] == "retry" else [41]).beating().then(
            20_100, problem(2, code), "unstable", timers={"next": FIRST}, emit=[said("unstable", code)]
        ).then(20_500, NEXT, "unstable", send=[beat(3)])
v("410 with an unknown code ends nothing", [41]).beating().then(
    20_100, problem(2, "lease_sold", 410), "unstable", timers={"next": FIRST}, emit=[said("unstable", "lease_sold", 410)]
)
v("backoff doubles to eight seconds", [31]).beating().do(20_000, answer(2, 500, None, {})).do(21_000, NEXT).then(
    21_000, answer(3, 500, None, {}), "unstable", timers={"next": [100, 2_000]}
).do(22_000, NEXT).then(22_000, answer(4, 500, None, {}), "unstable", timers={"next": [100, 4_000]}).do(24_000, NEXT).then(
    24_000, answer(5, 500, None, {}), "unstable", timers={"next": [100, 8_000]}
).do(30_000, NEXT).then(30_000, answer(6, 500, None, {}), "unstable", timers={"next": [100, 8_000]})
v("in grace backoff goes up to half a minute", [31]).beating().do(20_000, failed(2)).do(21_000, NEXT).do(21_000, failed(3)).do(
    22_000, NEXT).do(22_000, failed(4)).do(25_000, NEXT).do(25_000, failed(5)).do(60_000, DEADLINE).do(61_000, NEXT).then(
    61_000, failed(6), "grace", timers={"next": [100, 16_000]}).do(70_000, NEXT).then(
    70_000, failed(7), "grace", timers={"next": [100, 30_000]}).do(90_000, NEXT).then(
    90_000, failed(8), "grace", timers={"next": [100, 30_000]})
v("in a short lease backoff goes up to half a heartbeat", [31], ).held(ttl=3_000).do(1_000, NEXT).then(
    1_000, answer(2, 500, None, {}), "unstable", timers={"next": [100, 500]},
    emit=[{"state": "unstable", "code": "not_leasehold", "status": 500}],
)
v("a short Retry-After to a heartbeat is obeyed", [32]).beating().then(
    20_000, answer(2, 429, None, {**HTML, "retry-after": "5"}), "unstable", timers={"next": [5_000, 5_500]},
    emit=[{"state": "unstable", "code": "not_leasehold", "status": 429}],
)
for rest, seconds in ((40_000, 3_600), (40_000, 43), (40_000, 21)):
    v(f"Retry-After: {seconds} waits at most half of what is left", [32]).beating().then(
        20_000, answer(2, 429, None, {**HTML, "retry-after": str(seconds)}), "unstable", timers={"next": [18_000, 19_800]},
        emit=[{"state": "unstable", "code": "not_leasehold", "status": 429}],
    )
v("retry_after_ms to a heartbeat waits at most half of what is left", [32]).beating().then(
    50_000, problem(2, "store_unavailable", retry_after_ms=30_000), "unstable", timers={"next": [4_500, 4_950]},
    emit=[said("unstable", "store_unavailable", retry_after_ms=30_000)],
)
v("in grace Retry-After waits half a minute at most", [32]).beating().do(60_000, DEADLINE).then(
    61_000, answer(2, 429, None, {**HTML, "retry-after": "3600"}), "grace", timers={"next": [27_000, 29_700]}
)
v("in grace a short lease is tried within half of its length", [31, 32]).held(ttl=3_000).do(1_000, NEXT).do(
    3_000, DEADLINE).then(3_100, answer(2, 429, None, {**HTML, "retry-after": "20"}), "grace", timers={"next": [1_350, 1_485]}
).do(4_500, NEXT).then(4_600, failed(3), "grace", timers={"next": [100, 1_500]}).do(6_000, NEXT).then(
    6_000, failed(4), "grace", timers={"next": [100, 1_500]}
)
v("a heartbeat without an answer ends nothing, and the next takes a new connection", [33, 34]).beating().then(
    28_000, failed(2), "unstable", emit=[{"state": "unstable", "code": "unreachable"}], timers={"next": FIRST}
).then(28_500, NEXT, "unstable", send=[beat(3, fresh=True)]).then(
    28_500, renewed(3), "held", emit=[{"state": "held"}], timers=HELD_TIMERS
).then(46_000, NEXT, "held", send=[beat(4)])
v("unstable is emitted once", [31]).beating().do(20_000, answer(2, 500, None, {})).do(21_000, NEXT).then(
    21_000, failed(3), "unstable", timers={"next": [100, 2_000]}
)
v("a heartbeat may take half of what is left", [34]).held().then(50_000, NEXT, "held", send=[beat(2, timeout=5_000)]).then(
    55_000, failed(2), "unstable", emit=[{"state": "unstable", "code": "unreachable"}], timers={"next": FIRST}
).then(58_000, NEXT, "unstable", send=[beat(3, timeout=1_000, fresh=True)])
v("a heartbeat may always take a quarter of a second", [34]).held().then(59_900, NEXT, "held", send=[beat(2, timeout=250)])
v("with an answer slower than the lease grace comes first, then the answer decides", [35]).beating().then(
    60_000, DEADLINE, "grace", emit=[{"state": "grace"}]
).then(61_000, renewed(2), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [19_000, 19_000]})
v("a renewal that is older than its own length leaves the seat in grace", [35]).beating().do(60_000, DEADLINE).then(
    81_000, renewed(2), "grace", timers={"next": [100, 1_000]}
)
v("an end after grace ends the lease", [35]).beating().do(60_000, DEADLINE).then(
    61_000, problem(2, "lease_expired"), "lost", emit=[said("lost", "lease_expired")], done=True
)
v("the first draining to a heartbeat changes no state", [14, 31]).beating().then(
    20_100, problem(2, "draining"), "held", timers={"next": [0, 0]}
).then(20_100, NEXT, "held", send=[beat(3, fresh=True)]).then(
    20_200, problem(3, "draining"), "unstable", timers={"next": [100, 2_000]}, emit=[said("unstable", "draining")]
)
for code in ("lease_expired", "lease_terminated", "lease_evicted", "invalid_token", "pool_not_found"):
    number = {"lease_expired": 36, "lease_terminated": 37, "lease_evicted": 38, "invalid_token": 40, "pool_not_found": 43}[code]
    v(f"{code} ends the lease, and is emitted once", [number]).beating().then(
        20_100, problem(2, code), "lost", emit=[said("lost", code)], timers={"deadline": None}, done=True
    ).then(30_000, NEXT, "lost").then(30_000, WAKE, "lost")
    v(f"{code} ends it in grace", [number]).beating().do(60_000, DEADLINE).then(
        61_000, problem(2, code), "lost", emit=[said("lost", code)], done=True
    )
    again = code in ("lease_expired", "invalid_token")
    vector = v(f"{code} with the option reacquire", [number], reacquire=True).beating()
    if again:
        vector.then(
            20_100, problem(2, code), "lost", emit=[said("lost", code)], timers={"deadline": None, "next": [0, 2_000]}
        ).then(21_000, NEXT, "acquiring", emit=[{"state": "acquiring"}], send=[ask(3, acquisition=2)]).then(
            21_000, granted(3, "t2", id="L2"), "held", emit=[{"state": "held"}], timers=HELD_TIMERS, peek={"token": "t2", "lease_id": "L2"}
        )
    else:
        vector.then(20_100, problem(2, code), "lost", emit=[said("lost", code)], timers={"deadline": None}, done=True)
v("a denial of the reacquire is final", [36], reacquire=True).beating().do(20_100, problem(2, "lease_expired")).do(21_000, NEXT).then(
    21_100, problem(3, "pool_full"), "denied", emit=[said("denied", "pool_full")], done=True
)
v("a release cancels the planned reacquire", [36], reacquire=True).beating().do(20_100, problem(2, "lease_expired")).then(
    20_200, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], timers={"next": None}, done=True
)
v("the reason of an operator is passed on as text", [37]).beating().then(
    20_100, problem(2, "lease_terminated", reason="<b>Over</b>", blocked_until="2026-12-01T00:00:00.000Z"), "lost", done=True,
    emit=[said("lost", "lease_terminated", reason="<b>Over</b>", blocked_until="2026-12-01T00:00:00.000Z")], timers={"deadline": None},
)
v("a reason that is no string is left out", [37]).beating().then(
    20_100, problem(2, "lease_terminated", reason={"a": 1}), "lost", done=True, emit=[said("lost", "lease_terminated")], timers={"deadline": None}
)
v("an eviction carries its reason", [38]).beating().then(
    20_100, problem(2, "lease_evicted", reason="idle"), "lost", done=True, emit=[said("lost", "lease_evicted", reason="idle")],
    timers={"deadline": None},
)
v("a lease that was released elsewhere is released here", [39], reacquire=True).beating().then(
    20_100, problem(2, "lease_released"), "released", emit=[said("released", "lease_released")], timers={"deadline": None}, done=True
)
v("a problem of a missing pool must be Leasehold's", [43]).beating().then(
    20_100, answer(2, 404, {"code": "pool_not_found", "status": 404}), "unstable", timers={"next": FIRST},
    emit=[{"state": "unstable", "code": "not_leasehold", "status": 404}],
)
v("a resumed lease emits resumed", [42]).beating().then(
    20_000, renewed(2, resumed=True), "held", emit=[{"state": "held", "resumed": True}], timers=HELD_TIMERS
)
v("reported activities go out with a heartbeat within half a second", [25]).held().then(
    1_000, {"event": "report", "activities": ["Order 17"]}, "held", timers={"next": [500, 500]}
).then(1_500, NEXT, "held", send=[beat(2, activities=["Order 17"])]).then(
    1_500, renewed(2), "held", timers=HELD_TIMERS
).then(19_000, NEXT, "held", send=[beat(3)])
v("a reported label goes out, too", [25]).held().do(1_000, {"event": "report", "label": "Desk 2"}).then(
    1_500, NEXT, "held", send=[beat(2, label="Desk 2")]
)
v("a report during a heartbeat follows it", [25]).beating().then(
    20_050, {"event": "report", "activities": ["A"]}, "held"
).then(20_100, renewed(2), "held", timers={"next": [500, 500], "deadline": [59_900, 59_900]}).then(
    20_600, NEXT, "held", send=[beat(3, activities=["A"])]
)
v("a report without an answer is repeated", [33]).held().do(1_000, {"event": "report", "activities": ["A"]}).do(1_500, NEXT).do(
    2_000, failed(2)).then(2_500, NEXT, "unstable", send=[beat(3, fresh=True, activities=["A"])])
v("a report that is refused is dropped and ends nothing", [31]).held().do(1_000, {"event": "report", "activities": ["A"]}).do(1_500, NEXT).then(
    1_600, problem(2, "invalid_request"), "unstable", timers={"next": FIRST}, emit=[said("unstable", "invalid_request")]
).then(2_000, NEXT, "unstable", send=[beat(3)])
v("a notice is passed on", [9]).beating().then(
    20_000, renewed(2, more={"notice": {"message": "Lunch.", "at": "2026-11-29T12:00:00.000Z"}}), "held", timers=HELD_TIMERS,
    tell={"notice": {"message": "Lunch.", "at": "2026-11-29T12:00:00.000Z"}},
)
v("an announced end is passed on", [9]).beating().then(
    20_000, renewed(2, more={"ends": {"in_ms": 90_000, "reason": "idle", "then": "yield"}, "notice": None}), "held", timers=HELD_TIMERS,
    tell={"ending": {"in_ms": 90_000, "reason": "idle", "then": "yield"}},
)
v("a new proof takes the place of the old one", [26]).beating().then(
    20_000, renewed(2, more={"proof": "d.e.f"}), "held", timers=HELD_TIMERS, peek={"proof": "d.e.f"}
)

# ------------------------------------------------------------------------------------------------------------------- time
v = file("time")
v("after a sleep longer than the lease grace begins at once, with a heartbeat", [44]).held().then(
    at(10_000, 200_000), None, "grace"
).then(at(10_000, 200_000), WAKE, "grace", emit=[{"state": "grace"}], timers={"next": None, "deadline": None}, send=[beat(2)]).then(
    at(10_100, 200_100), renewed(2, resumed=True), "held", emit=[{"state": "held", "resumed": True}],
    timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]},
)
v("after a shorter sleep a heartbeat goes out, and nothing is emitted", [44]).held().then(
    at(10_000, 40_000), WAKE, "held", timers={"next": None}, send=[beat(2)]
)
v("a wake right after a heartbeat does nothing", [44]).held().then(900, WAKE, "held")
v("a wake aborts a heartbeat that hung during the sleep", [44]).beating().then(
    at(21_000, 50_000), WAKE, "held", abort=2, send=[beat(3, fresh=True, timeout=5_000)]
)
v("a wake waits for a younger heartbeat", [44]).beating().then(22_000, WAKE, "held")
v("a wall clock that is set back changes nothing", [45]).held().then(at(18_000, -3_582_000), NEXT, "held", send=[beat(2)]).then(
    at(18_100, -3_581_900), renewed(2), "held", timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]}
).then(at(77_999, -3_522_001), None, "held").then(at(78_000, -3_522_000), None, "grace")
v("a wall clock that is set forward means grace until the next answer", [45]).held().then(
    at(10_000, 3_610_000), WAKE, "grace", emit=[{"state": "grace"}], timers={"next": None, "deadline": None}, send=[beat(2)]
).then(
    at(10_100, 3_610_100), renewed(2), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]}
)
v("a stopped process is not sure in its first instant", [46]).held().then(180_000, None, "grace").then(
    180_000, NEXT, "grace", emit=[{"state": "grace"}], timers={"deadline": None}, send=[beat(2)]
).then(180_100, problem(2, "lease_expired"), "lost", emit=[said("lost", "lease_expired")], done=True)
v("a late timer counts as a sleep", [47]).held().then(
    70_000, NEXT, "grace", emit=[{"state": "grace"}], timers={"deadline": None}, send=[beat(2)]
)
v("an early timer is started again", [45]).held().then(59_000, DEADLINE, "held", timers={"deadline": [1_000, 1_000]})
grace = v("held, unstable, grace and lost come at the exact instants", [48])
grace.held(outage_grace_ms=10_000).do(20_000, NEXT).then(
    28_000, failed(2), "unstable", emit=[{"state": "unstable", "code": "unreachable"}], timers={"next": FIRST}
).then(59_999, None, "unstable").then(60_000, None, "grace").then(
    60_000, DEADLINE, "grace", emit=[{"state": "grace", "code": "unreachable"}], timers={"deadline": [10_000, 10_000]}
).then(69_999, None, "grace").then(70_000, None, "lost").then(
    70_000, DEADLINE, "lost", emit=[{"state": "lost", "code": "outage_grace_over"}]
)
v("with a grace of 0 the seat is lost at the end of the lease", [48]).beating(outage_grace_ms=0).then(59_999, None, "held").then(60_000, None, "lost").then(
    60_000, DEADLINE, "lost", emit=[{"state": "lost", "code": "outage_grace_over"}]
)
v("grace without limit", [48]).beating(outage_grace_ms=None).then(
    60_000, DEADLINE, "grace", emit=[{"state": "grace"}]
).then(86_400_000, None, "grace")
v("a server without outage_grace_ms sets no limit", [48]).beating().then(60_000, DEADLINE, "grace", emit=[{"state": "grace"}]).then(
    86_400_000, None, "grace"
)
v("a client may set a shorter grace", [48], max_grace_ms=5_000).beating(outage_grace_ms=10_000).then(
    60_000, DEADLINE, "grace", emit=[{"state": "grace"}], timers={"deadline": [5_000, 5_000]}
).then(65_000, DEADLINE, "lost", emit=[{"state": "lost", "code": "outage_grace_over"}])
v("a client may set a grace where the server sets none", [48], max_grace_ms=0).beating().then(
    60_000, DEADLINE, "lost", emit=[{"state": "lost", "code": "outage_grace_over"}]
)
v("a client cannot set a longer grace", [48], max_grace_ms=60_000).beating(outage_grace_ms=10_000).then(
    60_000, DEADLINE, "grace", emit=[{"state": "grace"}], timers={"deadline": [10_000, 10_000]}
)
v("a new grace counts from the next renewal", [48]).beating(outage_grace_ms=10_000).do(20_000, renewed(2, outage_grace_ms=1_000)).then(
    80_999, None, "grace"
).then(81_000, None, "lost")
v("after a sleep beyond the grace the seat is lost at once", [44, 48]).held(outage_grace_ms=10_000).then(
    at(10_000, 200_000), WAKE, "lost", emit=[{"state": "lost", "code": "outage_grace_over"}],
    timers={"next": None, "deadline": None}, send=[beat(2, grace_used_ms=10_000)],
)
over = v("after outage_grace_over heartbeats go on, and a renewal brings the seat back", [48]).beating(outage_grace_ms=10_000)
over.do(28_000, failed(2)).do(60_000, DEADLINE).do(70_000, DEADLINE).then(
    71_000, NEXT, "lost", send=[beat(3, fresh=True, grace_used_ms=10_000)]
).then(71_100, failed(3), "lost", timers={"next": [100, 2_000]}).then(
    73_000, NEXT, "lost", send=[beat(4, fresh=True, grace_used_ms=10_000)]
).then(
    73_000, renewed(4, resumed=True, outage_grace_ms=10_000), "held", emit=[{"state": "held", "resumed": True}], timers=HELD_TIMERS
)
v("after outage_grace_over an end is final", [48]).beating(outage_grace_ms=0).do(60_000, DEADLINE).then(
    61_000, problem(2, "lease_expired"), "lost", emit=[said("lost", "lease_expired")], done=True
)
v("after outage_grace_over a release is sent", [48, 51]).beating(outage_grace_ms=0).do(60_000, DEADLINE).then(
    61_000, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], abort=2, send=[end(3)]
)
v("after outage_grace_over an acquire sends nothing", [48]).beating(outage_grace_ms=0).do(60_000, DEADLINE).then(61_000, ACQUIRED, "lost")
v("the time in grace is reported once", [49]).held(outage_grace_ms=600_000).do(60_000, DEADLINE).then(
    65_000, NEXT, "grace", send=[beat(2, grace_used_ms=5_000)]
).then(
    65_000, renewed(2, outage_grace_ms=600_000), "held", emit=[{"state": "held"}], timers=HELD_TIMERS
).then(83_000, NEXT, "held", send=[beat(3)])
v("the time in grace is reported again after no answer", [49]).held(outage_grace_ms=600_000).do(60_000, DEADLINE).do(65_000, NEXT).then(
    66_000, failed(2), "grace", timers={"next": FIRST}
).then(66_500, NEXT, "grace", send=[beat(3, fresh=True, grace_used_ms=6_500)])
v("the time in grace that is reported is 31 days at most, where it has no limit", [49]).held(outage_grace_ms=None).do(60_000, DEADLINE).then(
    3_000_000_000, NEXT, "grace", send=[beat(2, grace_used_ms=2_678_400_000)]
)
v("a limit beyond 31 days changes nothing in that", [49]).held(outage_grace_ms=8_640_000_000).do(60_000, DEADLINE).then(
    3_000_000_000, NEXT, "grace", send=[beat(2, grace_used_ms=2_678_400_000)]
)
v("the time in grace is never more than the client's own limit", [49], max_grace_ms=5_000).held(outage_grace_ms=None).do(60_000, DEADLINE).then(
    70_000, NEXT, "lost", emit=[{"state": "lost", "code": "outage_grace_over"}],
    timers={"deadline": None}, send=[beat(2, grace_used_ms=5_000)],
)
v("the time in grace is not reported to a server without outage_grace_ms", [49]).held().do(60_000, DEADLINE).then(65_000, NEXT, "grace", send=[beat(2)])

# -------------------------------------------------------------------------------------------------------------------- end
v = file("end")
v("a release is one request, and no heartbeat follows", [50]).held().then(
    1_000, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], timers=GONE, send=[end(2)]
).then(1_100, answer(2, 204, None, {}), "released", done=True).then(20_000, NEXT, "released").then(20_000, WAKE, "released")
v("a release aborts a heartbeat in flight", [50]).beating().then(
    20_050, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], timers={"deadline": None}, abort=2, send=[end(3)]
).then(20_100, renewed(2, more={"token": "t2"}), "released").then(20_150, answer(3, 204, None, {}), "released", done=True)
v("two releases are one", [51]).held().do(1_000, RELEASED).then(1_010, RELEASED, "released").then(
    1_100, answer(2, 204, None, {}), "released", done=True
).then(1_200, RELEASED, "released")
v("a release after the loss does nothing", [51]).beating().do(20_100, problem(2, "lease_expired")).then(20_200, RELEASED, "lost")
v("a release before any acquire does nothing", [51]).then(0, RELEASED, "idle").then(1, CLOSED, "idle").then(2, CANCELLED, "idle")
v("a release after a denial does nothing", [51]).asking().do(100, problem(1, "pool_full")).then(200, RELEASED, "denied")
v("a release without an answer is tried three times", [51]).held().do(1_000, RELEASED).then(
    1_010, failed(2), "released", timers={"next": [100, 400]}
).then(1_300, NEXT, "released", send=[end(3, fresh=True)]).then(1_310, failed(3), "released", timers={"next": [100, 400]}).then(
    1_600, NEXT, "released", send=[end(4, fresh=True)]
).then(1_610, failed(4), "released", done=True)
v("the tries of a release end after three seconds", [51]).held().do(1_000, RELEASED).do(3_000, failed(2)).then(
    3_300, NEXT, "released", send=[end(3, fresh=True, timeout=700)]
).then(4_000, failed(3), "released", done=True)
for status in (500, 502, 503, 408, 429):
    v(f"{status} to a release is tried again", [51]).held().do(1_000, RELEASED).then(
        1_010, answer(2, status, None, HTML), "released", timers={"next": [100, 400]}
    )
for status in (200, 302, 400, 401, 404):
    v(f"{status} to a release is no error", [51]).held().do(1_000, RELEASED).then(
        1_010, answer(2, status, None, HTML), "released", done=True
    )
v("a release from grace", [50]).held().do(60_000, DEADLINE).then(
    61_000, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], timers={"next": None}, send=[end(2)]
)
v("close sends leave", [52]).held().then(
    1_000, CLOSED, "released", emit=[{"state": "released", "code": "closed"}], timers=GONE, send=[end(2, LEAVE)]
).then(1_100, answer(2, 204, None, {}), "released", done=True)
v("close is tried once", [52]).held().do(1_000, CLOSED).then(1_100, failed(2), "released", done=True)
v("a release cancels an acquire that waits for the last release", [51]).held().do(200, RELEASED).do(210, ACQUIRED).then(
    220, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}]
).then(250, answer(2, 204, None, {}), "released", done=True)
v("an acquire between two tries of a release sends the next at once", [17, 51]).held().do(200, RELEASED).do(210, failed(2)).then(
    220, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}], timers={"next": None}, send=[end(3, timeout=2_000, fresh=True)]
)
v("a child of a fork has no seat", [53]).held().then(
    1_000, FORKED, "lost", emit=[{"state": "lost", "code": "forked"}], done=True
).then(20_000, NEXT, "lost").then(20_000, DEADLINE, "lost").then(20_000, RELEASED, "lost")
v("a child of a fork ignores the answer to its parent", [53]).beating().then(
    20_010, FORKED, "lost", emit=[{"state": "lost", "code": "forked"}], done=True
).then(20_020, renewed(2), "lost")
v("a child of a fork has no place in the queue", [53]).waiting().then(200, FORKED, "lost", emit=[{"state": "lost", "code": "forked"}], done=True)
v("a fork without a seat loses none", [53]).then(0, FORKED, "idle")
v("no event holds a token or a ticket", [60], wait=True).asking().then(
    100, queued(1, reason="ok"), "waiting",
    emit=[{"state": "waiting", "position": 1, "eta_ms": 60_000, "retry_after_ms": 2_000, "reason": "ok"}], timers={"next": [950, 1_710]},
)

# ------------------------------------------------------------------------------------------------------------------- many
v = file("many")
RESULT = {"event": "result", "id": 2}
v("a result of many renews", [56]).beating().then(
    20_000, {**RESULT, "result": {"id": "L1", "status": "renewed", "expires_in_ms": 60_000}}, "held", timers=HELD_TIMERS
)
v("a result can bring renew_after_ms and a token", [56]).beating().then(
    20_000, {**RESULT, "result": {"id": "L1", "status": "renewed", "expires_in_ms": 30_000, "renew_after_ms": 10_000, "token": "t2"}},
    "held", timers={"next": [8_500, 10_000], "deadline": [30_000, 30_000]}, peek={"token": "t2"},
)
v("a result resumes", [42, 56]).beating().then(
    20_000, {**RESULT, "result": {"id": "L1", "status": "resumed", "expires_in_ms": 60_000}}, "held",
    emit=[{"state": "held", "resumed": True}], timers=HELD_TIMERS,
)
v("a result ends, with a reason", [37, 56]).beating().then(
    20_000, {**RESULT, "result": {"id": "L1", "status": "lost", "code": "lease_terminated", "reason": "Over."}}, "lost",
    emit=[{"state": "lost", "code": "lease_terminated", "reason": "Over."}], timers={"deadline": None}, done=True,
)
v("a result with lease_released is released", [39, 56]).beating().then(
    20_000, {**RESULT, "result": {"id": "L1", "status": "lost", "code": "lease_released"}}, "released",
    emit=[{"state": "released", "code": "lease_released"}], timers={"deadline": None}, done=True,
)
v("an invalid result without an id loses the seat", [57]).beating().then(
    20_000, {**RESULT, "result": {"status": "invalid"}}, "lost", emit=[{"state": "lost", "code": "invalid_token"}],
    timers={"deadline": None}, done=True,
)
for what, result in {
    "another id": {"id": "L2", "status": "lost", "code": "lease_expired"},
    "an unknown code": {"id": "L1", "status": "lost", "code": "sold"},
    "an unknown status": {"id": "L1", "status": "gone"},
    "no length": {"id": "L1", "status": "renewed"},
    "no object": "renewed",
    "nothing": None,
}.items():
    v(f"a result with {what} ends nothing", [56]).beating().then(
        20_000, {**RESULT, "result": result}, "unstable", emit=[{"state": "unstable", "code": "not_leasehold"}], timers={"next": FIRST}
    )
v("a notice in a result", [56]).beating().then(
    20_000, {**RESULT, "result": {"id": "L1", "status": "renewed", "expires_in_ms": 60_000, "notice": {"message": "M"}, "proof": "p"}},
    "held", timers=HELD_TIMERS, tell={"notice": {"message": "M"}}, peek={"proof": "p"},
)

# --------------------------------------------------------------------------------------------------------------- hand over
v = file("hand_over")
YIELD = {"event": "yield"}
REQUEST = {"event": "request"}
WANTED = {"requests": 1, "answer_in_ms": 60_000}


def hand_over(id, **more):
    return {"id": id, "path": "/v1/leases/yield", "body": {"token": "t1"}, "timeout_ms": 8_000, **more}


def request(id, ticket="k1"):
    return {"id": id, "path": "/v1/pools/crm/queue/request", "body": {"ticket": ticket}, "timeout_ms": 1_000}


def wanted(name, numbers, **options):
    """At 20 000 a heartbeat has said that somebody would like the seat."""
    return v(name, numbers, **options).beating().do(20_000, renewed(2, more={"seat_requested": WANTED}))


FIRST_POLL = [950, 1_710]  # Half of what is left of 2 000 ms, 100 ms after the request.
v("a heartbeat tells that somebody would like the seat", [69]).beating().then(
    20_000, renewed(2, more={"seat_requested": WANTED}), "held", timers=HELD_TIMERS, tell={"seat_requested": WANTED}
)
v("a result tells it, too", [56, 69]).beating().then(
    20_000, {**RESULT, "result": {"id": "L1", "status": "renewed", "expires_in_ms": 60_000, "seat_requested": WANTED}},
    "held", timers=HELD_TIMERS, tell={"seat_requested": WANTED},
)
wanted("the same request is told once", [69]).do(40_000, NEXT).then(
    40_000, renewed(3, more={"seat_requested": {"requests": 1, "answer_in_ms": 40_000}}), "held", timers=HELD_TIMERS
)
more = wanted("another request is told, and that none is open any more", [69]).do(40_000, NEXT).then(
    40_000, renewed(3, more={"seat_requested": {"requests": 2, "answer_in_ms": 60_001}}), "held", timers=HELD_TIMERS,
    tell={"seat_requested": {"requests": 2, "answer_in_ms": 60_001}},
)
more.do(60_000, NEXT).then(60_000, renewed(4), "held", timers=HELD_TIMERS, tell={"seat_requested": None})
more.do(80_000, NEXT).then(80_000, renewed(5), "held", timers=HELD_TIMERS)
for what, value in {"a text": "ann", "no time": {"requests": 1}, "a time that is none": {"answer_in_ms": -1}}.items():
    v(f"a request that is {what} is none", [69]).beating().then(20_000, renewed(2, more={"seat_requested": value}), "held", timers=HELD_TIMERS)

wanted("a seat is handed over", [70]).then(
    21_000, YIELD, "held", timers={"next": None}, send=[hand_over(3)]
).then(
    21_100, answer(3, 200, {"yielded": True}), "released", emit=[{"state": "released", "code": "handed_over"}], timers={"deadline": None}, done=True
)
v("a heartbeat under way is aborted for it", [70]).beating().then(20_500, YIELD, "held", abort=2, send=[hand_over(3, fresh=True)])
wanted("to hand over twice is one request", [70]).do(21_000, YIELD).then(21_050, YIELD, "held")
wanted("a seat that nobody wants any more stays, and a heartbeat follows", [70]).do(21_000, YIELD).then(
    21_100, answer(3, 409, {"code": "no_seat_request"}, PROBLEM), "held", timers={"next": [0, 100]}
).then(21_200, NEXT, "held", send=[beat(4)])
for what, event in {
    "no answer": failed(3), "a 503": answer(3, 503, {"code": "store_unavailable"}, PROBLEM), "a page of HTML": answer(3, 200, None, HTML),
    "an empty object": answer(3, 200, {}),
}.items():
    v(f"after {what} to it a heartbeat says whether the seat is still there", [70]).beating().do(20_000, renewed(2)).do(21_000, YIELD).then(
        21_100, event, "held", timers={"next": [0, 100]}
    ).then(21_200, NEXT, "held", send=[beat(4, fresh=what == "no answer")])
wanted("a seat that has gone meanwhile", [70]).do(21_000, YIELD).then(
    21_100, problem(3, "lease_released"), "released", emit=[said("released", "lease_released")], timers={"deadline": None}, done=True
)
wanted("with reacquire, a seat that was handed over is not asked for again", [70], reacquire=True).do(21_000, YIELD).then(
    21_100, answer(3, 200, {"yielded": True}), "released", emit=[{"state": "released", "code": "handed_over"}], timers={"deadline": None}, done=True
)
wanted("a release while it is handed over", [50, 70]).do(21_000, YIELD).then(
    21_050, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], timers={"deadline": None}, abort=3, send=[end(4)]
)
v("without a seat there is nothing to hand over", [70]).asking().then(50, YIELD, "acquiring")
v("a seat that was lost cannot be handed over", [70]).beating().do(20_000, problem(2, "lease_terminated")).then(21_000, YIELD, "lost")

v("who waits can ask for a seat", [69], wait=True, request=True).asking().then(
    100, queued(1, can_request=True), "waiting", emit=[{"state": "waiting", "position": 1, "eta_ms": 60_000, "retry_after_ms": 2_000}],
    timers={"next": FIRST_POLL}, send=[request(2)],
)
v("and does so once for each ticket", [69], wait=True, request=True).asking().do(100, queued(1, can_request=True)).then(
    150, answer(2, 200, {"requested": True, "answer_in_ms": 60_000}), "waiting"
).do(2_000, NEXT).then(2_100, queued(3, can_request=True), "waiting", timers={"next": FIRST_POLL})
v("a request that got no answer is made again with the next place", [69], wait=True, request=True).asking().do(100, queued(1, can_request=True)).then(
    1_100, failed(2), "waiting"
).do(2_000, NEXT).then(2_100, queued(3, can_request=True), "waiting", timers={"next": FIRST_POLL}, send=[request(4)])
v("one that was refused is not", [69], wait=True, request=True).asking().do(100, queued(1, can_request=True)).then(
    150, answer(2, 409, {"code": "hand_over_off"}, PROBLEM), "waiting"
).do(2_000, NEXT).then(2_100, queued(3, can_request=True), "waiting", timers={"next": FIRST_POLL})
v("where nobody can be asked, nobody is", [69], wait=True, request=True).asking().then(
    100, queued(1), "waiting", emit=[{"state": "waiting", "position": 1, "eta_ms": 60_000, "retry_after_ms": 2_000}], timers={"next": FIRST_POLL}
)
v("who waits can decide later to ask", [69], wait=True).asking().do(100, queued(1, can_request=True)).then(
    500, REQUEST, "waiting", send=[request(2)]
).then(600, REQUEST, "waiting")
v("with a seat there is nobody to ask", [69]).held().then(500, REQUEST, "held")

# ------------------------------------------------------------------------------------------------------------------- idle
v = file("idle")
AT = "2026-11-29T12:00:00.000Z"
ENDING = {"in_ms": 90_000, "reason": "idle", "then": "yield"}
LONG = {"in_ms": 90_000, "reason": "max_hold", "then": "end"}


def after(idle_ms, event):
    """The answer to a request that reported how long nobody did anything."""
    return {**event, "idle_ms": idle_ms}


def away(name, numbers, at=AT, **options):
    """At 20 100 a heartbeat has said that nobody did anything for 20 000 ms."""
    return v(name, numbers, **options).held(active_at=None).do(20_000, NEXT).do(20_100, after(20_000, renewed(2, active_at=at)))


def evicted(name, numbers, reason="idle", **options):
    """At 40 100 the seat has ended because nobody used it."""
    return away(name, numbers, **options).do(40_000, NEXT).do(40_100, problem(3, "lease_evicted", reason=reason))


v("a heartbeat to a server that knows nothing of idle time says nothing of it", [64, 68]).held().then(20_000, NEXT, "held", send=[beat(2)])
v("a heartbeat can report how long nobody did anything", [64]).held(active_at=None).then(20_000, NEXT, "held", send=[beat(2, idle=True)]).then(
    20_100, after(19_000, renewed(2, active_at=AT)), "held", timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]}, peek={"away": False}
)
v("a heartbeat with something to report can say it, too", [64]).held(active_at=None).do(1_000, {"event": "report", "activities": ["A"]}).then(
    1_500, NEXT, "held", send=[beat(2, idle=True, activities=["A"])]
)
v("a heartbeat in grace can say it, too", [64]).held(active_at=None, outage_grace_ms=None).do(60_000, DEADLINE).then(
    61_000, NEXT, "grace", send=[beat(2, idle=True, grace_used_ms=1_000)]
)
v("an adopted token says nothing of idle time before its first answer", [64]).then(
    0, {"event": "adopt", "token": "t9"}, "acquiring", emit=[{"state": "acquiring"}], send=[beat(1, "t9")]
).do(0, renewed(1, active_at=None)).then(20_000, NEXT, "held", send=[beat(2, "t9", idle=True)])
v("a place in the queue is asked for without it", [64], wait=True).waiting().then(1_500, NEXT, "waiting", send=[poll(2)])
away("after a heartbeat that said so the user is away", [65]).then(20_200, None, "held", peek={"away": True})
away("who comes back is told to the server at once", [65]).then(
    25_000, ACTIVE, "held", timers={"next": None}, send=[beat(3, idle=True)]
).then(25_100, after(100, renewed(3, active_at=AT)), "held", peek={"away": False}, timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]}).then(
    26_000, ACTIVE, "held"
)
v("activity of somebody who was not away sends nothing", [65]).held(active_at=None).do(20_000, NEXT).do(
    20_100, after(19_999, renewed(2, active_at=AT))
).then(25_000, ACTIVE, "held", peek={"away": False})
v("activity before the first heartbeat sends nothing", [65]).held(active_at=AT).then(5_000, ACTIVE, "held")
v("activity after a heartbeat that said nothing of it sends nothing", [65]).held(active_at=AT).do(20_000, NEXT).do(
    20_100, renewed(2, active_at=AT)
).then(25_000, ACTIVE, "held", peek={"away": False})
away("in a pool without the policy nobody is away", [65], at=None).then(25_000, ACTIVE, "held", peek={"away": False})
v("with rare heartbeats a minute is enough to be away", [65]).held(active_at=None, renew_after_ms=300_000, ttl=900_000).do(250_000, NEXT).do(
    250_000, after(60_000, renewed(2, active_at=AT, renew_after_ms=300_000, ttl=900_000))
).then(251_000, ACTIVE, "held", timers={"next": None}, send=[beat(3, idle=True)])
away("who comes back during a heartbeat is told by the next, which follows at once", [65]).do(40_000, NEXT).then(40_010, ACTIVE, "held").then(
    40_020, after(39_900, renewed(3, active_at=AT)), "held", timers={"next": [0, 0], "deadline": [59_980, 59_980]}
).then(40_020, NEXT, "held", send=[beat(4, idle=True)])
away("a heartbeat that said it already is enough", [65]).do(40_000, NEXT).do(40_010, ACTIVE).then(
    40_020, after(5, renewed(3, active_at=AT)), "held", timers={"next": [17_000, 20_000], "deadline": [59_980, 59_980]}
)
away("activity in an outage does not send more", [65]).do(40_000, NEXT).do(48_000, failed(3)).then(48_100, ACTIVE, "unstable")
v("activity in an outage does not send more, also when the end is near", [65, 66]).beating().do(20_000, renewed(2, more={"ends": ENDING})).do(
    40_000, NEXT
).do(48_000, failed(3)).then(48_100, ACTIVE, "unstable")
away("a wish to report goes along", [65]).do(24_900, {"event": "report", "activities": ["A"]}).then(
    25_000, ACTIVE, "held", timers={"next": None}, send=[beat(3, idle=True, activities=["A"])]
)
v("an end that is near is told, and that it is no longer", [66]).held(active_at=None).do(20_000, NEXT).then(
    20_000, after(20_000, renewed(2, active_at=AT, renew_after_ms=10_000, more={"ends": ENDING})), "held", tell={"ending": ENDING},
    timers={"next": [8_500, 10_000], "deadline": [60_000, 60_000]},
).then(25_000, ACTIVE, "held", timers={"next": None}, send=[beat(3, idle=True)]).then(
    25_000, after(0, renewed(3, active_at=AT)), "held", tell={"ending": None}, timers=HELD_TIMERS
).do(45_000, NEXT).then(45_000, renewed(4, active_at=AT), "held", timers=HELD_TIMERS)
v("an end that is near is told with each heartbeat", [66]).beating().do(20_000, renewed(2, more={"ends": ENDING})).do(40_000, NEXT).then(
    40_000, renewed(3, more={"ends": {**ENDING, "in_ms": 70_000}}), "held", tell={"ending": {**ENDING, "in_ms": 70_000}}, timers=HELD_TIMERS
)
v("an end that is near is told by a result", [56, 66]).beating().then(
    20_000, {"event": "result", "id": 2, "result": {"id": "L1", "status": "renewed", "expires_in_ms": 60_000, "ends": ENDING}}, "held",
    timers=HELD_TIMERS, tell={"ending": ENDING}, peek={"away": True},
)
v("a result can say that the pool wants to know of idle time", [56, 64]).beating().do(
    20_000, {"event": "result", "id": 2, "result": {"id": "L1", "status": "renewed", "expires_in_ms": 60_000, "active_at": None}}
).then(40_000, NEXT, "held", send=[beat(3, idle=True)])
v("who is told that an idle seat ends is away", [65, 66]).beating().do(20_000, renewed(2, more={"ends": ENDING})).then(
    21_000, ACTIVE, "held", timers={"next": None}, send=[beat(3)]
)
v("activity does not hinder the end of a seat that was held for long", [66]).beating().do(20_000, renewed(2, more={"ends": LONG})).then(
    21_000, ACTIVE, "held", peek={"away": False}
)
for what, ends in {"a list": [1], "a word": "soon", "no time": {"reason": "idle", "then": "end"}, "a time that is past": {**ENDING, "in_ms": -1}}.items():
    v(f"an end that is near, told as {what}, is ignored", [9, 66]).beating().then(20_000, renewed(2, more={"ends": ends}), "held", timers=HELD_TIMERS)
for reason in ("idle", "max_hold"):
    evicted(f"a seat that ended as {reason} is lost", [38, 67], reason).then(40_200, ACTIVE, "lost", peek={"away": False}).then(60_000, NEXT, "lost")
    evicted(f"with reacquire the first activity after {reason} asks for a new seat, and nothing before", [67], reason, reacquire=True).then(
        40_200, None, "lost", peek={"away": True}
    ).then(60_000, NEXT, "lost").then(60_000, WAKE, "lost").then(99_000, {"event": "report", "activities": ["A"]}, "lost").then(
        100_000, ACTIVE, "acquiring", emit=[{"state": "acquiring"}], send=[ask(4, acquisition=2, body={"holder": "ann", "activities": ["A"]})]
    ).then(
        100_100, granted(4, token="t2", id="L2"), "held", emit=[{"state": "held"}], timers={"next": [17_000, 20_000], "deadline": [59_900, 59_900]},
        peek={"away": False, "token": "t2"},
    )
away("the end of an idle seat says why", [67], reacquire=True).do(40_000, NEXT).then(
    40_100, problem(3, "lease_evicted", reason="idle"), "lost", emit=[said("lost", "lease_evicted", reason="idle")], timers={"deadline": None}
)
v("the end of an idle seat in a result", [56, 67], reacquire=True).beating().then(
    20_000, {"event": "result", "id": 2, "result": {"id": "L1", "status": "lost", "code": "lease_evicted", "reason": "idle"}}, "lost",
    emit=[{"state": "lost", "code": "lease_evicted", "reason": "idle"}], timers={"deadline": None},
).then(30_000, ACTIVE, "acquiring", emit=[{"state": "acquiring"}], send=[ask(3, acquisition=2)])
evicted("an eviction for another reason is final", [38, 67], "capacity", reacquire=True).then(50_000, ACTIVE, "lost", peek={"away": False})
evicted("a release ends the wait for activity", [50, 67], reacquire=True).then(
    50_000, RELEASED, "released", emit=[{"state": "released", "code": "lease_released"}], done=True
).then(51_000, ACTIVE, "released")
evicted("a close ends the wait for activity", [52, 67], reacquire=True).then(
    50_000, CLOSED, "released", emit=[{"state": "released", "code": "closed"}], done=True
)
evicted("a cancel does not end the wait for activity", [15, 67], reacquire=True).then(50_000, CANCELLED, "lost")
evicted("an acquire does not wait for activity", [67], reacquire=True).then(
    50_000, ACQUIRED, "acquiring", emit=[{"state": "acquiring"}], send=[ask(4, acquisition=2)]
)
evicted("the child of a fork does not wait for activity", [53, 67], reacquire=True).then(50_000, FORKED, "lost", done=True).then(51_000, ACTIVE, "lost")
evicted("a denial of the new seat is final", [67], reacquire=True).do(50_000, ACTIVE).then(
    50_100, problem(4, "pool_full"), "denied", emit=[said("denied", "pool_full")], done=True
).then(51_000, ACTIVE, "denied")
v("an adopted token of an idle seat is replaced at once with reacquire", [67], reacquire=True).do(0, {"event": "adopt", "token": "t9"}).then(
    100, problem(1, "lease_evicted", reason="idle"), "acquiring", send=[ask(2)]
)
v("an ask that is refused for its idle time is sent without it", [68]).asking().then(
    100, after(5_000, problem(1, "invalid_request")), "acquiring", send=[ask(2, idle=False)]
).then(200, problem(2, "invalid_request"), "denied", emit=[said("denied", "invalid_request")], done=True)
v("an ask that said nothing of idle time is refused for another reason", [7, 68]).asking().then(
    100, problem(1, "invalid_request"), "denied", emit=[said("denied", "invalid_request")], done=True
)
v("a heartbeat that is refused for its idle time is sent without it", [68]).held(active_at=None).do(20_000, NEXT).then(
    20_100, after(20_000, problem(2, "invalid_request")), "held", timers={"next": [0, 100]}
).then(20_150, NEXT, "held", send=[beat(3)]).then(20_200, renewed(3), "held", timers={"next": [17_000, 20_000], "deadline": [59_950, 59_950]}).then(
    40_000, NEXT, "held", send=[beat(4)]
)
v("what else a refused heartbeat had to report is reported again", [68]).held(active_at=None).do(
    1_000, {"event": "report", "activities": ["A"]}
).do(1_500, NEXT).do(1_600, after(9, problem(2, "invalid_request"))).then(1_650, NEXT, "held", send=[beat(3, activities=["A"])])
v("after an answer that knows of idle time the next heartbeat says it again", [68]).held(active_at=None).do(20_000, NEXT).do(
    20_100, after(20_000, problem(2, "invalid_request"))
).do(20_150, NEXT).do(20_200, renewed(3, active_at=None)).then(40_000, NEXT, "held", send=[beat(4, idle=True)])
v("a refused result is sent alone without it", [56, 68]).held(active_at=None).do(20_000, NEXT).then(
    20_100, {"event": "answer", "id": 2, "status": 400, "headers": PROBLEM, "body": problem(2, "invalid_request")["body"], "idle_ms": 7}, "held",
    timers={"next": [0, 100]},
)

BATCH = []


def batch(name, ids, status, body, events, headers=JSON):
    BATCH.append({"name": name, "scenarios": [56, 57], "ids": ids, "status": status, "headers": headers, "body": body, "events": events})


three = [{"id": "A", "status": "renewed", "expires_in_ms": 1}, {"status": "invalid"}, {"id": "C", "status": "lost", "code": "lease_expired"}]
batch("results go to their heartbeats, in order", [7, 3, 9], 200, {"results": three},
      [{"event": "result", "id": id, "result": result} for id, result in zip([7, 3, 9], three)])
for what, status, body, headers in [
    ("too few results", 200, {"results": three[:2]}, JSON), ("no results", 200, {}, JSON), ("HTML", 200, None, HTML), ("a list", 200, three, JSON),
    ("results that are no list", 200, {"results": {"0": 1}}, JSON), ("404 with HTML", 404, None, HTML),
]:
    batch(f"{what}: nobody is ended", [1, 2, 3], status, body, [answer(id, status, None, headers) for id in (1, 2, 3)], headers)
for code in ("lease_expired", "invalid_token", "pool_not_found"):
    whole = problem(0, code)
    batch(f"{code} for all of them ends nobody", [1, 2], whole["status"], whole["body"],
          [answer(id, whole["status"], None, PROBLEM) for id in (1, 2)], PROBLEM)
whole = problem(0, "store_unavailable", retry_after_ms=1_000)
batch("a 503 is for each of them", [1, 2], 503, whole["body"], [{**whole, "id": id} for id in (1, 2)], PROBLEM)


def tidy(vector):
    """`timers=None` in a table above stands for none at all."""
    vector = vector.json()
    for step in vector["steps"]:
        then = step.get("then", {})
        if "timers" in then and then["timers"] is None:
            del then["timers"]
    return vector


def main():
    texts = {name: [tidy(vector) for vector in vectors] for name, vectors in FILES.items()}
    texts["batch"] = BATCH
    stale = []
    for name, vectors in texts.items():
        names = [vector["name"] for vector in vectors]
        assert len(set(names)) == len(names), f"{name}: two vectors have one name"
        lines = ",\n".join("  " + json.dumps(vector, ensure_ascii=False, separators=(", ", ": ")) for vector in vectors)
        text = f'{{"spec": 2, "vectors": [\n{lines}\n]}}\n'
        path = HERE / "machine" / f"{name}.json"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not as make_machine.py writes them: {', '.join(stale)}")
    if "--check" not in sys.argv:
        print(sum(map(len, texts.values())), "vectors")


main()
