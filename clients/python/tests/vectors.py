"""Runs the vectors of ../../spec/machine and ../../spec/proof against this client: one line of JSON for each on stdout."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from leasehold import machine  # noqa: E402

OUTPUTS = {"send", "abort", "timers", "emit", "tell", "done"}


def now(at):
    return machine.Now(**at) if isinstance(at, dict) else machine.Now(at, at)


def run(vector):
    """Nothing, or what differs."""
    options = dict(vector["options"])
    if "activities" in options:
        options["activities"] = tuple(options["activities"])
    state = machine.begin(machine.Options(**options))
    for number, step in enumerate(vector["steps"], 1):
        instant, out = now(step["at"]), {}
        if "event" in step:
            state, out = machine.step(state, step["event"], instant)
        if "then" not in step:
            continue
        then = dict(step["then"])
        peek = then.pop("peek", {})
        known = {"token": state.token, "proof": state.proof, "lease_id": state.lease and state.lease["id"], "away": machine.away(state)}
        got = {"state": machine.seen(state, instant)[0], "sure": machine.sure(state, instant), **out}
        if json.loads(json.dumps(got)) != then:
            return f"step {number}: got {json.dumps(got)}, expected {json.dumps(then)}"
        for name, value in peek.items():
            if known[name] != value:
                return f"step {number}: {name} is {known[name]!r}, expected {value!r}"
    return None


def batch(vector):
    events = machine.spread(vector["ids"], vector["status"], vector["headers"], vector["body"])
    return None if events == vector["events"] else f"got {json.dumps(events)}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("layer", choices=("machine", "proof"))
    layer = parser.parse_args().layer
    if layer == "proof" and importlib.util.find_spec("cryptography") is None:
        print("there is no package cryptography", file=sys.stderr)
        sys.exit(77)
    failed = 0
    for path in sorted((ROOT / "spec" / layer).glob("*.json")):
        document = json.loads(path.read_text())
        if layer == "proof":
            from proofs import run as check
        else:
            check = batch if path.stem == "batch" else run
        for vector in document["vectors"]:
            why = check(vector)
            failed += why is not None
            print(
                json.dumps(
                    {"vector": f"{layer}/{path.stem}: {vector['name']}", "ok": why is None, **({"why": why} if why else {})}
                )
            )
    sys.exit(failed > 0)


main()
