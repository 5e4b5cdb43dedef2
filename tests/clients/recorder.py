"""Shows what a client really sends: a proxy that prints every request and the status of its answer. A debugging tool:
`python tests/clients/recorder.py http://127.0.0.1:8000 8001`, then point a client at port 8001."""

from __future__ import annotations

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
_SHOWN = 120  # characters of a string; pictures are long


class Recorder(BaseHTTPRequestHandler):
    """Forwards one request to `upstream`, and its answer as it comes."""

    upstream = ""

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        address = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=300)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        told = b""
        while piece := answer.read1(65536):
            self.wfile.write(piece)
            self.wfile.flush()
            told += piece if answer.status >= 400 else b""
        connection.close()
        print(f"{self.command} {self.path} -> {answer.status} {_shown(body)} {told.decode()[:400]}", flush=True)

    do_GET = do_POST = do_HEAD = do_OPTIONS = do_DELETE = _forward  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _shown(body: bytes) -> str:
    try:
        return json.dumps(_short(json.loads(body)))
    except ValueError:
        return repr(body[:_SHOWN])


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return value[:_SHOWN] + "..." if isinstance(value, str) and len(value) > _SHOWN else value


if __name__ == "__main__":
    Recorder.upstream = sys.argv[1]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Recorder).serve_forever()
