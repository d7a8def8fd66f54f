"""A product whose users hold the seats of a pool while they are logged in, in any number of processes: docs/backend.md.

    SEATS_URL=… SEATS_KEY=… SEATS_CHECK_KEY=… uvicorn app:app --workers 4

What is its own log-in is left out. Each process keeps the seats of those who logged in to it, and asks the server about the others.
"""

import fcntl
import itertools
import json
import os
import secrets
import sqlite3
import time
import urllib.request
from collections.abc import Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Annotated

import leasehold
from fastapi import Body, Cookie, Depends, FastAPI, HTTPException, Response

URL, KEY, CHECK_KEY = os.environ["SEATS_URL"], os.environ["SEATS_KEY"], os.environ["SEATS_CHECK_KEY"]
POOL, DATA = os.environ.get("POOL", "demo"), os.environ.get("DATA", ".")

db = sqlite3.connect(f"{DATA}/seats.db", timeout=10, isolation_level=None, check_same_thread=False)
db.execute("PRAGMA journal_mode = WAL")
db.execute("CREATE TABLE IF NOT EXISTS seats (session TEXT PRIMARY KEY, process INT, token TEXT, lease TEXT, fence INT)")


def my_number() -> int:
    """The lowest that no other process has. Whoever has it after a restart continues with its seats; a lock ends with its process."""
    for number in itertools.count():
        lock = open(f"{DATA}/process-{number}.lock", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            locks.append(lock)
            return number


class Tokens(MutableMapping[str, str]):
    """The table, as far as it is this process's. Tokens are secrets: whoever can read it has the seats."""

    def __getitem__(self, session: str) -> str:
        row = db.execute("SELECT token FROM seats WHERE session = ? AND process = ?", (session, number)).fetchone()
        if row is None:
            raise KeyError(session)
        return row[0]

    def __setitem__(self, session: str, token: str) -> None:
        db.execute(
            "INSERT INTO seats (session, process, token) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET token = ?3", (session, number, token)
        )

    def __delitem__(self, session: str) -> None:
        db.execute("DELETE FROM seats WHERE session = ?", (session,))

    def __iter__(self) -> Iterator[str]:
        return iter([row[0] for row in db.execute("SELECT session FROM seats WHERE process = ?", (number,))])

    def __len__(self) -> int:
        return db.execute("SELECT count(*) FROM seats WHERE process = ?", (number,)).fetchone()[0]


locks: list = []
number = -1
seats = leasehold.Gateway(leasehold.Client(URL, KEY), POOL, tokens=Tokens())
known: dict[str, float] = {}  # Until when it is known that a session has a seat in another process.


@asynccontextmanager
async def lifespan(_: FastAPI):
    global number
    number = my_number()
    seats.restore(timeout=10)
    yield  # The seats stay: the next process continues with them.


app = FastAPI(lifespan=lifespan)


def refused(error: leasehold.SeatError) -> HTTPException:
    status = 401 if isinstance(error, leasehold.SeatLost) else 503 if error.is_temporary else 403
    headers = {"retry-after": str(int(error.retry_after) + 1)} if error.retry_after else None
    return HTTPException(status, {"code": error.code, "detail": error.detail, "reason": error.reason}, headers)


def is_held_elsewhere(session: str) -> bool:
    if time.monotonic() < known.get(session, 0):
        return True
    row = db.execute("SELECT lease, fence FROM seats WHERE session = ? AND process <> ?", (session, number)).fetchone()
    if row is None:
        return False
    asked = json.dumps({"pool": POOL, "id": row[0], "fence": row[1]}).encode()
    headers = {"authorization": f"Bearer {CHECK_KEY}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{URL}/v1/leases/check", asked, headers), timeout=5) as answer:
        said = json.load(answer)
    known.pop(session, None)
    if said["active"]:
        known[session] = time.monotonic() + said["cache_ms"] / 1_000
    return said["active"]


def has_seat(session: Annotated[str, Cookie()] = "") -> str:
    """For each request. A seat of this process needs no request to the server."""
    try:
        seats.check(session)
    except leasehold.SeatLost as error:
        if not is_held_elsewhere(session):
            raise refused(error) from None
    return session


@app.post("/login", status_code=204)
def login(user: Annotated[str, Body(embed=True)], response: Response) -> None:
    session = secrets.token_urlsafe(16)
    try:
        seat = seats.login(session, holder=user, timeout=10)
    except leasehold.SeatError as error:  # pool_full, holder_blocked, unreachable …
        raise refused(error) from None
    db.execute("UPDATE seats SET lease = ?, fence = ? WHERE session = ?", (seat.id, seat.fence, session))
    response.set_cookie("session", session, httponly=True, samesite="lax")


@app.get("/work")
def work(_: Annotated[str, Depends(has_seat)]) -> dict:
    return {"process": number}


@app.post("/logout", status_code=204)
def logout(session: Annotated[str, Depends(has_seat)], response: Response) -> None:
    row = db.execute("SELECT token FROM seats WHERE session = ? AND process <> ?", (session, number)).fetchone()
    if row is not None:
        seats.client.adopt(POOL, row[0], timeout=10).release()  # The other process hears it with its next heartbeat.
        known.pop(session, None)
    seats.logout(session)
    db.execute("DELETE FROM seats WHERE session = ?", (session,))
    response.delete_cookie("session")
