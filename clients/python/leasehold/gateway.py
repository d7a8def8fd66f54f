"""Seats that a web backend holds for the users who are logged in to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .client import AcquireOptions, Client, Seat
from .errors import SeatError, SeatLost
from .machine import UNUSED

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Gateway:
    """One seat for each session of a product.

    ``tokens`` is where the secrets of the leases are kept over a restart: any mapping from session to token, such as a table.
    With it the seats stay when the program ends, for the next start of it; without they are released. Beyond 20 seats the heartbeats go out together, up to 500 in one request.
    """

    def __init__(
        self,
        client: Client,
        pool: str,
        *,
        tokens: MutableMapping[str, str] | None = None,
        on_lost: Callable[[str, SeatLost], None] | None = None,
    ) -> None:
        self.client, self.pool, self.on_lost = client, pool, on_lost
        self._tokens: MutableMapping[str, str] = {} if tokens is None else tokens
        self._keeps = tokens is not None
        self._seats: dict[str, Seat] = {}
        self._lock = threading.Lock()
        self._logins: set[str] = set()
        self._login_ended = threading.Condition(self._lock)

    def __len__(self) -> int:
        return len(self._seats)

    def restore(self, *, timeout: float | None = 30.0) -> int:
        """After a restart: goes on with all seats whose tokens were kept. How many there are.

        A token is forgotten if its lease has ended, and stays if no server answered within the time: call this again then.
        """
        kept = [(session, token, timeout) for session, token in self._tokens.items() if session not in self._seats]
        with ThreadPoolExecutor(16, thread_name_prefix="leasehold restore") as pool:
            list(pool.map(self._restore, kept))
        return len(self)

    def login(self, session: str, **options: Unpack[AcquireOptions]) -> Seat:
        """A seat for this session, the one that it has or a new one. Raises :class:`SeatError`; options as in acquire.

        Calls for one session wait for each other.
        """
        with self._login_ended:
            while session in self._logins:
                self._login_ended.wait()
            self._logins.add(session)
        try:
            return self._login(session, options)
        finally:
            with self._login_ended:
                self._logins.discard(session)
                self._login_ended.notify_all()

    def _login(self, session: str, options: AcquireOptions) -> Seat:
        with self._lock:
            seat = self._seats.get(session)
        if seat is not None and seat.state in ("held", "unstable", "grace"):
            return seat
        if seat is not None:
            seat.release()  # It may still hope to come back.
        seat = self.client.acquire(self.pool, **options)
        seat.listen(self._listener(session, options.get("reacquire", False)))
        seat._keep, seat._outlives = self._saver(session), self._keeps
        with self._lock:
            self._seats[session] = seat
        self._keep(session, seat, seat.token)
        return seat

    def check(self, session: str) -> Seat:
        """For each request of a user: the seat, or :class:`SeatLost`."""
        seat = self._seats.get(session)
        if seat is None:
            raise SeatLost("lease_released")
        seat.check()
        return seat

    def touch(self, session: str) -> None:
        """The user of this session did something just now; see :meth:`Seat.touch`."""
        seat = self._seats.get(session)
        if seat is not None:
            seat.touch()

    def logout(self, session: str) -> None:
        """Gives the seat of this session back."""
        with self._lock:
            seat = self._seats.pop(session, None)
            self._tokens.pop(session, None)
        if seat is not None:
            seat.release()

    def _restore(self, kept: tuple[str, str, float | None]) -> None:
        session, token, timeout = kept
        try:
            seat = self.client.adopt(self.pool, token, timeout=timeout, on_event=self._listener(session, False))
        except SeatError as error:
            if isinstance(error, SeatLost) or error.code == "lease_released":  # Else the server was away, and the seat may still be there.
                with self._lock:
                    self._tokens.pop(session, None)
            return
        seat._keep, seat._outlives = self._saver(session), self._keeps
        with self._lock:
            self._seats[session] = seat
        self._keep(session, seat, seat.token)

    def _saver(self, session: str) -> Callable[[Seat, str], None]:
        return lambda seat, token: self._keep(session, seat, token)

    def _keep(self, session: str, seat: Seat, token: str | None) -> None:
        with self._lock:
            if token and self._seats.get(session) is seat and self._tokens.get(session) != token:
                self._tokens[session] = token

    def _listener(self, session: str, reacquire: bool) -> Callable[[Seat, dict[str, Any]], None]:
        back = {"outage_grace_over", *(("lease_expired", "invalid_token") if reacquire else ())}

        def told(seat: Seat, event: dict[str, Any]) -> None:
            if event["state"] not in ("lost", "denied") or self._seats.get(session) is not seat:
                return
            unused = reacquire and event["code"] == "lease_evicted" and event.get("reason") in UNUSED
            if event["state"] == "denied" or not (event["code"] in back or unused):  # From those it may come back.
                with self._lock:
                    if self._seats.get(session) is seat:
                        del self._seats[session]
                        self._tokens.pop(session, None)
            if self.on_lost is not None:
                self.on_lost(session, SeatLost(event["code"], event))

        return told
