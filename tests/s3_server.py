"""A small S3 server over a dictionary: GET and HEAD of objects, ListObjectsV2, real signatures.

Enough to fetch from, and no more: it recomputes AWS's Signature Version 4 of every request, so that
a wrong secret is refused as S3 refuses it.
"""

import hashlib
import hmac
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

KEY, SECRET, REGION = "AKIDTEST", "a secret", "eu-test-1"


class S3Server(ThreadingHTTPServer):
    """Buckets of objects; `answers` may hold status codes to give first, as a busy server does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.answers: list[int] = []
        self.cut_bodies = False
        self.requests = 0
        self.downloads = 0
        self.weak_tags = False

    def tag_of(self, body: bytes) -> str:
        tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        return f"W/{tag}" if self.weak_tags else tag

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running() -> Iterator[S3Server]:
    server = S3Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, server: S3Server) -> None:
    """The environment of a user of this server, and of no other configuration on the machine."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("SLIPWAY_S3_ENDPOINT_URL", server.address)
    monkeypatch.setenv("SLIPWAY_S3_REGION", REGION)


class _Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.answers:
            return self._refuse(self.server.answers.pop(0), "ServiceUnavailable")
        if (code := self._wrong_signature()) is not None:
            return self._refuse(403, code)
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
        objects = self.server.buckets.get(bucket)
        if objects is None:
            return self._refuse(404, "NoSuchBucket")
        if not key:
            return self._send(200, self._listing(bucket, objects))
        if key not in objects:
            return self._refuse(404, "NoSuchKey")
        self.server.downloads += self.command == "GET"
        return self._send(
            200, objects[key], cut=self.server.cut_bodies, tag=self.server.tag_of(objects[key])
        )

    def _wrong_signature(self) -> str | None:
        """S3's code for what is wrong with the Authorization header."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/s3/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            self.headers.get("Authorization", ""),
        )
        if found is None:
            return "AccessDenied"
        key, day, region, names, signature = found.groups()
        if key != KEY or region != REGION:
            return "InvalidAccessKeyId" if key != KEY else "AuthorizationHeaderMalformed"
        parts = urlsplit(self.path)
        query = "&".join(
            f"{quote(k, safe='')}={quote(v, safe='')}"
            for k, v in sorted(parse_qsl(parts.query, keep_blank_values=True))
        )
        headers = "".join(f"{n}:{(self.headers[n] or '').strip()}\n" for n in names.split(";"))
        payload = self.headers["x-amz-content-sha256"]
        request = f"{self.command}\n{parts.path}\n{query}\n{headers}\n{names}\n{payload}"
        scope = f"{day}/{region}/s3/aws4_request"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{hashed}"
        secret = f"AWS4{SECRET}".encode()
        for part in (*scope.split("/"), text):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        return None if hmac.compare_digest(secret.hex(), signature) else "SignatureDoesNotMatch"

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _send(self, status: int, body: bytes, *, cut: bool = False, tag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def _listing(self, bucket: str, objects: dict[str, bytes]) -> bytes:
        """One key a page, so that paging is tested as well."""
        query = dict(parse_qsl(urlsplit(self.path).query))
        after = query.get("continuation-token", "")
        keys = [k for k in sorted(objects) if k.startswith(query.get("prefix", "")) and k > after]
        more = f"<NextContinuationToken>{keys[0]}</NextContinuationToken>" if len(keys) > 1 else ""
        contents = "".join(
            f"<Contents><Key>{quote(k)}</Key><ETag>{escape(self.server.tag_of(objects[k]))}</ETag>"
            f"<Size>{len(objects[k])}</Size></Contents>"
            for k in keys[:1]
        )
        return (
            f"<ListBucketResult><Name>{bucket}</Name><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(len(keys) > 1).lower()}</IsTruncated>{more}{contents}"
            "</ListBucketResult>"
        ).encode()

    def log_message(self, *_: Any) -> None:
        """Silence: the base class writes to stderr."""
