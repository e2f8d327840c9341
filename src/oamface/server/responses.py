"""JSON responses, and errors as problem documents (RFC 9457)."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from oamface.errors import ImageError, LabelError, OamfaceError
from oamface.server.limits import BusyError, DeadlineError
from oamface.server.openapi import PROBLEM
from oamface.server.options import RequestError

_STATUSES: tuple[tuple[type[OamfaceError], int], ...] = (
    (BusyError, 503),
    (DeadlineError, 504),
    (ImageError, 415),
    (LabelError, 422),
    (OamfaceError, 400),
)


class AsciiJson(JSONResponse):
    """JSON in ASCII, since a client can send names that UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


def add_error_handlers(app: FastAPI) -> None:
    """Make every error a problem document."""

    @app.exception_handler(OamfaceError)
    def handle_oamface_error(request: Request, error: OamfaceError) -> Response:
        if isinstance(error, RequestError):
            return _problem(error.status, str(error), error.headers)
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        return _problem(status, str(error), {"Retry-After": "1"} if status == 503 else {})

    @app.exception_handler(HTTPException)
    def handle_http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"
        return _problem(error.status_code, str(error.detail), headers)


def internal_error() -> Response:
    """What a client gets where the service itself fails."""
    return _problem(500, "internal error; the image was not kept", {})


def _problem(status: int, detail: str, headers: dict[str, str]) -> Response:
    title = HTTPStatus(status).phrase
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return AsciiJson(content, status, headers, media_type=PROBLEM)
