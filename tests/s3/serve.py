"""Serves S3 on a free port of loopback, which it prints; ends with its standard input.

The bucket `locks` is a store as it should be. `careless` does not heed `If-None-Match`, as some
servers do not.
"""

import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def serve(environ, start_response):
    if environ["PATH_INFO"].startswith("/careless/"):
        environ.pop("HTTP_IF_NONE_MATCH", None)
    # moto looks whether an object is there, and then writes it; a real store does both in one.
    with one_at_a_time:
        return list(moto(environ, start_response))


class Quiet(WSGIRequestHandler):
    def log(self, kind, message, *rest):
        pass


def end_with_standard_input():
    sys.stdin.read()
    os._exit(0)


for bucket in ("locks", "careless"):
    s3_backends["123456789012"]["aws"].create_bucket(bucket, "us-east-1")
server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=Quiet)
print(server.port, flush=True)
threading.Thread(target=end_with_standard_input, daemon=True).start()
server.serve_forever()
