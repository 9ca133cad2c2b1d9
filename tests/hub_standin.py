"""A small Hugging Face Hub on this machine: the few requests that huggingface_hub makes to download
a folder and to commit one.
"""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standin"
Files = dict[str, bytes]


def named(*content: Any) -> str:
    return hashlib.sha1(repr(content).encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    """Repositories by USER/NAME, each with commits by branch.

    Attributes:
        asked: each request, method and path.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.asked: list[str] = []

    def commit(self, repository: str, files: Files, branch: str = "main") -> str:
        branches = self.branches.setdefault(repository, {})
        files = self.commits.get(branches.get(branch, ""), {}) | files
        name = branches[branch] = named(*sorted(files.items()))
        self.commits[name] = files
        return name


class Requests(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: Any = b"", status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        """/api/models/USER/NAME/revision or tree/REVISION, /USER/NAME/resolve/COMMIT/FILE"""
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0].removeprefix("/api/models").strip("/")
        user, name, what, revision, *file = [*path.split("/"), *[""] * 4][:5]
        branches = self.server.branches.get(f"{user}/{name}")
        if branches is None:
            return self.answer(status=404, X_Error_Code="RepoNotFound")
        commit = branches.get(revision, revision)
        files = self.server.commits.get(commit)
        if files is None:
            return self.answer(status=404, X_Error_Code="RevisionNotFound")
        if what == "revision":
            return self.answer({"id": f"{user}/{name}", "sha": commit, "siblings": []})
        if what == "tree":
            known = [(path, len(content), named(content)) for path, content in files.items()]
            keys = ("type", "path", "size", "oid")
            return self.answer([dict(zip(keys, ("file", *one), strict=True)) for one in known])
        content = files[file[0]]
        return self.answer(content, X_Repo_Commit=commit, ETag=f'"{named(content)}"')

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """/api/models/USER/NAME/preupload or commit/BRANCH; what else is asked is done already."""
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if TOKEN not in self.headers.get("Authorization", ""):
            return self.answer({"error": "Invalid username or password."}, 401)
        user, name, what, branch = [*self.path.split("/"), *[""] * 4][3:7]
        address = f"{self.server.address}/{user or 'user'}/{name or 'name'}"
        if what == "preupload":
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            files = json.loads(body)["files"]
            return self.answer({"files": [{"path": file["path"], **modes} for file in files]})
        if what != "commit":
            return self.answer({"errors": [], "warnings": [], "url": address})
        lines = [json.loads(line) for line in body.splitlines()]
        made = [line["value"] for line in lines if line["key"] == "file"]
        files = {file["path"]: base64.b64decode(file["content"]) for file in made}
        commit = self.server.commit(f"{user}/{name}", files, branch)
        self.answer({"commitUrl": f"{address}/commit/{commit}", "commitOid": commit})
