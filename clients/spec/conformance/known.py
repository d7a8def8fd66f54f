"""What a result means, given the list of known failures."""

from __future__ import annotations

from typing import Optional


def judged(name: str, why: Optional[str], known: dict) -> Optional[str]:
    """A failure that is known has to happen."""
    if name not in known or (why or "").startswith("needs "):
        return why
    return None if why is not None else f"it passes, but is listed as a known failure: {known[name]['why']}"
