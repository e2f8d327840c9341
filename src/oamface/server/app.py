"""The web application: the REST routes and the page. Images are analyzed in memory and not kept."""

import hmac
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request, Response, Security, params
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.cors import CORSMiddleware

from oamface import __version__
from oamface.alignment import crop_corners, crop_transform
from oamface.analyzer import Analyzer
from oamface.errors import OamfaceError
from oamface.images import decode
from oamface.labels import TASKS
from oamface.results import Face, Failure, ImageResult
from oamface.server.limits import Limits, MemoryBudget, RequestLimiter
from oamface.server.middleware import Compression, Metrics, RequestMiddleware, accepts_gzip
from oamface.server.openapi import EXAMPLE, error_responses, request_schema
from oamface.server.options import Options, unknown_name
from oamface.server.responses import AsciiJson, add_error_handlers
from oamface.server.site import File, Site
from oamface.server.uploads import Upload, read_upload

_IMMUTABLE = "public, max-age=31536000, immutable"
# Not every system knows all of them, and browsers run scripts and install applications of the right type only.
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".wasm": "application/wasm",
}
_DESCRIPTION = """Apparent age, perceived gender and race, and mask of every face in an image.

Every GET route supports HEAD. A parameter, form field or key that is not named here is an error 422."""


def create_app(
    analyzer: Analyzer, *, limits: Limits | None = None, keys: Sequence[str] = (), origins: Sequence[str] = ()
) -> FastAPI:
    """The application around an analyzer, whose networks should have one thread, since requests share the cores.

    keys: bearer tokens; requests to /v1, /metrics and /models need one of them, unless there are none.
    origins: other sites whose pages may call /v1; none by default.
    """
    limits = limits or Limits()
    limiter = RequestLimiter(limits.workers, limits.queued, limits.timeout)
    metrics = Metrics(lambda: limiter.active)
    with_key = [Depends(_key_check(keys)), Security(HTTPBearer(auto_error=False))] if keys else []
    without_query = [Depends(_reject_query)]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        analyzer.analyze(np.zeros((64, 64, 3), np.uint8))  # the first call is slow
        app.state.ready = True
        yield
        app.state.ready = False
        limiter.close()

    app = FastAPI(
        title="oamface",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # FastAPI's own route would accept any parameter
        redirect_slashes=False,  # a redirect would trust the client's Host header
    )
    app.state.ready = False
    _add_analysis(app, analyzer, limits, limiter, metrics, with_key)
    _add_information(app, analyzer, metrics, with_key, without_query)
    _add_site(app, Site(analyzer.predictor.path), with_key, without_query)
    add_error_handlers(app)
    if origins:
        methods = ["GET", "HEAD", "POST"]
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=methods, allow_headers=["*"])
    app.add_middleware(Compression)
    app.add_middleware(RequestMiddleware, metrics=metrics)
    return app


def _add_analysis(
    app: FastAPI,
    analyzer: Analyzer,
    limits: Limits,
    limiter: RequestLimiter,
    metrics: Metrics,
    dependencies: Sequence[params.Depends],
) -> None:
    """The routes that take images."""
    memory = MemoryBudget(limits.memory)
    decode_limits = {
        "max_bytes": limits.image_bytes,
        "max_pixels": limits.pixels,
        "max_jpeg_pixels": 2 * limits.pixels,
    }

    def analyze_image(data: bytes, options: Options) -> dict[str, Any]:
        result = analyzer.analyze(decode(data, **decode_limits), crop=options.crop)
        metrics.faces.inc(len(result))
        return _to_dict(result, options, limits.faces)

    def analyze_one(upload: Upload) -> dict[str, Any]:
        ((_, data),) = upload.images
        return analyze_image(data, upload.options)

    def analyze_each(upload: Upload) -> dict[str, Any]:
        results = []
        for name, data in upload.images:
            try:
                results.append({**analyze_image(data, upload.options), "source": name})
            except OamfaceError as error:
                results.append(Failure(name, error).to_dict())
        return {"images": results}

    async def respond(request: Request, function: Callable[[Upload], dict[str, Any]], *, batch: bool) -> Response:
        with ExitStack() as stack:
            reservation = stack.enter_context(memory.reserve())
            upload = await read_upload(request, limits, reservation, batch=batch)
            # The memory is free when the function is done, which may be after the client's timeout.
            return AsciiJson(await limiter.run(function, upload, on_done=stack.pop_all().close))

    def responses(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
        return {200: {"content": {"application/json": {"example": example}}}, **error_responses()}

    guarded: dict[str, Any] = {"dependencies": list(dependencies)}
    single = {**guarded, "responses": responses(EXAMPLE), "openapi_extra": request_schema(batch=False)}
    several = {**guarded, "responses": responses({"images": [EXAMPLE]}), "openapi_extra": request_schema(batch=True)}

    @app.post("/v1/analyze", **single)
    async def analyze(request: Request) -> Response:
        """One image: the body itself, the form field `image`, or `image` in JSON, in base64.

        The response is that of `oamface analyze --json`.
        """
        return await respond(request, analyze_one, batch=False)

    @app.post("/v1/batch", **several)
    async def batch(request: Request) -> Response:
        """Several images: form fields `image`, or the list `images` in JSON, in base64.

        One result for each, in order; an `error` for one that cannot be read.
        """
        return await respond(request, analyze_each, batch=True)


def _add_information(
    app: FastAPI,
    analyzer: Analyzer,
    metrics: Metrics,
    with_key: Sequence[params.Depends],
    without_query: Sequence[params.Depends],
) -> None:
    """The routes about the service itself."""
    guarded: dict[str, Any] = {"dependencies": [*with_key, *without_query], "responses": error_responses(401, 422)}

    @app.get("/v1/model", **guarded)
    def model() -> Response:
        """The model file's metadata: classes, training data, calibration, and all measured figures."""
        return AsciiJson({"digest": analyzer.digest, **analyzer.description})

    @app.get("/metrics", **guarded)
    def prometheus() -> Response:
        """Counts and times for Prometheus; none is derived from an image or identifies a client."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz", dependencies=list(without_query), responses=error_responses(422))
    def health() -> Response:
        """The process is alive."""
        return AsciiJson({"status": "ok"})

    @app.get("/readyz", dependencies=list(without_query), responses=error_responses(422, 503))
    def readiness() -> Response:
        """The networks are loaded, and the service is not shutting down."""
        if not app.state.ready:
            raise HTTPException(503, "not ready")
        return AsciiJson({"status": "ready"})

    @app.get("/openapi.json", dependencies=list(without_query), include_in_schema=False)
    def openapi() -> Response:
        return AsciiJson(app.openapi())


def _add_site(
    app: FastAPI, site: Site, with_key: Sequence[params.Depends], without_query: Sequence[params.Depends]
) -> None:
    """The page, and the networks for it to analyze images on the visitor's device."""
    index = File.of(site.index(site.models, service=True))

    @app.get("/models/{name}", dependencies=[*with_key, *without_query], include_in_schema=False)
    def model(name: str, request: Request) -> Response:
        file = index if name == "index.json" else site.networks.get(name.removesuffix(".onnx"))
        if file is None or not name.endswith((".onnx", ".json")):
            raise HTTPException(404, f"no network {name!r} that a browser could run")
        return _respond(file, name, request)

    # Routes, since a mounted folder would hide which methods are allowed.
    for path, file in site.files.items():
        for route in ("", path) if path == "index.html" else (path,):
            app.add_api_route(f"/{route}", _route(file, path), include_in_schema=False, dependencies=without_query)


def _route(file: File, path: str) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        return _respond(file, path, request)

    return respond


def _respond(file: File, path: str, request: Request) -> Response:
    """A file, which clients may keep but have to validate each time, unless its path has its version."""
    headers = {"etag": f'"{file.sha256}"', "cache-control": _IMMUTABLE if path.endswith(".wasm") else "no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    media_type = MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream")
    if file.gzipped is None or not accepts_gzip(request.scope):
        return Response(file.read(), media_type=media_type, headers=headers)
    headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
    return Response(file.gzipped(), media_type=media_type, headers=headers)


def _key_check(keys: Sequence[str]) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # Every key is compared completely, so that the time taken reveals nothing.
        matches = [hmac.compare_digest(token.encode(), key.encode()) for key in keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise HTTPException(401, "a key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})

    return check


async def _reject_query(request: Request) -> None:
    for name in request.query_params:
        raise unknown_name("parameter", name, ())


def _to_dict(result: ImageResult, options: Options, max_faces: int) -> dict[str, Any]:
    """Schema oamface/1 with the requested tasks; `more` counts the faces beyond the limit."""
    content = (result if options.policy is None else options.policy.apply(result)).to_dict()
    for values, face in zip(content["faces"], result, strict=True):
        for task in TASKS:
            if task not in options.tasks:
                values.pop(task, None)
        if options.at_least and "age" in values:
            values["age"] = replace(face.age, thresholds=options.at_least).to_dict()
        if options.attention and face.attention is not None:
            values["attention"] = _attention_to_dict(face)
    if len(result) > max_faces:
        content["more"] = len(result) - max_faces
        content["faces"] = content["faces"][:max_faces]
    return content


def _attention_to_dict(face: Face) -> dict[str, Any]:
    """`values`: (h, w) in 0..1 over the aligned crop. `corners`: of the crop in the image, (4, 2), clockwise."""
    assert face.attention is not None
    corners = crop_corners(crop_transform(face.landmarks))
    values = np.round(face.attention.astype(float), 2)
    return {"values": values.tolist(), "corners": np.round(corners, 1).tolist()}
