"""Programs as people write them, against a real server: a backend that is killed and started again, and one that forks.

LEASEHOLD_URL and LEASEHOLD_KEY say where it is; the key is an operator's, because pools are made, too.
"""

import json
import os
import signal
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import leasehold  # noqa: E402

URL, KEY = os.environ["LEASEHOLD_URL"], os.environ["LEASEHOLD_KEY"]

BACKEND = """
import json, sys
sys.path.insert(0, {home!r})
import leasehold

class Kept(dict):  # A table of the backend, which is on the disk after each change.
    def __setitem__(self, session, token):
        super().__setitem__(session, token)
        self.save()

    def pop(self, *arguments):
        try:
            return super().pop(*arguments)
        finally:
            self.save()

    def save(self):
        with open({path!r}, "w") as file:
            json.dump(self, file)

seats = leasehold.Gateway(leasehold.Client({url!r}, {key!r}), {pool!r}, tokens=Kept(json.load(open({path!r}))))
print(seats.restore(), flush=True)
for line in sys.stdin:
    for session in line.split():
        print(seats.login(session, holder=session).id, flush=True)
"""


def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers, method=method)) as response:
        text = response.read()
        return json.loads(text) if text else None


def pool(name, **policy):
    ask("PUT", f"/v1/pools/{name}", policy)
    return name


def holders(name):
    return sorted(item["holder"] for item in ask("GET", f"/v1/pools/{name}/leases?limit=100")["items"])


def until(reached, seconds=10.0):
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)


class Programs(unittest.TestCase):
    def test_a_backend_that_is_killed_and_started_again_goes_on_with_its_seats(self):
        name, path = (
            pool("python-backend", capacity=5, ttl_ms=10_000),
            f"{os.environ.get('TMPDIR', '/tmp')}/leasehold-{os.getpid()}.json",
        )
        Path(path).write_text("{}")
        self.addCleanup(os.unlink, path)
        text = BACKEND.format(home=str(Path(__file__).resolve().parents[1]), url=URL, key=KEY, pool=name, path=path)

        def start():
            backend = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.addCleanup(backend.communicate)
            self.addCleanup(backend.kill)
            return backend, int(backend.stdout.readline())

        def login(backend, *sessions):
            backend.stdin.write(" ".join(sessions) + "\n")
            backend.stdin.flush()
            return [backend.stdout.readline().strip() for _ in sessions]

        first, restored = start()
        self.assertEqual(restored, 0)
        ids = login(first, "ann", "bob")
        until(lambda: len(json.loads(Path(path).read_text())) == 2)
        first.send_signal(signal.SIGKILL)
        first.wait()
        second, restored = start()
        self.assertEqual(restored, 2)
        self.assertEqual(login(second, "ann", "bob"), ids)
        self.assertEqual(holders(name), ["ann", "bob"])

    def test_a_lost_seat_is_told_and_forgotten(self):
        name, lost = pool("python-lost", capacity=2, ttl_ms=1_000), []
        seats = leasehold.Gateway(
            leasehold.Client(URL, KEY), name, on_lost=lambda session, error: lost.append((session, error.reason))
        )
        seats.login("s1", holder="ann")
        seats.login("s2", holder="bob")
        ask("POST", f"/v1/pools/{name}/leases/terminate", {"holder": "ann", "reason": "Over."})
        until(lambda: lost)
        self.assertEqual(lost, [("s1", "Over.")])
        until(lambda: len(seats) == 1)
        with self.assertRaises(leasehold.SeatLost):
            seats.check("s1")
        self.assertTrue(seats.check("s2").sure)
        seats.logout("s2")
        self.assertEqual(holders(name), [])

    def test_workers_that_fork_have_seats_of_their_own(self):
        name = pool("python-prefork", capacity=5, ttl_ms=1_500)
        client = leasehold.Client(URL, KEY)
        with client.acquire(name, holder="parent") as seat:
            told, tell = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    with client.acquire(name, holder="child") as own:
                        time.sleep(2)
                        os.write(tell, f"{seat.state} {seat.code} {own.state} {holders(name)}".encode())
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            self.assertEqual(os.read(told, 200).decode(), "lost forked held ['child', 'parent']")
            self.assertTrue(seat.sure)
            self.assertEqual(holders(name), ["parent"])
        self.assertEqual(holders(name), [])

    def test_hundreds_of_seats_are_kept_by_few_requests(self):
        name = pool("python-many", capacity=300, ttl_ms=6_000)
        seats = leasehold.Gateway(leasehold.Client(URL, KEY), name)
        for number in range(120):
            seats.login(f"s{number}", holder=f"h{number}")
        time.sleep(8)
        self.assertTrue(all(seats.check(f"s{number}").sure for number in range(120)))
        seats.client.close()
        self.assertEqual(holders(name), [])


if __name__ == "__main__":
    unittest.main()
