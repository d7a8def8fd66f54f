"""Runs one vector of ../../spec/proof."""

import json
from pathlib import Path

from leasehold.verify import InvalidProof, Verifier

KEYS = {"keys": json.loads((Path(__file__).resolve().parents[2] / "spec" / "proof" / "proofs.json").read_text())["keys"]}


def run(vector):
    """Nothing, or what differs."""
    verifier = Verifier(vector["issuer"], vector["audience"], keys=vector.get("keys", KEYS), leeway=vector["leeway_s"])
    try:
        verifier.verify(vector["proof"], at=vector["at"])
        accepted, why = True, "accepted"
    except InvalidProof as error:
        accepted, why = False, str(error)
    return None if accepted == vector["ok"] else why
