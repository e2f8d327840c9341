"""The application: routes, limits, problems, metrics. Reads images, answers, and forgets them."""

import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request, Response, params
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from oamface import __version__
from oamface.alignment import crop_corners, crop_transform
from oamface.analyzer import Analyzer
from oamface.detection import centerface
from oamface.errors import ImageError, LabelError, OamfaceError
from oamface.images import decode
from oamface.labels import TASKS
from oamface.results import Face, Failure, ImageResult
from oamface.runtime import OPENVINO
from oamface.server.limits import BusyError, Gate, Limits, Room, SlowError
from oamface.server.openapi import EXAMPLE, PROBLEM, errors, operation
from oamface.server.uploads import BodyError, Options, Sent, read, unknown

PAGE = Path(str(files("oamface") / "server" / "static"))
# Nothing of the page may come from, or go, anywhere else.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",  # with the one above, WebAssembly gets threads
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), geolocation=(), microphone=()",
}


def create_app(
    analyzer: Analyzer, *, limits: Limits | None = None, keys: Sequence[str] = (), origins: Sequence[str] = ()
) -> FastAPI:
    """The service around an analyzer; its networks should have one thread each, since requests share the cores.

    keys: bearer tokens of which every request to /v1 and /metrics has to bring one; none asks for none.
    origins: other sites whose pages may call /v1; none by default.
    """
    limits = limits or Limits()
    gate = Gate(limits.working, limits.waiting, limits.seconds)
    metrics = _Metrics(gate)
    state = {"ready": False}

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        analyzer.analyze(np.zeros((64, 64, 3), np.uint8))  # the first call is slow, so it is nobody's
        state["ready"] = True
        yield
        state["ready"] = False
        gate.close()

    app = FastAPI(
        title="oamface",
        version=__version__,
        description="Apparent age, perceived gender and race, and mask of every face in an image. Every GET takes HEAD "
        "too. A parameter, form field or key that is not named here is refused with 422.",
        lifespan=living,
        docs_url=None,  # FastAPI's own pages of the interface load their scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # its own route would take any parameter
        redirect_slashes=False,  # the address to go to would be made of whatever the client says the host is
    )
    guarded = [Depends(_guard(keys))]
    _add_answers(app, analyzer, limits, gate, metrics.faces, guarded)
    plain = [Depends(_no_parameters)]

    @app.get("/v1/model", dependencies=guarded + plain, responses=errors(401, 422))
    def model() -> Response:
        """What the model file says of itself: classes, training data, calibration, and every figure measured."""
        return _Json({"digest": analyzer.predictor.digest, **analyzer.predictor.description})

    @app.get("/healthz", dependencies=plain, responses=errors(422))
    def healthz() -> Response:
        """The process lives."""
        return _Json({"status": "ok"})

    @app.get("/readyz", dependencies=plain, responses=errors(422, 503))
    def readyz() -> Response:
        """It can answer: the networks are loaded, and it is not shutting down."""
        if not state["ready"]:
            raise HTTPException(503, "not ready")
        return _Json({"status": "ready"})

    @app.get("/metrics", dependencies=guarded + plain, responses=errors(401, 422))
    def metrics_of() -> Response:
        """Counts and times for Prometheus; nothing in them comes from an image or tells who sent it."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json", dependencies=plain, include_in_schema=False)
    def interface() -> Response:
        return _Json(app.openapi())

    _add_networks(app, analyzer, guarded + plain)
    for path in PAGE.rglob("*.*"):  # a mounted folder would hide that a route takes another method
        name = path.relative_to(PAGE).as_posix()
        for route in ("", name) if name == "index.html" else (name,):
            app.add_api_route(f"/{route}", _file(path), include_in_schema=False, dependencies=plain)
    _add_problems(app)
    if origins:
        methods = ["GET", "HEAD", "POST"]
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=methods, allow_headers=["*"])
    app.add_middleware(_Zip)
    app.add_middleware(_Shell, metrics=metrics)
    return app


def _add_answers(
    app: FastAPI, analyzer: Analyzer, limits: Limits, gate: Gate, counter: Counter, guarded: Sequence[params.Depends]
) -> None:
    """The routes that take images."""
    room = Room(limits.memory)

    def answer(data: bytes, options: Options) -> dict[str, Any]:
        most = {"max_bytes": limits.bytes, "max_pixels": limits.pixels, "max_jpeg_pixels": 2 * limits.pixels}
        image = analyzer.analyze(decode(data, **most), crop=options.crop)
        counter.inc(len(image.faces))
        return _told(image, options.tasks, options.attention, limits.faces)

    def one(sent: Sent) -> dict[str, Any]:
        ((_, data),) = sent.images
        return answer(data, sent.options)

    def each(sent: Sent) -> dict[str, Any]:
        told = []
        for name, data in sent.images:
            try:
                told.append({**answer(data, sent.options), "source": name})
            except OamfaceError as error:
                told.append(Failure(name, error).to_dict())
        return {"images": told}

    async def answered(request: Request, work: Callable[[Sent], dict[str, Any]], *, many: bool) -> Response:
        with ExitStack() as held:
            share = held.enter_context(room.share())
            sent = await read(request, limits, share, many=many)
            # The share is given back when the work is done, which may be after the client was told that it is slow.
            return _Json(await gate.run(work, sent, after=held.pop_all().close))

    answers = {200: {"content": {"application/json": {"example": EXAMPLE}}}, **errors()}

    @app.post("/v1/analyze", dependencies=list(guarded), responses=answers, openapi_extra=operation(many=False))
    async def analyze(request: Request) -> Response:
        """One image, as the body, as the form field `image`, or as `image` in JSON, in base64.

        The answer is that of `oamface analyze --json`.
        """
        return await answered(request, one, many=False)

    batch_answers = {**answers, 200: {"content": {"application/json": {"example": {"images": [EXAMPLE]}}}}}

    @app.post("/v1/batch", dependencies=list(guarded), responses=batch_answers, openapi_extra=operation(many=True))
    async def batch(request: Request) -> Response:
        """Several images, as form fields `image`, or as the list `images` in JSON, in base64.

        One answer each in their order; of one that cannot be read an `error`.
        """
        return await answered(request, each, many=True)


def _add_networks(app: FastAPI, analyzer: Analyzer, dependencies: Sequence[params.Depends]) -> None:
    held: dict[str, tuple[str, Callable[[], bytes]]] = {"detector": (__version__, centerface)}
    if analyzer.predictor.path.suffix != OPENVINO:
        held["predictor"] = (analyzer.predictor.digest, analyzer.predictor.path.read_bytes)

    @app.get("/models/{network}.onnx", dependencies=list(dependencies), include_in_schema=False)
    def models(network: str, request: Request) -> Response:
        """The networks themselves, for the page to answer on the visitor's own device."""
        if network not in held:
            raise HTTPException(404, f"no network {network!r} that a browser could run")
        version, load = held[network]
        headers = {"etag": f'"{version}"', "cache-control": "no-cache"}  # kept by the browser, asked about each time
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(load(), media_type="application/octet-stream", headers=headers)


def _add_problems(app: FastAPI) -> None:
    @app.exception_handler(OamfaceError)
    def wrong(request: Request, error: OamfaceError) -> Response:
        headers = error.headers if isinstance(error, BodyError) else {}
        return _problem(_status(error), str(error), {"Retry-After": "1"} if isinstance(error, BusyError) else headers)

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: StarletteHTTPException) -> Response:
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"
        return _problem(error.status_code, str(error.detail), headers)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        return _problem(500, "something went wrong here; the image is not kept")


def _guard(keys: Sequence[str]) -> Callable[[Request], None]:
    def allowed(request: Request) -> None:
        if not keys:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Every key is compared, and all of it, so that the time taken tells nothing.
        matches = [hmac.compare_digest(given.encode(), key.encode()) for key in keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise HTTPException(401, "a key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})

    return allowed


async def _no_parameters(request: Request) -> None:
    for name in request.query_params:
        raise unknown("parameter", name, ())


def _file(path: Path) -> Callable[[], FileResponse]:
    # Not every system knows an .mjs, and a browser runs no script that is called something else.
    kind = "text/javascript" if path.suffix in (".js", ".mjs") else None
    return lambda: FileResponse(path, media_type=kind)


class _Json(JSONResponse):
    """In ASCII, since a name that a client sends can hold what UTF-8 cannot."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


class _Metrics:
    """In a registry of its own, so that several applications can live in one process."""

    def __init__(self, gate: Gate) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("oamface_requests", "Requests", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("oamface_request_seconds", "Time to the answer", ["route"], registry=self.registry)
        self.faces = Counter("oamface_faces", "Faces answered for", registry=self.registry)
        busy = Gauge("oamface_busy", "Requests that are computed or wait for it", registry=self.registry)
        busy.set_function(lambda: gate.busy)


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Zip(GZipMiddleware):
    """Compresses for clients that ask for it; never the networks, whose weights do not get smaller."""

    def __init__(self, app: Asgi) -> None:
        super().__init__(app, minimum_size=1000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        networks = scope["type"] == "http" and str(scope["path"]).startswith("/models/")
        if networks or _refuses_gzip(scope):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _refuses_gzip(scope: Scope) -> bool:
    said = dict(scope.get("headers", [])).get(b"accept-encoding", b"")
    return re.search(rb"gzip\s*;\s*q=0(\.0*)?\s*(,|$)", said) is not None


class _Shell:
    """Around every request: security headers, no caching of answers, HEAD as GET without the body, counts."""

    def __init__(self, app: Asgi, metrics: _Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        path, headless = str(scope["path"]), scope["method"] == "HEAD"
        if headless:
            scope = {**scope, "method": "GET"}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = list(message.get("headers", []))
                headers += [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                if path.startswith("/v1"):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            elif headless:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            # Only routes that exist name a series, so that nobody can fill the memory with made-up ones.
            route = getattr(scope.get("route"), "path", None) or "other"
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)


def _told(image: ImageResult, tasks: tuple[str, ...], attention: bool, most: int) -> dict[str, Any]:
    """The schema's dictionary with the tasks asked for; `more` counts the faces beyond the limit."""
    told = image.to_dict()
    left_out = [task for task in TASKS if task not in tasks]
    for row, face in zip(told["faces"], image.faces, strict=True):
        for task in left_out:
            row.pop(task, None)
        if attention and face.attention is not None:
            row["attention"] = _attention(face)
    if len(told["faces"]) > most:
        told["more"] = len(told["faces"]) - most
        told["faces"] = told["faces"][:most]
    return told


def _attention(face: Face) -> dict[str, Any]:
    """`values`: rows of shares 0..1 over the aligned crop; `corners`: where the crop lies in the image, clockwise."""
    assert face.attention is not None
    corners = crop_corners(crop_transform(face.landmarks))
    return {
        "values": np.round(face.attention.astype(float), 2).tolist(),
        "corners": np.round(corners, 1).tolist(),
    }


def _status(error: OamfaceError) -> int:
    if isinstance(error, BodyError):
        return error.status
    for kind, status in ((BusyError, 503), (SlowError, 504), (ImageError, 415), (LabelError, 422)):
        if isinstance(error, kind):
            return status
    return 400


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """A problem document (RFC 9457)."""
    title = HTTPStatus(status).phrase
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return _Json(content, status, headers, media_type=PROBLEM)
