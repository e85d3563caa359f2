"""A double of the Hugging Face Hub with one model, on this machine: it answers what `snapshot_download` asks,
and 404 to all else."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubDouble:
    """Serves `files` (name: bytes) as the repository's while the context lasts; `asked` has every path that
    was asked for."""

    def __init__(self, repository: str, files: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        self._repository, self._files = repository, files
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubDouble:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> bytes | None:
        """What lies there; None for nothing."""
        self.asked.append(path)
        api, resolve = f"/api/models/{self._repository}", f"/{self._repository}/resolve/{COMMIT}/"
        names = sorted(self._files)
        if path == f"{api}/revision/main":
            siblings = [{"rfilename": name} for name in names]
            return json.dumps({"id": self._repository, "sha": COMMIT, "siblings": siblings}).encode()
        if path == f"{api}/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": name, "size": len(self._files[name]), "oid": "0" * 40}
                for name in names
            ]
            return json.dumps(entries).encode()
        return self._files.get(path.removeprefix(resolve)) if path.startswith(resolve) else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = hub.answer(self.path.partition("?")[0])
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha1(content or b"").hexdigest()}"')
                self.end_headers()
                if self.command == "GET" and content:
                    self.wfile.write(content)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler
