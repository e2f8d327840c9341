"""The web application: the REST routes and the page. Images are analyzed in memory and not kept."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request, Response, params
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.cors import CORSMiddleware

from oamface import __version__, detection, face_detector, face_scanner
from oamface.alignment import crop_corners, crop_transform
from oamface.analyzer import LEAST_FACE, Analyzer
from oamface.centerface import centerface_model
from oamface.errors import OamfaceError
from oamface.face_detector import FaceDetector
from oamface.face_scanner import face_scanner_model
from oamface.images import decode
from oamface.labels import TASKS
from oamface.results import Face, Failure, ImageResult
from oamface.runtime import OPENVINO
from oamface.server.limits import Limits, MemoryBudget, RequestLimiter
from oamface.server.middleware import Compression, Metrics, RequestMiddleware
from oamface.server.openapi import EXAMPLE, error_responses, request_schema
from oamface.server.options import Options, unknown_name
from oamface.server.responses import AsciiJson, add_error_handlers
from oamface.server.uploads import Upload, read_upload

STATIC = Path(str(files("oamface") / "server" / "static"))
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
    with_key = [Depends(_key_check(keys))]
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
    _add_networks(app, analyzer, with_key + without_query)
    for path in STATIC.rglob("*.*"):  # routes, since a mounted folder would hide which methods are allowed
        name = path.relative_to(STATIC).as_posix()
        for route in ("", name) if name == "index.html" else (name,):
            app.add_api_route(f"/{route}", _serve_file(path), include_in_schema=False, dependencies=without_query)
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


def _add_networks(app: FastAPI, analyzer: Analyzer, dependencies: Sequence[params.Depends]) -> None:
    """The networks, for the page to analyze images on the visitor's device."""
    detectors = {"centerface": centerface_model, "face_scanner": face_scanner_model}
    networks: dict[str, tuple[str, Callable[[], bytes]]] = {
        name: (hashlib.sha256(load()).hexdigest(), load) for name, load in detectors.items()
    }
    if analyzer.predictor.path.suffix != OPENVINO:
        networks["predictor"] = (analyzer.digest, analyzer.predictor.path.read_bytes)

    @app.get("/models/{name}.onnx", dependencies=list(dependencies), include_in_schema=False)
    def network(name: str, request: Request) -> Response:
        if name not in networks:
            raise HTTPException(404, f"no network {name!r} that a browser could run")
        digest, load = networks[name]
        headers = {"etag": f'"{digest}"', "cache-control": "no-cache"}  # cached, but validated each time
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(load(), media_type="application/octet-stream", headers=headers)

    @app.get("/constants.js", dependencies=[Depends(_reject_query)], include_in_schema=False)
    def constants() -> Response:
        return Response(_constants(), media_type="text/javascript", headers={"cache-control": "no-cache"})


def _constants() -> str:
    """The detector's constants as a JavaScript module, so that the page detects as Python does."""
    constants = {"LEAST_FACE": LEAST_FACE, "THRESHOLD": signature(FaceDetector).parameters["threshold"].default}
    for module in (detection, face_scanner, face_detector):
        constants |= {name: value for name, value in vars(module).items() if name.isupper() and name[0] != "_"}
    values = {name: json.dumps(np.asarray(value).tolist()) for name, value in sorted(constants.items())}
    return "".join(f"export const {name} = {value};\n" for name, value in values.items())


def _key_check(keys: Sequence[str]) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        if not keys:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # Every key is compared completely, so that the time taken reveals nothing.
        matches = [hmac.compare_digest(token.encode(), key.encode()) for key in keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise HTTPException(401, "a key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})

    return check


async def _reject_query(request: Request) -> None:
    for name in request.query_params:
        raise unknown_name("parameter", name, ())


def _serve_file(path: Path) -> Callable[[], FileResponse]:
    # Not every system knows .mjs, and browsers run scripts of this type only.
    media_type = "text/javascript" if path.suffix in (".js", ".mjs") else None
    return lambda: FileResponse(path, media_type=media_type)


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
