"""What a package index says against tools: asked of a real server with an index's answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from slipway.stages.advisories import find_advisories

ANSWERS = {
    "/pypi/sound/1.0/json": {"info": {"yanked": False}, "vulnerabilities": []},
    "/pypi/pulled/2.1/json": {"info": {"yanked": True, "yanked_reason": "broken wheel"}},
    "/pypi/weak/3.0/json": {
        "info": {},
        "vulnerabilities": [
            {"id": "CVE-2026-1", "fixed_in": ["3.1"]},
            {"id": "CVE-2026-2", "fixed_in": ["3.2"], "withdrawn": "2026-01-01"},
        ],
    },
}


class _Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = ANSWERS.get(self.path)
        body = json.dumps(found).encode() if found else b"<html>"
        self.send_response(200 if found or self.path.startswith("/pypi/odd") else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/pypi"
    server.shutdown()
    thread.join()
    server.server_close()


def test_yanked_and_vulnerable_versions_are_told_and_sound_ones_are_not(index: str) -> None:
    tools = {"sound": "1.0", "pulled": "2.1", "weak": "3.0+cpu", "ours": "0.1", "none": "absent"}
    found = {it.tool: (it.kind, it.sentence) for it in find_advisories(tools, index=index)}
    assert found == {
        "pulled": ("yanked", "pulled 2.1 was yanked from the index: broken wheel"),
        "weak": ("vulnerable", "weak 3.0+cpu is vulnerable: CVE-2026-1; fixed in 3.1"),
    }


def test_an_index_that_cannot_be_asked_is_told(index: str) -> None:
    (nobody,) = find_advisories({"sound": "1.0"}, index="http://127.0.0.1:9/pypi")
    assert nobody.kind == "unknown"
    (odd,) = find_advisories({"odd": "1.0"}, index=index)
    assert odd.kind == "unknown"
    (file,) = find_advisories({"sound": "1.0"}, index="file:///etc")
    assert file.kind == "unknown"
