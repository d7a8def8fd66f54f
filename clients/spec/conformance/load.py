"""Reads the specification, strictly: what is not known is an error, so that no expectation is silently ignored."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

SPEC = Path(__file__).resolve().parents[1]
CLIENTS = SPEC.parent

SCENARIO = {"name", "scenarios", "needs", "drive", "script", "otherwise", "ignore", "real", "keys", "exit", "shown"}
STEPS = {
    "do": {"do", "as", "pool", "holder", "tenant", "label", "wait", "timeout_ms", "reacquire", "request", "max_grace_ms", "listener", "activities", "count", "token",
           "tokens", "session", "vector", "times", "idle", "ms", "touch"},
    "see": {"see", "within_ms", "skip"},
    "sleep": {"sleep"},
    "signal": {"signal"},
    "server": {"server"},
    "operator": {"operator", "holder", "reason", "set"},
    "asked": {"asked", "within_ms"},
    "exits": {"exits", "code"},
}
EXCHANGE = {"expect", "with", "without", "idle_ms", "key", "connection", "authorization", "after_ms", "answer", "agent"}
ANSWERS = {"grant", "renewed", "queued", "problem", "results", "said", "raw", "empty", "broken", "keys"}
ANSWER = ANSWERS | {"status", "delay_ms", "headers", "text", "token", "resumed", "members", "times"}
BROKEN = {"reset_before", "reset_after", "hang", "trickle", "garbage", "close"}
KINDS = {"acquire", "renew", "renew-many", "release", "leave", "yield", "queue-leave", "queue-request", "jwks"}


OPTIONS = {"pool", "holder", "tenant", "label", "platform", "activities", "wait", "reacquire", "request", "max_grace_ms", "key"}
EVENTS = {
    "acquire": set(), "adopt": {"token"}, "answer": {"id", "status", "headers", "body", "idle_ms"},
    "result": {"id", "result", "idle_ms"}, "failed": {"id"}, "active": set(),
    "timer": {"timer"}, "wake": set(), "report": {"activities", "label"}, "cancel": set(), "request": set(), "yield": set(), "release": set(), "close": set(), "forked": set(),
}  # fmt: skip
THEN = {"state", "sure", "send", "abort", "timers", "emit", "tell", "done", "peek"}
STATES = {"idle", "acquiring", "waiting", "held", "unstable", "grace", "lost", "denied", "released"}
PROOF = {"name", "proof", "at", "leeway_s", "issuer", "audience", "keys", "ok"}


class SpecError(Exception):
    """The specification itself is wrong."""


def need(right: bool, where: str, what: str) -> None:
    if not right:
        raise SpecError(f"{where}: {what}")


def only(value: dict, known: set, where: str) -> None:
    need(isinstance(value, dict), where, "is no object")
    need(not set(value) - known, where, f"unknown: {sorted(set(value) - known)}")


def check_answer(answer: dict, where: str) -> None:
    only(answer, ANSWER, where)
    need(len(ANSWERS & set(answer)) == 1, where, f"has exactly one of {sorted(ANSWERS)}")
    need(answer.get("broken", "hang") in BROKEN, where, f"breaks as one of {sorted(BROKEN)}")


def check_steps(steps: list, where: str) -> None:
    for number, step in enumerate(steps, 1):
        here = f"{where}, step {number}"
        kinds = [kind for kind in STEPS if kind in step]
        need(len(kinds) >= 1, here, f"is none of {sorted(STEPS)}")
        only(step, STEPS[kinds[0]] | {"only"}, here)
        need(step.get("only", "real") in ("real", "script"), here, "`only` is real or script")


def wire() -> list[dict]:
    """All scenarios of wire/, checked."""
    found, names = [], set()
    for path in sorted((SPEC / "wire").glob("*.json")):
        document = json.loads(path.read_text())
        only(document, {"spec", "scenarios"}, path.name)
        for scenario in document["scenarios"]:
            where = f"{path.name}: {scenario.get('name')}"
            only(scenario, SCENARIO, where)
            need({"name", "scenarios", "drive"} <= set(scenario), where, "needs name, scenarios and drive")
            need(scenario["name"] not in names, where, "has a name that is taken")
            names.add(scenario["name"])
            check_steps(scenario["drive"], where)
            for number, exchange in enumerate(scenario.get("script", []), 1):
                only(exchange, EXCHANGE, f"{where}, exchange {number}")
                need(exchange.get("expect") in KINDS, f"{where}, exchange {number}", f"expects one of {sorted(KINDS)}")
                check_answer(exchange["answer"], f"{where}, exchange {number}")
            for kind, answer in scenario.get("otherwise", {}).items():
                need(kind in KINDS, where, f"otherwise: {kind} is no kind")
                check_answer(answer, f"{where}, otherwise {kind}")
            found.append(scenario)
    return found


def vectors() -> None:
    """Checks the files of machine/ and proof/, which each client reads for itself."""
    for path in sorted((SPEC / "machine").glob("*.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            where = f"{path.name}: {vector['name']}"
            if path.stem == "batch":
                only(vector, {"name", "scenarios", "ids", "status", "headers", "body", "events"}, where)
                continue
            only(vector, {"name", "scenarios", "options", "steps"}, where)
            only(vector["options"], OPTIONS, where)
            need(any("then" in step for step in vector["steps"]), where, "expects nothing")
            for step in vector["steps"]:
                only(step, {"at", "event", "then"}, where)
                if "event" in step:
                    event = step["event"]
                    need(event.get("event") in EVENTS, where, f"no event is called {event.get('event')}")
                    only(event, EVENTS[event["event"]] | {"event"}, where)
                if "then" in step:
                    only(step["then"], THEN, where)
                    need(step["then"]["state"] in STATES, where, f"no state is called {step['then']['state']}")
    for path in sorted((SPEC / "proof").glob("*.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            only(vector, PROOF, f"{path.name}: {vector['name']}")


def coverage(scenarios: list[dict]) -> None:
    """Every number of scenarios.json is in every layer that it says."""
    listed = json.loads((SPEC / "scenarios.json").read_text())["scenarios"]
    seen: dict[str, set] = {"M": set(), "W": set(), "R": set()}
    for path in sorted((SPEC / "machine").glob("*.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            seen["M"].update(vector["scenarios"])
    for scenario in scenarios:
        seen["W"].update(scenario["scenarios"])
        if "real" in scenario:
            seen["R"].update(scenario["scenarios"])
    for layer, numbers in seen.items():
        need(not {n for n in numbers if str(n) not in listed}, "scenarios.json", f"lacks some of {sorted(numbers)}")
        missing = [number for number, entry in listed.items() if layer in entry["layers"] and int(number) not in numbers]
        if "60" in missing and layer == "W":
            missing.remove("60")  # Every scenario is one of it.
        need(not missing, "scenarios.json", f"no {layer} for {', '.join(missing)}")


def client(name: str) -> dict:
    """conformance.json of a client: how its programs are started, and what it is known not to do."""
    path = CLIENTS / name / "conformance.json"
    entry = json.loads(path.read_text())
    only(entry, {"needs", "build", "machine", "proof", "drivers", "programs", "known_failures", "at_once"}, str(path))
    for failure in entry.get("known_failures", []):
        only(failure, {"scenario", "until", "why"}, str(path))
        until = datetime.date.fromisoformat(failure["until"])
        need(until >= datetime.date.today(), str(path), f"{failure['scenario']} was to be mended by {until}")
    return entry
