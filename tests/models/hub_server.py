"""A hub in miniature: the routes huggingface_hub asks for, over folders in memory, with faults to order."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

REPO = "org/tiny"


class Hub:
    """Files by revision (a branch or tag), and what was asked for."""

    def __init__(self, revisions: dict[str, Path]) -> None:
        self.files = {r: {p.name: p.read_bytes() for p in folder.iterdir()} for r, folder in revisions.items()}
        self.commits = {r: hashlib.sha1(r.encode()).hexdigest() for r in revisions}
        self.asked: list[str] = []
        self.wrong: dict[str, bytes] = {}
        """File name to the bytes sent in place of the right ones."""
        self.cut: dict[str, int] = {}
        """File name to the byte after which the connection is dropped."""
        self.endpoint = ""

    def files_at(self, revision: str) -> dict[str, bytes] | None:
        for name, commit in self.commits.items():
            if revision in (name, commit):
                return self.files[name]
        return None

    def commit(self, revision: str) -> str:
        return self.commits.get(revision, revision)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
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
            if match := re.fullmatch(rf"/api/models/{REPO}(?:/revision/(.+))?", path):
                return self.about(match[1] or "main")
            if path == f"/api/models/{REPO}/refs":
                refs = [
                    {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                    for name, commit in hub.commits.items()
                ]
                return self.send({"branches": refs, "tags": [], "converts": []})
            if match := re.fullmatch(rf"/{REPO}/resolve/(.+)/([^/]+)", path):
                return self.file(match[1], match[2], body=body)
            return self.missing("RepoNotFound")

        def about(self, revision: str) -> None:
            files = hub.files_at(revision)
            if files is None:
                return self.missing("RevisionNotFound")
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            return self.send({"id": REPO, "modelId": REPO, "sha": hub.commit(revision), "siblings": siblings})

        def file(self, revision: str, name: str, *, body: bool) -> None:
            files = hub.files_at(revision)
            if files is None or name not in files:
                self.missing("RevisionNotFound" if files is None else "EntryNotFound")
                return
            right = files[name]
            data = hub.wrong.get(name, right)
            large = name.endswith(".safetensors")
            tag = (hashlib.sha256 if large else hashlib.sha1)(right).hexdigest()
            start = 0
            if span := self.headers.get("Range"):
                start = int(span.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{tag}"')
            self.send_header("X-Repo-Commit", hub.commit(revision))
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if body:
                end = hub.cut.pop(name, len(data))
                self.wfile.write(data[start:end])
                self.close_connection = end < len(data)

        def send(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def missing(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
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
