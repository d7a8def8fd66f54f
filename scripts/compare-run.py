#!/usr/bin/env python3
"""Measures `leasehold run` beside flock and `etcdctl lock`, and writes the table of docs/run.md.

    scripts/compare-run.py target/debug/leasehold [DIRECTORY WITH etcd AND etcdctl]

Everything runs on loopback, with leases of three seconds, and is gone at the end.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

LEASEHOLD = os.path.abspath(sys.argv[1])
ETCD = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
SCRATCH = tempfile.mkdtemp(prefix="compare-run-")
started = []


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start(command, **options):
    process = subprocess.Popen(
        command, stdout=options.pop("stdout", subprocess.DEVNULL), stderr=options.pop("stderr", subprocess.DEVNULL),
        stdin=subprocess.DEVNULL, **options,
    )
    started.append(process)
    return process


def until(what, holds, limit=30):
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"gave up: {what}")
        time.sleep(0.02)


def lines(path):
    try:
        with open(path) as file:
            return len(file.readlines())
    except FileNotFoundError:
        return 0


class Leasehold:
    name = "`leasehold run`"

    def __init__(self):
        self.serve()

    def serve(self):
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.data = tempfile.mkdtemp(dir=SCRATCH)
        self.server = start(
            [LEASEHOLD, "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", self.data],
        )

        def is_ready():
            try:
                return urllib.request.urlopen(self.address + "/readyz", timeout=1).status == 200
            except OSError:
                return False

        until("the node is ready", is_ready, 60)
        body = b'{"capacity": 1, "ttl_ms": 3000, "outage_grace_ms": 0}'
        request = urllib.request.Request(
            self.address + "/v1/pools/crm", body, {"content-type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(request)

    def wrap(self, *command, wait=False, address=None):
        options = ["--pool", "crm", "--server", address or self.address, "--kill-after", "1"]
        return [LEASEHOLD, "run", *options, *(["--wait"] if wait else []), "--", *command]

    def lose_server(self):
        self.server.kill()
        self.server.wait()


class Flock:
    name = "`flock`"

    def __init__(self):
        self.file = os.path.join(SCRATCH, "lock")

    def wrap(self, *command, wait=False, address=None):
        return ["flock", *([] if wait else ["-n"]), self.file, *command]

    lose_server = None


class Etcd:
    name = "`etcdctl lock`"

    def __init__(self):
        self.serve()

    def serve(self):
        client, peer = free_port(), free_port()
        self.address = f"http://127.0.0.1:{client}"
        self.server = start([
            f"{ETCD}/etcd", "--data-dir", tempfile.mkdtemp(dir=SCRATCH), "--listen-client-urls", self.address,
            "--advertise-client-urls", self.address, "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        ])

        def is_ready():
            try:
                return b"true" in urllib.request.urlopen(self.address + "/health", timeout=1).read()
            except OSError:
                return False

        until("etcd is ready", is_ready, 60)

    def wrap(self, *command, wait=False, address=None):
        return [
            "env", "ETCDCTL_API=3", f"{ETCD}/etcdctl", f"--endpoints={address or self.address}", "lock", "--ttl=3", "crm", "--", *command,
        ]

    def lose_server(self):
        self.server.kill()
        self.server.wait()


def code_of(process, limit=20):
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def plainly(code):
    if code is None:
        return "none in 20 s"
    return str(128 - code) if code < 0 else str(code)


def ticking(name):
    """A program that works: a line every 50 ms. Its number stands in a file beside."""
    path = os.path.join(SCRATCH, name)
    return path, f"echo $$ >{path}.pid; while :; do echo tick >>{path}; sleep 0.05; done"


def stop(path):
    """Ends what still writes into the file, and says whether anything did."""
    before = lines(path)
    time.sleep(0.4)
    works = lines(path) > before
    with open(path + ".pid") as file:
        number = int(file.read())
    if works:
        os.kill(number, signal.SIGKILL)
    return works


def free_after(tool, limit=20):
    """How long until the next one gets the seat."""
    begin = time.monotonic()
    while time.monotonic() - begin < limit:
        marker = os.path.join(SCRATCH, f"marker-{time.monotonic_ns()}")
        process = start(tool.wrap("touch", marker))
        end = time.monotonic() + 8
        while process.poll() is None and time.monotonic() < end and not os.path.exists(marker):
            time.sleep(0.02)
        if os.path.exists(marker):
            process.wait()
            return f"{time.monotonic() - begin:.1f} s"
        if process.poll() is None:
            process.kill()
            process.wait()
        time.sleep(0.1)
    return f"not in {limit} s"


def exit_code(tool):
    return plainly(code_of(start(tool.wrap("sh", "-c", "exit 7"))))


def no_command(tool):
    return plainly(code_of(start(tool.wrap("/no/such/command"))))


def no_program(tool):
    return plainly(code_of(start(tool.wrap("/etc/passwd"))))


def no_server(tool):
    if not tool.lose_server:
        return "–"
    marker = os.path.join(SCRATCH, f"ran-{tool.__class__.__name__}")
    code = code_of(start(tool.wrap("touch", marker, address=f"http://127.0.0.1:{free_port()}")), 30)
    return f"{plainly(code)}, {'it ran' if os.path.exists(marker) else 'nothing ran'}"


def grandchild(tool, signal_number=None):
    """A start script that leaves a program behind."""
    path, work = ticking(f"behind-{tool.__class__.__name__}-{signal_number}")
    if signal_number is None:
        process = start(tool.wrap("sh", "-c", f"sh -c '{work}' & sleep 0.5"))
    else:
        process = start(tool.wrap("sh", "-c", f"sh -c '{work}'; echo"))
        until("it works", lambda: lines(path) > 2)
        process.send_signal(signal_number)
    code_of(process)
    time.sleep(0.2)
    freed = free_after(tool, 3)
    works = stop(path)
    return ("works on" if works else "is gone") + ", " + ("next one after " + freed if freed.endswith(" s") and "not" not in freed else "the next one waits")


def told_to_stop(tool):
    return grandchild(tool, signal.SIGTERM)


def killed(tool):
    path, work = ticking(f"killed-{tool.__class__.__name__}")
    process = start(tool.wrap("sh", "-c", work))
    until("it works", lambda: lines(path) > 2)
    process.kill()
    process.wait()
    freed = free_after(tool, 8)
    return ("works on" if stop(path) else "is gone") + ", " + ("next one after " + freed if "not" not in freed else "the next one waits")


def server_lost(tool):
    if not tool.lose_server:
        return "–"
    path, work = ticking(f"outage-{tool.__class__.__name__}")
    process = start(tool.wrap("sh", "-c", work))
    until("it works", lambda: lines(path) > 2)
    tool.lose_server()
    begin = time.monotonic()
    last = lines(path)
    still = begin
    while time.monotonic() - begin < 12:
        time.sleep(0.2)
        now = lines(path)
        if now > last:
            last, still = now, time.monotonic()
    stopped = still - begin
    process.kill()
    works = stop(path)
    tool.serve()
    return "works on" if works or stopped > 11 else f"is gone after {stopped:.1f} s"


def hangup(tool):
    marker = os.path.join(SCRATCH, f"nohup-{tool.__class__.__name__}")
    begun = marker + "-begun"
    process = start(["nohup", *tool.wrap("sh", "-c", f"touch {begun}; sleep 1; touch {marker}")])
    until("it works", lambda: os.path.exists(begun))
    process.send_signal(signal.SIGHUP)
    code_of(process)
    time.sleep(0.2)
    return "goes on" if os.path.exists(marker) else "ends"


def full_disk(tool):
    path, work = ticking(f"full-{tool.__class__.__name__}")
    with open("/dev/full", "w") as full:
        process = start(tool.wrap("sh", "-c", work), stderr=full)
    until("it works", lambda: lines(path) > 2)
    process.send_signal(signal.SIGTERM)
    code_of(process)
    time.sleep(0.2)
    return "works on" if stop(path) else "is gone"


def given_up(tool):
    """Somebody waits behind a command, gives up, and somebody else comes."""
    holder = start(tool.wrap("sleep", "2"))
    time.sleep(0.7)
    waiter = start(tool.wrap("true", wait=True))
    time.sleep(0.5)
    waiter.send_signal(signal.SIGINT)
    code_of(waiter)
    code_of(holder)
    return free_after(tool, 10)


ROWS = [
    ("the command ends with 7", exit_code),
    ("there is no such command", no_command),
    ("it cannot be run", no_program),
    ("nobody answers at the address", no_server),
    ("the command ends and leaves a program behind: that one", grandchild),
    ("SIGTERM to the wrapper, with a start script between: the program", told_to_stop),
    ("SIGTERM to the wrapper, stderr is a full disk: the command", full_disk),
    ("SIGKILL to the wrapper: the command", killed),
    ("SIGHUP under `nohup`: the command", hangup),
    ("the server is killed and never comes back: the command", server_lost),
    ("a waiter gave up with Ctrl-C: the next one has the seat after", given_up),
]


def main():
    tools = [Leasehold(), Flock()] + ([Etcd()] if ETCD else [])
    print("| | " + " | ".join(tool.name for tool in tools) + " |")
    print("| --- |" + " --- |" * len(tools))
    for title, measure in ROWS:
        cells = []
        for tool in tools:
            cells.append(measure(tool))
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


try:
    main()
finally:
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    shutil.rmtree(SCRATCH, ignore_errors=True)
