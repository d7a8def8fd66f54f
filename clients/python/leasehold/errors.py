"""The one error of this package, and the loss of a seat as a kind of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SENTENCES = {
    "unreachable": "The server did not answer.",
    "timeout": "No seat was granted in time.",
    "not_leasehold": "What answered is not a Leasehold server. Check the address, and what stands in front of it.",
    "outage_grace_over": "The server has not been heard for longer than work may go on without it.",
    "forked": "This process was forked from the one that holds the seat. Acquire one of its own.",
    "cancelled": "The request for a seat was withdrawn.",
    "closed": "The client was closed.",
    "lease_released": "The seat was given back.",
    "idle": "Nobody used the seat for a while, and it was given back.",
    "max_hold": "The seat was held for as long as its pool allows, and was given back.",
}


class SeatError(Exception):
    """Why there is no seat. ``code`` is the stable word for programs, ``detail`` a sentence for people."""

    def __init__(self, code: str, details: Mapping[str, Any] | None = None) -> None:
        details = dict(details or {})
        self.code = code
        self.status: int | None = details.get("status")
        kind = str(details.get("reason")) if code == "lease_evicted" else code
        self.detail: str = details.get("detail") or SENTENCES.get(kind) or details.get("title") or code
        self.reason: str | None = details.get("reason")
        wait = details.get("retry_after_ms")
        self.retry_after: float | None = None if wait is None else wait / 1_000
        self.request_id: str | None = details.get("request_id")
        self.details = details
        super().__init__(f"{self.detail} ({code})")

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may do better later."""
        unheard = self.code in ("unreachable", "timeout")
        return unheard or self.status == 429 or (self.status or 0) >= 500


class SeatLost(SeatError):
    """The seat is no longer this program's: stop what needs it."""
