"""Web backends in the servers that people run them in, against a real Leasehold server: examples/fastapi in two processes of Uvicorn, and
Gunicorn, which forks. LEASEHOLD_URL and LEASEHOLD_KEY say where the server is; the key is an operator's, because pools are made, too."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

missing = [name for name in ("fastapi", "gunicorn", "uvicorn") if importlib.util.find_spec(name) is None]
if missing:
    print(f"there is no package {', '.join(missing)}", file=sys.stderr)
    sys.exit(77)

CLIENT = Path(__file__).resolve().parents[1]
URL, KEY = os.environ["LEASEHOLD_URL"], os.environ["LEASEHOLD_KEY"]

PREFORK = """
import os
import leasehold

client = leasehold.Client(os.environ["SEATS_URL"], os.environ["SEATS_KEY"])
seats = leasehold.Gateway(client, os.environ["POOL"])
own = client.acquire(os.environ["POOL"], holder="master")


def app(environ, start):
    user = environ["QUERY_STRING"]
    seat = seats.login(user, holder=user)
    start("200 OK", [("content-type", "text/plain")])
    return [f"{os.getpid()} {seat.state} {own.state} {own.code}".encode()]
"""


def ask(method, path, body=None, url=URL, cookie=None):
    """Status, headers and what the body says."""
    headers = {"content-type": "application/json", **({"cookie": cookie} if cookie else {"authorization": f"Bearer {KEY}"})}
    request = urllib.request.Request(url + path, None if body is None else json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read() or "null")


def leases(pool):
    return {item["holder"]: item["id"] for item in ask("GET", f"/v1/pools/{pool}/leases?limit=100")[2]["items"]}


def until(reached, seconds=15.0):
    end = time.monotonic() + seconds
    while not (found := reached()):
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)
    return found


class Backend:
    """A server in a process group of its own."""

    def __init__(self, test, home, command, **environ):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environ = {**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONDONTWRITEBYTECODE": "1", "SEATS_URL": URL, "SEATS_KEY": KEY, **environ}
        command = [sys.executable, "-m", *command, *(["--port", str(port)] if command[0] == "uvicorn" else ["--bind", f"127.0.0.1:{port}"])]
        self.process = subprocess.Popen(command, cwd=home, env=environ, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        test.addCleanup(self.process.stderr.close)
        test.addCleanup(self.kill)
        until(self.answers, 30)

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(self.process.stderr.read().decode())
        try:
            urllib.request.urlopen(self.url + "/nothing-is-here", timeout=5).close()
        except urllib.error.HTTPError:
            pass
        except OSError:
            return False
        return True

    def kill(self):
        """As a machine that loses its power."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def end(self):
        """As for a deployment."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def login(self, user):
        status, headers, said = ask("POST", "/login", {"user": user}, self.url, cookie="none=1")
        return (headers["set-cookie"].split(";")[0], None) if status == 204 else (None, (status, said["detail"]["code"]))

    def work(self, cookie):
        status, _, said = ask("GET", "/work", None, self.url, cookie)
        return status, said["process"] if status == 200 else said["detail"]["code"]


class Backends(unittest.TestCase):
    def home(self):
        home = tempfile.mkdtemp(prefix="leasehold-python-")
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        return Path(home)

    def test_fastapi_in_two_processes(self):
        pool, home = "python-fastapi", self.home()
        shutil.copy(CLIENT.parents[1] / "examples/fastapi/app.py", home)
        ask("PUT", f"/v1/pools/{pool}", {"capacity": 6, "ttl_ms": 3_000})
        # The limits of a key that is made for pages: a backend meets them with its first rush.
        limits = {"per_minute": 600, "burst": 3, "per_address_per_minute": 600}
        key = ask("POST", "/v1/keys", {"name": pool, "role": "client", "pools": [pool], "limits": limits})[2]["secret"]
        check = ask("POST", "/v1/keys", {"name": pool, "role": "verifier", "pools": [pool]})[2]["secret"]

        def start():
            more = {"SEATS_KEY": key, "SEATS_CHECK_KEY": check, "POOL": pool, "DATA": str(home)}
            return Backend(self, home, ["uvicorn", "app:app", "--workers", "2", "--log-level", "warning"], **more)

        backend = start()
        users = ["ann", "bob", "cid", "dan", "eve", "fay"]
        cookies = {user: backend.login(user)[0] for user in users}
        self.assertEqual(backend.login("gus"), (None, (403, "pool_full")))
        ids = leases(pool)
        self.assertEqual(sorted(ids), users)
        self.assertEqual(backend.work("session=nobody"), (401, "lease_released"))
        for cookie in cookies.values():  # Either process knows each session, whichever has its seat.
            until(lambda: {backend.work(cookie) for _ in range(6)} == {(200, 0), (200, 1)})

        for stop in (backend.kill, lambda: backend.end()):  # A crash, then a deployment: the seats are the same after both.
            stop()
            self.assertEqual(leases(pool), ids)
            backend = start()
            for cookie in cookies.values():
                self.assertEqual(backend.work(cookie)[0], 200)
            time.sleep(1.5)
        time.sleep(2)
        self.assertEqual(leases(pool), ids)

        ask("POST", f"/v1/pools/{pool}/leases/terminate", {"holder": "ann", "reason": "Over."})
        until(lambda: all(backend.work(cookies["ann"])[0] == 401 for _ in range(4)))
        self.assertEqual(backend.work(cookies["bob"])[0], 200)
        for user in users[1:]:  # Some of them in the process that does not have the seat.
            self.assertEqual(ask("POST", "/logout", None, backend.url, cookies[user])[0], 204)
        self.assertEqual(leases(pool), {})
        backend.end()

    def test_gunicorn_with_preload(self):
        pool, home = "python-gunicorn", self.home()
        (home / "prefork.py").write_text(PREFORK)
        ask("PUT", f"/v1/pools/{pool}", {"capacity": 9, "ttl_ms": 1_500})
        backend = Backend(self, home, ["gunicorn", "prefork:app", "--preload", "--workers", "3", "--log-level", "warning"], POOL=pool)

        def get(user):
            with urllib.request.urlopen(f"{backend.url}/?{user}", timeout=10) as answer:
                pid, *states = answer.read().decode().split()
                return int(pid), states

        workers = {}
        for _ in range(200):
            pid, states = get(f"u{len(workers)}")
            self.assertEqual(states, ["held", "lost", "forked"])  # The master's seat is no worker's.
            workers.setdefault(pid, f"u{len(workers)}")
            if len(workers) == 3:
                break
        self.assertEqual(len(workers), 3, "not every worker was asked")

        def held():  # A person has a seat in each worker that was asked.
            return sorted((item["holder"], item["id"]) for item in ask("GET", f"/v1/pools/{pool}/leases?limit=100")[2]["items"])

        first = held()
        self.assertIn("master", dict(first))
        time.sleep(4)  # Each keeps its own, and the master its.
        self.assertEqual(held(), first)
        os.kill(next(iter(workers)), signal.SIGKILL)  # Another one is forked in its place, and the seats of the dead one run out.
        until(lambda: len(held()) < len(first))
        self.assertIn("master", dict(held()))
        until(lambda: get("new")[1] == ["held", "lost", "forked"])
        backend.end()
        until(lambda: not leases(pool))  # No tokens are kept: they go back.


if __name__ == "__main__":
    unittest.main()
