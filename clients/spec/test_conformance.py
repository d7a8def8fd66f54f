"""The runner itself: what is wrong with a specification, a client or a list of known failures is found."""

import asyncio
import datetime
import json
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from conformance import drive, load, schema
from conformance.known import judged

# A client that takes a seat, in so far as one line of a script can tell, and does what a test adds.
DRIVER = """
import json, sys, urllib.request
print(json.dumps({"ready": "test", "spec": 2, "can": []}), flush=True)
def post(path, body, **headers):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    return json.loads(urllib.request.urlopen(request).read() or "null")
for line in sys.stdin:
    line = json.loads(line)
    if line["do"] == "start":
        url, key = line["url"], line["keys"][0]
    elif line["do"] == "acquire":
        said = post("/v1/pools/crm/leases", {"holder": "ann"})
        EXTRA
        print(json.dumps({"seat": "s", "result": "held"}), flush=True)
"""
SCENARIO = {
    "name": "one", "scenarios": [1], "drive": [{"do": "acquire", "pool": "crm"}, {"see": {"seat": "s", "result": "held"}}],
    "script": [{"expect": "acquire", "with": {"holder": "ann"}, "answer": {"grant": {}}}],
}  # fmt: skip


def why(extra="pass", **changes):
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "driver.py"
        path.write_text(textwrap.dedent(DRIVER).replace("EXTRA", extra))
        return asyncio.run(drive.run({**SCENARIO, **changes}, [sys.executable, str(path)], home, None, None))


class Runner(unittest.TestCase):
    def test_a_client_that_does_what_is_expected_passes(self):
        self.assertIsNone(why())

    def test_an_exchange_that_did_not_happen_fails(self):
        more = [*SCENARIO["script"], {"expect": "release", "answer": {"empty": 204}}]
        self.assertIn("was not asked: release", why(script=more))

    def test_a_request_that_nobody_expects_fails(self):
        self.assertIn("unexpected: renew", why('try: post("/v1/leases/renew", {"token": "t"})\n        except OSError: pass'))

    def test_another_body_than_expected_fails(self):
        self.assertIn("holder is 'ann'", why(script=[{**SCENARIO["script"][0], "with": {"holder": "bob"}}]))

    def test_an_event_that_nobody_looked_for_fails(self):
        self.assertIn("said without being asked", why('print(json.dumps({"seat": "s", "event": "lost"}), flush=True)'))

    def test_a_secret_that_is_printed_fails(self):
        self.assertIn("a secret is shown", why('print(said["token"], file=sys.stderr, flush=True)'))

    def test_a_client_that_cannot_have_it_is_left_out(self):
        self.assertEqual(why(needs=["fork"]), "needs fork")

    def test_what_a_scenario_does_not_know_is_an_error(self):
        for wrong in ({"sleep": 1, "loud": True}, {"do": "acquire", "pol": "crm"}, {"dance": 1}):
            with self.assertRaises(load.SpecError):
                load.check_steps([wrong], "here")
        for wrong in ({"grant": {}, "raw": ""}, {"grants": {}}, {"broken": "badly"}):
            with self.assertRaises(load.SpecError):
                load.check_answer(wrong, "here")

    def test_a_known_failure_has_to_happen_and_ends_on_its_day(self):
        known = {"one": {"scenario": "one", "until": "2099-01-01", "why": "not done"}}
        self.assertIsNone(judged("one", "it fails", known))
        self.assertIn("it passes", judged("one", None, known))
        self.assertEqual(judged("two", "it fails", known), "it fails")
        yesterday = datetime.date.today() - datetime.timedelta(1)
        with tempfile.TemporaryDirectory() as home:
            entry = {"drivers": {}, "machine": [], "known_failures": [{"scenario": "one", "until": str(yesterday), "why": "late"}]}
            (Path(home) / "conformance.json").write_text(json.dumps(entry))
            with self.assertRaises(load.SpecError):
                load.client(home)

    def test_a_body_that_no_server_sends_is_found(self):
        lease = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": ["integer", "null"], "minimum": 0}}}
        self.assertEqual(schema.faults({"id": "a", "n": None}, lease, {}), [])
        for wrong in ({}, {"id": 1}, {"id": "a", "n": -1}, {"id": "a", "n": True}, []):
            self.assertTrue(schema.faults(wrong, lease, {}), wrong)
        self.assertTrue(schema.faults(1, {"not": {}}, {}), "a word that the checker does not know")


if __name__ == "__main__":
    unittest.main()
