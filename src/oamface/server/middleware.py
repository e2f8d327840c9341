"""What surrounds every request: metrics, security headers, HEAD, compression."""

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.middleware.gzip import GZipMiddleware

from oamface.server.responses import internal_error

# The page may neither load anything from elsewhere nor send anything there.
_SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",  # with the one above, WebAssembly gets threads
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), geolocation=(), microphone=()",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Metrics:
    """Prometheus metrics in a registry of their own, so that several applications can run in one process.

    active: returns the number of requests that are computed or queued.
    """

    def __init__(self, active: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("oamface_requests", "Requests", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("oamface_request_seconds", "Response time", ["route"], registry=self.registry)
        self.faces = Counter("oamface_faces", "Faces analyzed", registry=self.registry)
        busy = Gauge("oamface_busy", "Requests that are computed or queued", registry=self.registry)
        busy.set_function(active)


class Compression(GZipMiddleware):
    """Gzip for clients that accept it; never for the networks, which do not get smaller."""

    def __init__(self, app: AsgiApp) -> None:
        super().__init__(app, minimum_size=1000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_network = scope["type"] == "http" and str(scope["path"]).endswith(".onnx")
        if is_network or not accepts_gzip(scope):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def accepts_gzip(scope: Scope) -> bool:
    """Whether the client of a request takes gzip."""
    accepted = dict(scope.get("headers", [])).get(b"accept-encoding", b"")
    return b"gzip" in accepted and re.search(rb"gzip\s*;\s*q=0(\.0*)?\s*(,|$)", accepted) is None


class RequestMiddleware:
    """Adds security headers, forbids to cache results, handles HEAD as GET without a body, and counts requests."""

    def __init__(self, app: AsgiApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        path, is_head = str(scope["path"]), scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def send_modified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = list(message.get("headers", []))
                headers += [(name.encode(), value.encode()) for name, value in _SECURITY_HEADERS.items()]
                if path.startswith("/v1"):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(scope, receive, send_modified)
        except Exception:  # here, since an exception handler's response would lack the headers
            if not status:
                await internal_error()(scope, receive, send_modified)
            raise
        finally:
            # Only existing routes become a label, so that made-up paths cannot fill the memory.
            route = getattr(scope.get("route"), "path", None) or "other"
            self.metrics.requests.labels(route, str(status or 500)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)
