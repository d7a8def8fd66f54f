"""Seats that a web backend holds for the users who are logged in to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .client import AcquireOptions, Client, Seat
from .errors import SeatError, SeatLost

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Gateway:
    """One seat for each session of a product.

    ``tokens`` is where the secrets of the leases are kept over a restart: any mapping from session to token, such as a table.
    Without one a restart leaves the seats to run out. Beyond 20 seats the heartbeats go out together, up to 500 in one request.
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
        self._seats: dict[str, Seat] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._seats)

    def restore(self) -> int:
        """After a restart: goes on with all seats whose tokens were kept. How many there are."""
        with ThreadPoolExecutor(16, thread_name_prefix="leasehold restore") as pool:
            return sum(pool.map(self._restore, list(self._tokens.items())))

    def login(self, session: str, **options: Unpack[AcquireOptions]) -> Seat:
        """A seat for this session, the one that it has or a new one. Raises :class:`SeatError`; options as in acquire."""
        with self._lock:
            seat = self._seats.get(session)
        if seat is not None and seat.state in ("held", "unstable", "grace"):
            return seat
        if seat is not None:
            seat.release()  # It may still hope to come back.
        seat = self.client.acquire(self.pool, **options)
        seat.listen(self._listener(session))
        seat._keep = self._saver(session)
        with self._lock:
            first = self._seats.setdefault(session, seat)
            if first is not seat and first.state not in ("held", "unstable", "grace"):
                first = self._seats[session] = seat
        if first is not seat:
            seat.release()  # Another thread was faster.
        self._keep(session, first, first.token)
        return first

    def check(self, session: str) -> Seat:
        """For each request of a user: the seat, or :class:`SeatLost`."""
        seat = self._seats.get(session)
        if seat is None:
            raise SeatLost("lease_released")
        seat.check()
        return seat

    def logout(self, session: str) -> None:
        """Gives the seat of this session back."""
        with self._lock:
            seat = self._seats.pop(session, None)
            self._tokens.pop(session, None)
        if seat is not None:
            seat.release()

    def _restore(self, kept: tuple[str, str]) -> bool:
        session, token = kept
        try:
            seat = self.client.adopt(self.pool, token, on_event=self._listener(session))
        except SeatError:
            with self._lock:
                self._tokens.pop(session, None)
            return False
        seat._keep = self._saver(session)
        with self._lock:
            self._seats[session] = seat
        self._keep(session, seat, seat.token)
        return True

    def _saver(self, session: str) -> Callable[[Seat, str], None]:
        return lambda seat, token: self._keep(session, seat, token)

    def _keep(self, session: str, seat: Seat, token: str | None) -> None:
        with self._lock:
            if token and self._seats.get(session) is seat and self._tokens.get(session) != token:
                self._tokens[session] = token

    def _listener(self, session: str) -> Callable[[Seat, dict[str, Any]], None]:
        def told(seat: Seat, event: dict[str, Any]) -> None:
            if event["state"] != "lost":
                return
            if event["code"] != "outage_grace_over":  # From that one it may come back.
                with self._lock:
                    if self._seats.get(session) is seat:
                        del self._seats[session]
                        self._tokens.pop(session, None)
            if self.on_lost is not None:
                self.on_lost(session, SeatLost(event["code"], event))

        return told
