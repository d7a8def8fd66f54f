"""The same for asyncio. The seats are kept by the same thread, so a loop that is blocked costs nobody a seat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .client import EXIT_S, AcquireOptions, Client, Key, Seat
from .errors import SeatLost

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncSeat:
    """A seat, for tasks. ``async with`` cancels the block when the seat is lost, and raises :class:`SeatLost` after it."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        seat._watchers.append(self._told)

    state = property(lambda self: self._seat.state, doc=Seat.state.__doc__)
    code = property(lambda self: self._seat.code, doc=Seat.code.__doc__)
    sure = property(lambda self: self._seat.sure, doc=Seat.sure.__doc__)
    lease = property(lambda self: self._seat.lease, doc=Seat.lease.__doc__)
    id = property(lambda self: self._seat.id, doc=Seat.id.__doc__)
    fence = property(lambda self: self._seat.fence, doc=Seat.fence.__doc__)
    proof = property(lambda self: self._seat.proof, doc=Seat.proof.__doc__)
    token = property(lambda self: self._seat.token, doc=Seat.token.__doc__)

    def __repr__(self) -> str:
        return repr(self._seat)

    def check(self) -> None:
        """Raises :class:`SeatLost` if work has to stop."""
        self._seat.check()

    def report(self, *, activities: Iterable[str] | None = None, label: str | None = None) -> None:
        """Tells operators what the holder works on."""
        self._seat.report(activities=activities, label=label)

    def touch(self) -> None:
        """The user did something just now; see :meth:`leasehold.Seat.touch`."""
        self._seat.touch()

    def request(self) -> None:
        """While it waits: asks those who have a seat for theirs."""
        self._seat.request()

    async def hand_over(self) -> bool:
        """Gives the seat to whoever asked for one first; whether it did. See :meth:`leasehold.Seat.hand_over`."""
        return await asyncio.to_thread(self._seat.hand_over)

    async def lost(self) -> SeatLost:
        """Waits until work has to stop, and says why."""
        await self._until(lambda: self._seat.state not in ("held", "unstable", "grace"))
        return self._seat._loss() or SeatLost(self._seat.code or self._seat.state)

    async def release(self) -> None:
        """Gives the seat back. It goes on also if whoever waits for it is cancelled."""
        await self._end("release")

    async def close(self) -> None:
        """Goes away, as a page does."""
        await self._end("close")

    async def __aenter__(self) -> AsyncSeat:
        self._task = asyncio.current_task()
        self._told_here()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        lost = self._seat._loss()
        task, self._task = self._task, None
        ours = self._cancelled
        if ours and task is not None and hasattr(task, "uncancel") and task.uncancel() > 0:
            ours = False  # Somebody else has cancelled it, too.
        await self.release()
        if lost is not None and (kind is None or (ours and kind is asyncio.CancelledError)):
            raise lost from None

    def _told(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._told_here)
        except RuntimeError:  # The loop is closed, and nobody waits.
            pass

    def _told_here(self) -> None:
        self._changed.set()
        if self._task is not None and not self._cancelled and self._seat.state == "lost":
            self._cancelled = True
            self._task.cancel()

    async def _until(self, reached: Callable[[], bool], timeout: float | None = None) -> None:
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            self._changed.set()

        timer = None if timeout is None else self._loop.call_later(timeout, expire)
        try:
            while not reached() and not late:
                self._changed.clear()
                await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _end(self, how: str) -> None:
        # The engine does it, whatever becomes of this task.
        self._seat._engine.feed(self._seat, {"event": how})
        await self._until(lambda: self._seat not in self._seat._engine.busy, EXIT_S)


class _Acquiring:
    """Either ``await`` it or use it as ``async with``."""

    def __init__(self, client: Client, event: dict[str, Any], pool: str, timeout: float | None, options: AcquireOptions) -> None:
        self._client, self._event, self._timeout = client, event, timeout
        self._inner = client._seat(pool, options)
        self._seat: AsyncSeat | None = None

    def __await__(self) -> Generator[Any, None, AsyncSeat]:
        return self._acquire().__await__()

    async def __aenter__(self) -> AsyncSeat:
        self._seat = await self._acquire()
        return await self._seat.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        assert self._seat is not None
        await self._seat.__aexit__(*error)

    async def _acquire(self) -> AsyncSeat:
        seat = AsyncSeat(self._inner)
        timeout = self._timeout
        if timeout == -1:
            timeout = None if self._inner._machine.options.wait else 30.0
        self._client._engine.feed(self._inner, self._event)
        try:
            await seat._until(self._inner._decided, timeout)
        except BaseException:
            self._inner._give_up()
            raise
        self._inner._decision()
        return seat


class AsyncClient:
    """Speaks to one server, for asyncio. Options and errors are those of :class:`leasehold.Client`."""

    def __init__(self, url: str, key: Key = None, **options: Any) -> None:
        self._client = Client(url, key, **options)

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._client.url}>"

    def acquire(self, pool: str, *, timeout: float | None = -1, **options: Unpack[AcquireOptions]) -> _Acquiring:
        """``seat = await client.acquire(…)``, or ``async with client.acquire(…) as seat:``."""
        return _Acquiring(self._client, {"event": "acquire"}, pool, timeout, options)

    def adopt(self, pool: str, token: str, *, timeout: float | None = 30.0, **options: Unpack[AcquireOptions]) -> _Acquiring:
        """Goes on with a seat whose token was kept."""
        return _Acquiring(self._client, {"event": "adopt", "token": token}, pool, timeout, options)

    async def close(self) -> None:
        """Releases all seats of this client."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
