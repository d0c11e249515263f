"""A key-value store over HTTP: GET and PUT of /KEY, and /health."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

values: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, b"ok\n")
        elif self.path in values:
            self.answer(200, values[self.path])
        else:
            self.answer(404, b"no such key\n")

    def do_PUT(self) -> None:
        values[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"kept\n")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = int(os.environ["PORT"])
print(f"listening on port {port}", flush=True)
ThreadingHTTPServer(("", port), Handler).serve_forever()
