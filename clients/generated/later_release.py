"""A node of a later release: passes requests on, and adds a member to every object of every answer in JSON.

    later_release.py http://127.0.0.1:7070    prints the port that it listens on

Maps from names to values (`levels_ms`, `checks`) stay as they are: their members are no fields. The OpenAPI document tells them apart.
"""

import http.client
import json
import sys
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NODE = urllib.parse.urlsplit(sys.argv[1])


def maps(schema, name=None):
    """The names of members whose schema is that of a map."""
    if isinstance(schema, list):
        return {found for item in schema for found in maps(item, name)}
    if not isinstance(schema, dict):
        return set()
    found = {name} if isinstance(schema.get("additionalProperties"), dict) else set()
    for keyword, value in schema.items():
        if keyword == "properties":
            for member, inner in value.items():
                found |= maps(inner, member)
        else:
            # An optional map is one of several schemas of its member.
            found |= maps(value, name if keyword == "oneOf" else None)
    return found


def extended(value, name=None):
    if isinstance(value, list):
        return [extended(item) for item in value]
    if isinstance(value, dict):
        members = {member: extended(item, member) for member, item in value.items()}
        if name not in MAPS:
            members["added_later"] = {"by": ["a", "later", "release"]}
        return members
    return value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else None
        if "chunked" in (self.headers.get("transfer-encoding") or ""):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        hop = ("host", "connection", "transfer-encoding", "content-length", "upgrade", "http2-settings")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in hop}
        node = http.client.HTTPConnection(NODE.hostname, NODE.port, timeout=30)
        node.request(self.command, self.path, body, headers)
        answer = node.getresponse()
        text = answer.read()
        media_type = answer.getheader("content-type") or ""
        if "json" in media_type and text:
            text = json.dumps(extended(json.loads(text))).encode()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date"):
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        node.close()

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = pass_on

    def log_message(self, *_):
        pass


with urllib.request.urlopen(f"{sys.argv[1]}/v1/openapi.json", timeout=30) as document:
    MAPS = maps(json.load(document)["components"]["schemas"])
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
