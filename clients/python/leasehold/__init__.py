"""Holds seats of a Leasehold pool.

    client = leasehold.Client("https://seats.example", key="lh_client_…")
    with client.acquire("crm", holder="agent-7") as seat:
        for order in orders:
            seat.check()  # raises SeatLost
            work_on(order)

``AsyncClient`` is the same for asyncio, ``Gateway`` keeps the seats of a web backend's users, and ``leasehold.verify`` reads
proofs. What each state and event means: ``clients/spec/README.md``.
"""

from .aio import AsyncClient, AsyncSeat
from .client import Client, Seat
from .errors import SeatError, SeatLost
from .gateway import Gateway

__all__ = ["AsyncClient", "AsyncSeat", "Client", "Gateway", "Seat", "SeatError", "SeatLost"]
__version__ = "0.1.0"
