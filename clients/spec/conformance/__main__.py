"""python3 -m conformance: the specification against one client, or all of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

from . import drive, load, mutants
from .known import judged
from .real import ADMIN, Real

AT_ONCE = 8
CLIENTS_AT_ONCE = 2  # They mostly wait.
MISSING = 77  # What a program ends with that lacks something on this machine.


class Report:
    """What passed and what did not, by client and number of scenario."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, list[bool]]] = {}
        self.clients: list[str] = []  # Those that were tried.
        self.passed = self.failed = 0
        self.notes: list[str] = []

    def add(self, client: str, numbers: list[int], name: str, why: Optional[str]) -> None:
        row = self.rows.setdefault(client, {})
        if why is not None and why.startswith("needs "):
            return
        for number in numbers:
            row.setdefault(number, []).append(why is None)
        if why is None:
            self.passed += 1
        else:
            self.failed += 1
            self.notes.append(f"FAILED {client}: {name}\n    {why}")

    def table(self) -> str:
        listed = json.loads((load.SPEC / "scenarios.json").read_text())["scenarios"]
        clients = sorted(self.rows)
        lines = ["| scenario | " + " | ".join(clients) + " |", "| --- |" + " --- |" * len(clients)]
        for number, entry in listed.items():
            cells = []
            for client in clients:
                results = self.rows[client].get(int(number))
                cells.append("–" if not results else f"{sum(results)}" if all(results) else f"**{results.count(False)} failed**")
            lines.append(f"| {number}. {entry['title']} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def vectors(client: str, layer: str, command: list[str], known: dict, report: Report) -> None:
    """Runs a client's own program for one layer. What it does not mention has failed."""
    expected = {}
    for path in sorted((load.SPEC / layer).glob("*.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            expected[f"{layer}/{path.stem}: {vector['name']}"] = vector.get("scenarios", [])
    done = subprocess.run(command, cwd=load.CLIENTS / client, capture_output=True, text=True, timeout=120)
    if done.returncode == MISSING:
        report.notes.append(f"{client}: {layer} skipped: {done.stderr.strip()}")
        return
    said = {}
    for line in done.stdout.splitlines():
        try:
            entry = json.loads(line)
            said[entry["vector"]] = entry
        except (ValueError, KeyError):
            report.notes.append(f"{client}: {line}")
    for name, numbers in expected.items():
        entry = said.pop(name, None)
        why = "was not evaluated" if entry is None else None if entry["ok"] else entry.get("why", "it says no more")
        if entry is None and done.stderr:
            why += f": {done.stderr[-400:]}"
        report.add(client, numbers, name, judged(name, why, known))
    for name in said:
        report.add(client, [], name, "is no vector of the specification")


async def wire(
    client: str, entry: dict, scenarios: list, known: dict, document: Optional[dict], real: Optional[Real], report: Report
) -> None:  # fmt: skip
    gate, slow = asyncio.Semaphore(entry.get("at_once", AT_ONCE)), []

    async def one(label: str, command: list[str], scenario: dict, against: Optional[Real]) -> None:
        name = scenario["name"] + (", for real" if against else "")
        async with gate:
            began = time.monotonic()
            why = await drive.run(scenario, command, client, document, against)
            slow.append((time.monotonic() - began, label, name))
        if why is not None and not why.startswith("needs "):
            # A busy machine is late now and then. What fails twice is no accident.
            async with gate:
                why = await drive.run(scenario, command, client, document, against)
        report.add(label, scenario["scenarios"], name, judged(name, why, known))

    tasks = []
    for label, command in entry["drivers"].items():
        for scenario in scenarios:
            tasks.append(one(label, command, scenario, None))
            if real and "real" in scenario:
                tasks.append(one(label, command, scenario, real))
    await asyncio.gather(*tasks)
    if os.environ.get("SLOW"):
        print(*sorted(slow)[-25:], sep="\n")


def program() -> Optional[Path]:
    path = Path(os.environ.get("CARGO_TARGET_DIR", load.CLIENTS.parent / "target")) / "debug" / "leasehold"
    return path if path.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("only", nargs="*", help="numbers of scenarios, or a part of a name; all without")
    parser.add_argument("--client", action="append", help="which one, instead of all that are there")
    parser.add_argument("--mutants", action="store_true", help="plant the bugs of mutants.json, one after the other")
    parser.add_argument("--table", type=Path, help="write the table into this file, between its marks")
    parser.add_argument("--no-real", action="store_true", help="without the real server")
    options = parser.parse_args()
    scenarios = load.wire()
    load.vectors()
    load.coverage(scenarios)
    if options.mutants:
        sys.exit(mutants.main(scenarios))
    if options.only:
        scenarios = [s for s in scenarios if any(o in map(str, s["scenarios"]) or (not o.isdigit() and o in s["name"]) for o in options.only)]
    clients = options.client or sorted(path.parent.name for path in load.CLIENTS.glob("*/conformance.json"))
    report, began = Report(), time.monotonic()
    path = None if options.no_real else program()
    real = Real(path) if path and (shutil.which("redis-server") or shutil.which("valkey-server")) else None
    if real is None and not options.no_real:
        report.notes.append("no real server: target/debug/leasehold or redis-server is missing")
    try:
        with ThreadPoolExecutor(2) as beside, ThreadPoolExecutor(CLIENTS_AT_ONCE) as side_by_side:
            checks = [side_by_side.submit(check, name, scenarios, real, report, not options.only, beside) for name in clients]
            for one in [program for done in checks for program in done.result()]:
                one.report(report)
    finally:
        if real:
            real.stop()
    if not options.only:
        print(report.table())
        # A table without what this machine lacks would say less than the one that is there.
        if options.table and not report.failed and set(report.clients) == set(clients) and not any("skipped" in note for note in report.notes):
            write(options.table, report.table())
    print("\n".join(report.notes))
    print(f"\n{time.monotonic() - began:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(report.failed > 0)


def check(name: str, scenarios: list, real: Optional[Real], report: Report, all_layers: bool, beside: Executor) -> list["Program"]:
    """Everything but the client's own programs, which go on."""
    entry = load.client(name)
    missing = [tool for tool in entry.get("needs", []) if not shutil.which(tool)]
    if missing:
        report.notes.append(f"{name}: skipped, there is no {', '.join(missing)}")
        return []
    report.clients.append(name)
    if entry.get("build"):
        built = subprocess.run(entry["build"], cwd=load.CLIENTS / name, capture_output=True, text=True)
        if built.returncode:
            report.add(name, [], "its build", built.stdout[-1_000:] + built.stderr[-2_000:])
            return []
    known = {failure["scenario"]: failure for failure in entry.get("known_failures", [])}
    if all_layers:
        vectors(name, "machine", entry["machine"], known, report)
        if entry.get("proof"):
            vectors(name, "proof", entry["proof"], known, report)
    listed = entry.get("programs", {}) if all_layers and real else {}
    running = [Program(name, label, one, real, beside) for label, one in listed.items()]
    asyncio.run(wire(name, entry, scenarios, known, real.document if real else None, real, report))
    return running


class Program:
    """One of a client's own tests. It mostly waits, so it runs beside the scenarios; one that fails gets a second try alone, as they do."""

    def __init__(self, client: str, label: str, entry: Any, real: Real, beside: Executor) -> None:
        entry = entry if isinstance(entry, dict) else {"command": entry}
        self.client, self.label, self.command, self.scenarios = client, label, entry["command"], entry.get("scenarios", [])
        self.environ = {**os.environ, "LEASEHOLD_URL": real.url, "LEASEHOLD_KEY": ADMIN}
        self.done = beside.submit(self.run)

    def run(self) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command, cwd=load.CLIENTS / self.client, env=self.environ, capture_output=True, text=True, timeout=300
        )  # fmt: skip

    def report(self, report: Report) -> None:
        done = self.done.result()
        if done.returncode not in (0, MISSING):
            done = self.run()
        if done.returncode == MISSING:
            report.notes.append(f"{self.client}: {self.label} skipped: {done.stderr.strip()}")
        else:
            why = (done.stdout[-1_000:] + done.stderr[-3_000:]) if done.returncode else None
            report.add(self.client, self.scenarios, self.label, why)


def write(path: Path, table: str) -> None:
    begin, end = "<!-- table -->\n", "<!-- end of the table -->"
    text = path.read_text()
    head, _, rest = text.partition(begin)
    path.write_text(f"{head}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}")


main()
