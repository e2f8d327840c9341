"""The application: routes, limits, problems, metrics. Reads pictures, answers, and forgets them."""

import hmac
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware

from oamface import __version__
from oamface.align import chip_corners, chip_transform
from oamface.analyzer import Analyzer
from oamface.detect import centerface
from oamface.errors import ImageError, LabelError, OamfaceError
from oamface.faces import SCHEMA, Face, Failure, Photograph
from oamface.imaging import read_image
from oamface.labels import TASKS, check_tasks
from oamface.runtime import OPENVINO
from oamface.serve.body import BodyError, pictures
from oamface.serve.gate import BusyError, Gate, SlowError

PAGE = Path(str(files("oamface") / "serve" / "page"))
PROBLEM = "application/problem+json"
EXAMPLE = {
    "schema": SCHEMA,
    "source": None,
    "width": 640,
    "height": 480,
    "faces": [
        {
            "box": [231.4, 118.0, 190.2, 251.7],
            "score": 0.9312,
            "landmarks": [[280.1, 229.4], [392.0, 228.8], [341.5, 297.2], [297.7, 338.6], [376.9, 336.0]],
            "age": {"years": 31.4, "low": 24.0, "high": 39.0, "level": 0.9},
            "gender": {"label": "female", "probability": 0.9471, "probabilities": {"male": 0.0529, "female": 0.9471}},
            "mask": {
                "label": "none",
                "probability": 0.9987,
                "probabilities": {"none": 0.9987, "incorrect": 0.0013, "worn": 0.0},
            },
            "visibility": 0.9931,
        }
    ],
}
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
_ALL = ",".join(TASKS)


@dataclass(frozen=True)
class Limits:
    """bytes: of one picture. pixels: of it. faces: answered for in it. pictures: of one batch.

    working: requests that are computed at once; waiting: others in line. seconds: for a body to arrive, and again for
    the answer.
    """

    bytes: int = 16 * 2**20
    pixels: int = 40_000_000
    faces: int = 100
    pictures: int = 32
    working: int = field(default_factory=lambda: os.cpu_count() or 1)
    waiting: int = 32
    seconds: float = 30.0


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

    def allowed(request: Request) -> None:
        if not keys:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Every key is compared, and all of it, so that the time taken tells nothing.
        matches = [hmac.compare_digest(given.encode(), key.encode()) for key in keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise HTTPException(401, "a key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})

    app = FastAPI(
        title="oamface",
        version=__version__,
        description="Apparent age, perceived gender and race, and mask of every face in a photograph.",
        lifespan=living,
        docs_url=None,  # FastAPI's own pages of the interface load their scripts from elsewhere
        redoc_url=None,
    )
    guarded = [Depends(allowed)]
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"example": EXAMPLE}}},
        **{status: {"content": {PROBLEM: {}}} for status in (400, 401, 408, 413, 415, 422, 503, 504)},
    }
    body = {
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
                },
            },
        }
    }
    Tasks = Annotated[str, Query(description="Which of age, gender, race, mask to answer, joined by commas.")]
    Crop = Annotated[bool, Query(description="Every picture shows one face that fills it.")]
    Attention = Annotated[bool, Query(description="Add where the network looked.")]

    def answer(data: bytes, tasks: tuple[str, ...], crop: bool, attention: bool) -> dict[str, Any]:
        image = read_image(data, max_bytes=limits.bytes, max_pixels=limits.pixels)
        photograph = analyzer.analyze(image, crop=crop)
        metrics.faces.inc(len(photograph.faces))
        return _told(photograph, tasks, attention, limits.faces)

    @app.post("/v1/analyze", dependencies=guarded, responses=answers, openapi_extra=body)
    async def analyze(
        request: Request, tasks: Tasks = _ALL, crop: Crop = False, attention: Attention = False
    ) -> JSONResponse:
        """One picture, as the body or as the form field `image`; the answer is that of `oamface analyze --json`."""
        chosen = check_tasks(tasks.split(","))
        ((_, data),) = await pictures(request, field="image", count=1, size=limits.bytes, seconds=limits.seconds)
        return JSONResponse(await gate.run(answer, data, chosen, crop, attention))

    @app.post("/v1/batch", dependencies=guarded, responses={**answers, 200: {}})
    async def batch(
        request: Request, tasks: Tasks = _ALL, crop: Crop = False, attention: Attention = False
    ) -> JSONResponse:
        """Several pictures, as the form fields `image`; one answer each in their order, a bad one an `error`."""
        chosen = check_tasks(tasks.split(","))
        count = limits.pictures
        given = await pictures(request, field="image", count=count, size=limits.bytes, seconds=limits.seconds)

        def each() -> list[dict[str, Any]]:
            told = []
            for name, data in given:
                try:
                    told.append({**answer(data, chosen, crop, attention), "source": name})
                except OamfaceError as error:
                    told.append(Failure(name, error).to_dict())
            return told

        return JSONResponse({"pictures": await gate.run(each)})

    @app.get("/v1/model", dependencies=guarded)
    def model() -> dict[str, Any]:
        """What the model file says of itself: classes, training data, calibration, and every figure measured."""
        return {"digest": analyzer.engine.digest, **analyzer.engine.description}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        """It can answer: the networks are loaded, and it is not shutting down."""
        if not state["ready"]:
            raise HTTPException(503, "not ready")
        return {"status": "ready"}

    @app.get("/metrics", dependencies=guarded)
    def metrics_of() -> Response:
        """Counts and times for Prometheus; nothing in them comes from a picture or tells who sent it."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(OamfaceError)
    def wrong(request: Request, error: OamfaceError) -> JSONResponse:
        return _problem(_status(error), str(error), {"Retry-After": "1"} if isinstance(error, BusyError) else {})

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def unclear(request: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        return _problem(422, said)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> JSONResponse:
        return _problem(500, "something went wrong here; the picture is not kept")

    held: dict[str, tuple[str, Callable[[], bytes]]] = {"detector": (__version__, centerface)}
    if analyzer.engine.path.suffix != OPENVINO:
        held["engine"] = (analyzer.engine.digest, analyzer.engine.path.read_bytes)

    @app.get("/models/{network}.onnx", dependencies=guarded, include_in_schema=False)
    def models(network: str, request: Request) -> Response:
        """The networks themselves, for the page to answer on the visitor's own device."""
        if network not in held:
            raise HTTPException(404, f"no network {network!r} that a browser could run")
        version, read = held[network]
        headers = {"etag": f'"{version}"', "cache-control": "no-cache"}  # kept by the browser, asked about each time
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(read(), media_type="application/octet-stream", headers=headers)

    for path in PAGE.rglob("*.*"):  # a mounted folder would hide that a route takes another method
        name = path.relative_to(PAGE).as_posix()
        for route in ("", name) if name == "index.html" else (name,):
            app.add_api_route(f"/{route}", _file(path), include_in_schema=False)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    app.add_middleware(_Shell, metrics=metrics)
    return app


def _file(path: Path) -> Callable[[], FileResponse]:
    # Not every system knows an .mjs, and a browser runs no script that is called something else.
    kind = "text/javascript" if path.suffix in (".js", ".mjs") else None
    return lambda: FileResponse(path, media_type=kind)


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


class _Shell:
    """Around every request: security headers, no caching of answers, counts."""

    def __init__(self, app: Asgi, metrics: _Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        path = str(scope["path"])

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = list(message.get("headers", []))
                headers += [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                if path.startswith("/v1"):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            # Only routes that exist name a series, so that nobody can fill the memory with made-up ones.
            route = getattr(scope.get("route"), "path", None) or "other"
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)


def _told(photograph: Photograph, tasks: tuple[str, ...], attention: bool, most: int) -> dict[str, Any]:
    """The schema's dictionary with the tasks asked for; `more` counts the faces beyond the limit."""
    told = photograph.to_dict()
    left_out = [task for task in TASKS if task not in tasks]
    for row, face in zip(told["faces"], photograph.faces, strict=True):
        for task in left_out:
            row.pop(task, None)
        if attention and face.attention is not None:
            row["attention"] = _attention(face)
    if len(told["faces"]) > most:
        told["more"] = len(told["faces"]) - most
        told["faces"] = told["faces"][:most]
    return told


def _attention(face: Face) -> dict[str, Any]:
    """`values`: rows of shares 0..1 over the aligned chip; `corners`: where the chip lies in the picture, clockwise."""
    assert face.attention is not None
    corners = chip_corners(chip_transform(face.landmarks))
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


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem document (RFC 9457)."""
    title = HTTPStatus(status).phrase
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(content, status, headers, media_type=PROBLEM)
