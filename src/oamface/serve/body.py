"""What a request brings: pictures, from a raw body or a form, all of it in memory and none above its limit."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from oamface.errors import OamfaceError

_FIELDS = 20  # of a form, besides pictures
_ROOM = 64 * 1024  # bytes of a form around its pictures


class BodyError(OamfaceError):
    """A body that cannot be taken; status: of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def pictures(request: Request, *, field: str, count: int, size: int, seconds: float) -> list[tuple[str, bytes]]:
    """The pictures of a request, each with its name: the fields `field` of a form, or the body itself.

    count: of pictures at most. size: bytes of each. seconds: for the whole body to arrive.
    Raises BodyError: too large, too slow, too many, none at all, or no form.
    """
    form = request.headers.get("content-type", "").startswith("multipart/form-data")
    limit = count * size + _ROOM if form else size
    try:
        async with asyncio.timeout(seconds):
            if form:
                return await _of_form(request, field, count, size, limit)
            data = b"".join([chunk async for chunk in _limited(request, limit)])
    except TimeoutError:
        raise BodyError(408, f"the body did not arrive within {seconds:g} seconds") from None
    except ClientDisconnect:
        raise BodyError(400, "the connection was cut before the body was complete") from None
    if not data:
        raise BodyError(400, f"no picture: send one as the body, or as the form field {field!r}")
    return [("", data)]


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise BodyError(413, f"{length} bytes, more than the limit of {limit}")
    arrived = 0
    async for chunk in request.stream():
        arrived += len(chunk)
        if arrived > limit:
            raise BodyError(413, f"more than the limit of {limit} bytes")
        yield chunk


async def _of_form(request: Request, field: str, count: int, size: int, limit: int) -> list[tuple[str, bytes]]:
    parser = MultiPartParser(
        request.headers, _limited(request, limit), max_files=count, max_fields=_FIELDS, max_part_size=_ROOM
    )
    parser.spool_max_size = limit + 1  # so that no picture is ever written to disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BodyError(400, f"no form that can be read: {error.message}") from error
    except (KeyError, ValueError, UnicodeDecodeError, AssertionError) as error:
        raise BodyError(400, "no form that can be read") from error
    found = []
    try:
        for value in form.getlist(field):
            if not isinstance(value, UploadFile):
                raise BodyError(400, f"the form field {field!r} has to be a file")
            data = await value.read()
            if len(data) > size:
                raise BodyError(413, f"a picture of {len(data)} bytes, more than the limit of {size}")
            found.append((value.filename or "", data))
    finally:
        await form.close()
    if not found:
        raise BodyError(400, f"the form has no file in the field {field!r}")
    return found
