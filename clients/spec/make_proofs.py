#!/usr/bin/env python3
"""Writes proof/proofs.json: signed proofs of leases, good and bad, with a test key. Needs nothing but Python.

    make_proofs.py           writes the file
    make_proofs.py --check   fails if it is not what this program would write

Ed25519 as in RFC 8032, section 6, slow and for tests only: signatures are the same each time, so the file is, too.
"""

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path

PATH = Path(__file__).parent / "proof" / "proofs.json"
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
NOW = 1_795_953_600  # 2026-11-29T12:00:00Z


def recover_x(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x & 1 != sign else x


G_Y = 4 * pow(5, P - 2, P) % P
G_X = recover_x(G_Y, 0)
G = (G_X, G_Y, 1, G_X * G_Y % P)


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def compress(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def expand(secret):
    digest = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, digest[32:]


def public(secret):
    return compress(multiply(expand(secret)[0], G))


def sign(secret, message):
    scalar, prefix = expand(secret)
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ORDER
    head = compress(multiply(r, G))
    h = int.from_bytes(hashlib.sha512(head + public(secret) + message).digest(), "little") % ORDER
    return head + ((r + h * scalar) % ORDER).to_bytes(32, "little")


def b64(data, pad=False):
    text = base64.urlsafe_b64encode(data)
    return (text if pad else text.rstrip(b"=")).decode()


def thumbprint(x):
    """RFC 7638."""
    canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": b64(x)}, separators=(",", ":"))
    return b64(hashlib.sha256(canonical.encode()).digest())


def jwk(x, kid):
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(x), "kid": kid, "use": "sig"}


KEY, NEXT, STRANGER = (hashlib.sha256(name).digest() for name in (b"leasehold test key", b"the next one", b"a stranger"))
X, NEXT_X = public(KEY), public(NEXT)
KID, NEXT_KID = thumbprint(X), thumbprint(NEXT_X)
KEYS = {"keys": [jwk(X, KID), jwk(NEXT_X, NEXT_KID)]}
HEADER = {"alg": "EdDSA", "typ": "leasehold-lease+jwt", "kid": KID}
CLAIMS = {
    "iss": "https://seats.example", "aud": "crm", "sub": "ann", "jti": "kP0oJ0s1TtaC5Zq2V0w7xg", "iat": NOW, "exp": NOW + 60,
    "lh": {"pool": "crm", "tenant": None, "seat": "concurrent", "fence": 1795000000000000, "gen": 1, "grace_ms": 600000},
}  # fmt: skip
VECTORS = []


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def token(header=None, claims=None, secret=KEY, signature=None, header_text=None, claims_text=None, pad=False):
    head = b64((header_text or compact(HEADER if header is None else header)).encode(), pad)
    body = b64((claims_text or compact(CLAIMS if claims is None else claims)).encode(), pad)
    signed = f"{head}.{body}"
    return f"{signed}.{b64(sign(secret, signed.encode()) if signature is None else signature, pad)}"


def without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


def vector(name, proof, ok, at=NOW + 10, leeway_s=5, keys=None, **more):
    VECTORS.append({"name": name, "proof": proof, "at": at, "leeway_s": leeway_s, "issuer": "https://seats.example",
                    "audience": "crm", **({"keys": keys} if keys else {}), **more, "ok": ok})


def build():
    vector("a good one", token(), True)
    vector("a good one, signed with the next key", token({**HEADER, "kid": NEXT_KID}, secret=NEXT), True)
    vector("a good one without a holder, of a pool with privacy", token(claims=without(CLAIMS, "sub")), True)
    vector("the newer name of the algorithm", token({**HEADER, "alg": "Ed25519"}), True)
    vector("members that are not known are ignored", token(claims={**CLAIMS, "cnf": {"jkt": "x"}}), True)
    vector("alg none", token({**HEADER, "alg": "none"}, signature=b""), False)
    vector("alg none, with a signature", token({**HEADER, "alg": "none"}), False)
    header = {**HEADER, "alg": "HS256"}
    signed = f"{b64(compact(header).encode())}.{b64(compact(CLAIMS).encode())}"
    vector("HS256 with the public key as the secret", token(header, signature=hmac.new(X, signed.encode(), "sha256").digest()), False)
    vector("RS256", token({**HEADER, "alg": "RS256"}), False)
    vector("alg in other letters", token({**HEADER, "alg": "eddsa"}), False)
    vector("another typ", token({**HEADER, "typ": "JWT"}), False)
    vector("no typ", token(without(HEADER, "typ")), False)
    vector("an unknown kid", token({**HEADER, "kid": "unknown"}), False)
    vector("no kid", token(without(HEADER, "kid")), False)
    vector("the kid of another key that is published", token({**HEADER, "kid": NEXT_KID}), False)
    vector("two kids in the header", token(header_text=compact(HEADER)[:-1] + f',"kid":"{NEXT_KID}"}}'), False)
    stranger = jwk(public(STRANGER), "stranger")
    vector("a key of its own in the header", token({**HEADER, "kid": "stranger", "jwk": stranger}, secret=STRANGER), False)
    vector("an address of keys in the header is not read", token({**HEADER, "jku": "https://evil.example/jwks"}), False)
    vector("crit", token({**HEADER, "crit": ["b64"], "b64": False}), False)
    vector("exp as a text", token(claims={**CLAIMS, "exp": str(NOW + 60)}), False)
    vector("exp as a fraction is a number", token(claims={**CLAIMS, "exp": NOW + 60.5}), True)
    vector("exp negative", token(claims={**CLAIMS, "exp": -1}), False)
    vector("exp missing", token(claims=without(CLAIMS, "exp")), False)
    vector("exp null", token(claims={**CLAIMS, "exp": None}), False)
    vector("exp true", token(claims={**CLAIMS, "exp": True}), False)
    vector("exp infinite", token(claims_text=compact({**CLAIMS, "exp": 0}).replace('"exp":0', '"exp":1e999')), False)
    vector("iat missing", token(claims=without(CLAIMS, "iat")), False)
    vector("iat as a text", token(claims={**CLAIMS, "iat": str(NOW)}), False)
    vector("iat ahead by a minute", token(claims={**CLAIMS, "iat": NOW + 70, "exp": NOW + 130}), False)
    vector("iat ahead by three seconds, with five of leeway", token(), True, at=NOW - 3)
    vector("iat ahead by three seconds, with none", token(), False, at=NOW - 3, leeway_s=0)
    vector("another issuer", token(claims={**CLAIMS, "iss": "https://other.example"}), False)
    vector("the issuer with a slash is another", token(claims={**CLAIMS, "iss": "https://seats.example/"}), False)
    vector("no issuer", token(claims=without(CLAIMS, "iss")), False)
    vector("a list of audiences with us", token(claims={**CLAIMS, "aud": ["erp", "crm"]}), True)
    vector("a list of audiences without us", token(claims={**CLAIMS, "aud": ["erp"]}), False)
    vector("another audience", token(claims={**CLAIMS, "aud": "erp"}), False)
    vector("no audience", token(claims=without(CLAIMS, "aud")), False)
    vector("no lh", token(claims=without(CLAIMS, "lh")), False)
    vector("no jti", token(claims=without(CLAIMS, "jti")), False)
    vector("a member twice in the claims", token(claims_text=compact(CLAIMS)[:-1] + f',"exp":{NOW + 9999}}}'), False)
    vector("base64url with padding", token(pad=True), False)
    vector("base64 of the other alphabet", token().replace("-", "+").replace("_", "/"), False)
    vector("bytes behind the signature", token() + "AA", False)
    vector("a blank behind it", token() + "\n", False)
    vector("four parts", token() + "." + b64(b"x"), False)
    vector("two parts", token().rpartition(".")[0], False)
    vector("nothing", "", False)
    vector("no text of JSON", f"{b64(b'no')}.{b64(b'no')}.{b64(b'no')}", False)
    vector("claims that are a list", token(claims_text="[]"), False)
    other = token(claims={**CLAIMS, "sub": "eve"})
    vector("the signature of another message", token().rpartition(".")[0] + "." + other.rpartition(".")[2], False)
    vector("a signature of zeros", token(signature=bytes(64)), False)
    vector("a signature that is too short", token(signature=bytes(63)), False)
    good = sign(KEY, token().rpartition(".")[0].encode())
    malleable = good[:32] + (int.from_bytes(good[32:], "little") + ORDER).to_bytes(32, "little")
    vector("a signature that is not the smallest", token(signature=malleable), False)
    # With this point as the key, a signature of (identity, 0) fits about every message.
    small = (1).to_bytes(32, "little")
    vector("a key of small order", token({**HEADER, "kid": "small"}, signature=small + bytes(32)), False, keys={"keys": [jwk(small, "small")]})
    vector("a key for encryption", token(), False, keys={"keys": [{**jwk(X, KID), "use": "enc"}]})
    vector("a key of another kind beside ours", token(), True, keys={"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r"}, jwk(X, KID)]})
    vector("a key that names its algorithm", token(), True, keys={"keys": [{**jwk(X, KID), "alg": "EdDSA"}]})
    vector("two keys with one kid", token(), False, keys={"keys": [jwk(X, KID), jwk(NEXT_X, KID)]})
    vector("expired by one second, with five of leeway", token(), True, at=NOW + 61)
    vector("expired by one second, with none", token(), False, at=NOW + 61, leeway_s=0)
    vector("expired to the second", token(), False, at=NOW + 60, leeway_s=0)
    vector("expired by an hour", token(), False, at=NOW + 3_660)


def main():
    build()
    names = [entry["name"] for entry in VECTORS]
    assert len(set(names)) == len(names)
    lines = ",\n".join("  " + json.dumps(entry) for entry in VECTORS)
    text = f'{{"spec": 2, "keys": {json.dumps(KEYS["keys"])}, "vectors": [\n{lines}\n]}}\n'
    if "--check" in sys.argv:
        if not PATH.exists() or PATH.read_text() != text:
            sys.exit("not as make_proofs.py writes it: proof/proofs.json")
    else:
        PATH.write_text(text)
        print(len(VECTORS), "proofs")


main()
