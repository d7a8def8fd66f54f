"""Plants bugs in a copy of a client. One that the specification does not find is a hole in the specification."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import drive, load


def main(scenarios: list[dict]) -> int:
    """How many were not found."""
    document = json.loads((load.SPEC / "mutants.json").read_text())
    load.only(document, {"spec", "client", "mutants"}, "mutants.json")
    entry = load.client(document["client"])
    missed = 0
    for mutant in document["mutants"]:
        load.only(mutant, {"name", "file", "find", "replace", "layer", "scenarios"}, mutant["name"])
        with tempfile.TemporaryDirectory(prefix="leasehold-mutant-") as root:
            shutil.copytree(load.SPEC, Path(root) / "spec", ignore=shutil.ignore_patterns("__pycache__"))
            home = Path(root) / document["client"]
            shutil.copytree(load.CLIENTS / document["client"], home, ignore=shutil.ignore_patterns("__pycache__"))
            path = home / mutant["file"]
            text = path.read_text()
            load.need(text.count(mutant["find"]) == 1, mutant["name"], f"`find` stands {text.count(mutant['find'])} times in {mutant['file']}")
            path.write_text(text.replace(mutant["find"], mutant["replace"]))
            found = _by_vectors(entry, home) if mutant["layer"] == "machine" else _by_wire(entry, home, mutant, scenarios)
        missed += not found
        print(f"{'found ' if found else 'MISSED'} {mutant['name']}" + (f": {found}" if found else ""))
    print(f"\n{len(document['mutants']) - missed} found, {missed} missed")
    return missed


def _by_vectors(entry: dict, home: Path) -> str:
    done = subprocess.run(entry["machine"], cwd=home, capture_output=True, text=True, timeout=120)
    failed = [json.loads(line)["vector"] for line in done.stdout.splitlines() if '"ok": false' in line]
    if failed:
        return f"{len(failed)} vectors, {failed[0]}"
    return f"it ends with {done.returncode}: {done.stderr[-80:].strip()}" if done.returncode else ""


def _by_wire(entry: dict, home: Path, mutant: dict, scenarios: list[dict]) -> str:
    for scenario in scenarios:
        if set(mutant["scenarios"]) & set(scenario["scenarios"]):
            for command in entry["drivers"].values():
                why = asyncio.run(drive.run(scenario, command, str(home), None, None))
                if why is not None and not why.startswith("needs "):
                    return f"{scenario['name']}: {why[:100]}"
    return ""
