"""A hub of data sets in miniature: what huggingface_hub asks for, over files in memory."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

REPO = "org/data"


class DataHub:
    """Files by revision, and what was asked for."""

    def __init__(self, **revisions: dict[str, bytes]) -> None:
        self.files = {name.replace("converted", "refs/convert/parquet"): files for name, files in revisions.items()}
        self.asked: list[str] = []
        self.endpoint = ""

    def commit(self, revision: str) -> str:
        return hashlib.sha1(revision.encode()).hexdigest()

    def at(self, revision: str) -> dict[str, bytes] | None:
        return next((files for name, files in self.files.items() if revision in (name, self.commit(name))), None)

    def fetched(self) -> list[str]:
        """The files that were sent, in order."""
        return [line.rpartition("/resolve/")[2].partition("/")[2] for line in self.asked if "GET /datasets/" in line]


def handler(hub: DataHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlparse(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if match := re.fullmatch(rf"/api/datasets/{REPO}(?:/revision/(.+))?", path):
                return self.about(match[1] or "main")
            if match := re.fullmatch(rf"/datasets/{REPO}/resolve/([0-9a-f]+)/(.+)", path):
                return self.file(match[1], match[2], body=body)
            return self.missing("RepoNotFound")

        def about(self, revision: str) -> None:
            files = hub.at(revision)
            if files is None:
                self.missing("RevisionNotFound")
                return
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            data = json.dumps({"id": REPO, "sha": hub.commit(revision), "siblings": siblings, "tags": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def file(self, revision: str, name: str, *, body: bool) -> None:
            data = (hub.at(revision) or {})[name]
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", revision)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def missing(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@contextmanager
def serving(hub: DataHub) -> Iterator[DataHub]:
    """Serve `hub` on this machine until the end of the `with`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
