"""Verifies proofs of leases, without asking the server. Needs ``pip install leasehold[verify]``.

A proof says that somebody had a seat when it was signed, and until when the lease runs. It does not say that the seat was not
taken away since: what is dear asks ``POST /v1/leases/check``.
"""

from __future__ import annotations

import base64
import json
import math
import re
import ssl
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .transport import USER_AGENT

ALPHABET = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
# The y of the eight points of small order, both ways in which some of them can be written.
SMALL = {0, 1, FIELD - 1, FIELD, FIELD + 1}
SMALL |= {y for one in ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
                        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
          for y in [int.from_bytes(bytes.fromhex(one), "little") & (2**255 - 1)]}  # fmt: skip
REFETCH_S = 60.0
FRESH_S = 300.0
PAUSE_S = 60.0


class InvalidProof(Exception):
    """The proof proves nothing."""


@dataclass(frozen=True)
class Proof:
    """What a proof says."""

    id: str
    pool: str
    holder: str | None
    tenant: str | None
    fence: int
    issued_at: float
    expires_at: float
    grace_ms: int | None


class Verifier:
    """Verifies the proofs of one instance for one audience.

    The keys are those given, or are fetched from ``url`` + ``/v1/jwks`` when they are five minutes old, and for an unknown key at
    most once a minute. Never from an address in a proof.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        url: str | None = None,
        keys: dict[str, Any] | None = None,
        leeway: float = 5.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not 0 <= leeway <= 60:
            raise ValueError("the leeway is 0 to 60 seconds")
        if keys is None and url is None:
            raise ValueError("a verifier needs keys, or the url of a server that tells them")
        self.issuer, self.audience, self.leeway = issuer, audience, leeway
        self._url, self._tls, self._lock = url, tls, threading.Lock()
        self._keys = _keys(keys) if keys is not None else {}
        self._fetched = self._paused = -math.inf
        self._failures = 0
        self._fixed = keys is not None

    def verify(self, proof: str, *, at: float | None = None) -> Proof:
        """What it says, or :class:`InvalidProof`. ``at`` is the time in seconds since 1970, now without."""
        now = time.time() if at is None else at
        parts = proof.split(".")
        _must(len(parts) == 3 and len(proof) <= 8_192, "it has not three parts")
        header, claims, signature = _object(parts[0]), _object(parts[1]), _decode(parts[2])
        _must(header.get("alg") in ("EdDSA", "Ed25519"), "its algorithm is not Ed25519")
        _must(header.get("typ") == "leasehold-lease+jwt", "it is not a proof of a lease")
        _must(not {"crit", "jwk", "jku", "x5u", "x5c"} & set(header), "its header wants more than a proof may")
        _must(isinstance(header.get("kid"), str), "it names no key")
        _must(len(signature) == 64 and int.from_bytes(signature[32:], "little") < ORDER, "its signature is malformed")
        try:
            self._key(header["kid"]).verify(signature, f"{parts[0]}.{parts[1]}".encode())
        except InvalidSignature:
            raise InvalidProof("its signature is of another key or another text") from None
        audience = claims.get("aud")
        _must(claims.get("iss") == self.issuer, "it is of another instance")
        _must(audience == self.audience or (isinstance(audience, list) and self.audience in audience), "it is for somebody else")
        issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
        _must(issued_at <= now + self.leeway, "it is of the future")
        _must(now < expires_at + self.leeway, "it has expired")
        lease: Any
        lease, id, holder = claims.get("lh"), claims.get("jti"), claims.get("sub")
        _must(isinstance(lease, dict) and isinstance(id, str), "it says nothing of a lease")
        _must(holder is None or isinstance(holder, str), "its holder is no text")
        pool, fence = lease.get("pool"), lease.get("fence")
        if not isinstance(pool, str) or not isinstance(fence, int) or not isinstance(id, str):
            raise InvalidProof("it says nothing of a pool")
        return Proof(id, pool, holder, lease.get("tenant"), fence, issued_at, expires_at, lease.get("grace_ms"))

    def _key(self, kid: str) -> Ed25519PublicKey:
        with self._lock:
            now = time.monotonic()
            age = now - self._fetched
            if not self._fixed and now >= self._paused and (age > FRESH_S or (kid not in self._keys and age > REFETCH_S)):
                try:
                    self._keys = _keys(_fetch(f"{self._url}/v1/jwks", self._tls))
                    self._fetched, self._failures = time.monotonic(), 0
                except (OSError, ValueError, HTTPException, InvalidProof):
                    # The old ones are good for a while, and no proof waits for a server that is away.
                    self._paused = time.monotonic() + min(PAUSE_S, 2.0**self._failures)
                    self._failures = min(self._failures + 1, 10)
            key = self._keys.get(kid)
        if key is None:
            raise InvalidProof("its key is unknown")
        return key


def _fetch(url: str, tls: ssl.SSLContext | None) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"user-agent": USER_AGENT, "accept": "application/json"})
    with urllib.request.urlopen(request, timeout=8, context=tls) as response:
        keys = json.loads(response.read(1 << 20))
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        raise ValueError("this is no set of keys")
    return keys


def _keys(document: dict[str, Any]) -> dict[str, Ed25519PublicKey]:
    found: dict[str, Ed25519PublicKey | None] = {}
    for jwk in document["keys"]:
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or jwk.get("use", "sig") != "sig":
            continue
        kid, x = jwk.get("kid"), _decode(jwk["x"])
        if len(x) != 32 or int.from_bytes(x, "little") & (2**255 - 1) in SMALL:
            continue
        found[kid] = None if kid in found else Ed25519PublicKey.from_public_bytes(x)  # Two of one name are none.
    return {kid: key for kid, key in found.items() if key is not None}


def _must(right: bool, why: str) -> None:
    if not right:
        raise InvalidProof(why)


def _decode(text: str) -> bytes:
    _must(ALPHABET.fullmatch(text) is not None and len(text) % 4 != 1, "it is not base64url without padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    _must(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, "it could be written in another way")
    return data


def _object(text: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _must(len({name for name, _ in pairs}) == len(pairs), "a member stands there twice")
        return dict(pairs)

    def no(name: str) -> Any:
        raise ValueError(name)

    try:
        value: Any = json.loads(_decode(text), object_pairs_hook=once, parse_constant=no)
    except (ValueError, RecursionError):
        raise InvalidProof("it is no JSON") from None
    if not isinstance(value, dict):
        raise InvalidProof("it is no object")
    return value


def _instant(claims: dict[str, Any], name: str) -> float:
    value: Any = claims.get(name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    _must(number, f"{name} is no time")
    return float(value)


__all__ = ["InvalidProof", "Proof", "Verifier"]
