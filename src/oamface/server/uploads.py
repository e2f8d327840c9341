"""Reads a request's images and options into memory, within the limits, whatever form the body has."""

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from oamface.server.forms import parse_form, parse_parameters
from oamface.server.json_body import parse_json
from oamface.server.limits import Limits, Reservation
from oamface.server.options import Options, RequestError, parse_options

MEDIA_TYPES = "image/*, application/octet-stream, multipart/form-data, application/json (UTF-8)"
_RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")  # the last is curl's default
_ENCODINGS = ("gzip", "x-gzip", "deflate")
_CHUNK = 2**20  # bytes that are decompressed at once


@dataclass(frozen=True)
class Upload:
    """images: the name ("" if it has none) and the file's bytes of each, in order. options: of all of them."""

    images: list[tuple[str, bytes]]
    options: Options


async def read_upload(request: Request, limits: Limits, reservation: Reservation, *, batch: bool) -> Upload:
    """The images of a request and the options of its query and body together.

    batch: whether several images are allowed. reservation: of the memory that the body takes.
    Raises RequestError, BusyError.
    """
    query = request.query_params.multi_items()
    parse_options(query)  # before the body, which may be large
    kind = _body_kind(request)
    limit = limits.image_bytes if kind == "raw" else limits.body_bytes
    images: list[tuple[str, bytes]]
    fields: list[tuple[str, str]] = []
    try:
        async with asyncio.timeout(limits.timeout):
            chunks = _read_body(request, limit, reservation)
            if kind == "form":
                images, fields = await parse_form(request.headers["content-type"], chunks, limits, batch=batch)
            elif kind == "json":
                images, fields = parse_json(await _join(chunks), limits, batch=batch)
            else:
                data = await _join(chunks)
                images = [("", data)] if data else []
    except TimeoutError:
        raise RequestError(408, f"the body did not arrive within {limits.timeout:g} seconds") from None
    except ClientDisconnect:
        raise RequestError(400, "the connection was closed before the body was complete") from None
    if not images:
        raise RequestError(400, "no image: send one as the body, as the form field 'image', or in JSON")
    return Upload(images, parse_options([*query, *fields]))


def _body_kind(request: Request) -> str:
    """raw, form or json, by the Content-Type. Raises RequestError 415."""
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return "form"
    if media_type == "application/json":
        charset = parse_parameters(content_type.encode("latin-1")).get("charset", "utf-8").lower()
        if charset not in ("utf-8", "utf8", "us-ascii"):
            raise RequestError(415, f"JSON in {charset[:60]!r}; send it in UTF-8")
        return "json"
    if media_type in _RAW_TYPES or re.fullmatch(r"image/[^\s/]+", media_type):
        return "raw"
    raise RequestError(415, f"the Content-Type {content_type[:60]!r} is not supported; use {MEDIA_TYPES}, or none")


async def _join(chunks: AsyncIterator[bytes]) -> bytes:
    data = bytearray()  # one large block is returned to the system at once, which many small ones are not
    async for chunk in chunks:
        data += chunk
    return bytes(data)


async def _read_body(request: Request, limit: int, reservation: Reservation) -> AsyncGenerator[bytes, None]:
    """The decompressed body in small chunks; neither it nor the compressed one exceeds the limit of bytes."""
    encodings = [name.strip().lower() for name in request.headers.get("content-encoding", "").split(",")]
    encodings = [name for name in encodings if name not in ("", "identity")]
    if len(encodings) > 1 or not set(encodings) <= set(_ENCODINGS):
        names, headers = ", ".join(encodings)[:60], {"Accept-Encoding": "gzip, deflate"}
        raise RequestError(415, f"the Content-Encoding {names!r} is not supported; use gzip, deflate, or none", headers)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise RequestError(413, f"{length} bytes, more than the limit of {limit}")
    if not encodings:
        reservation.check(int(length) if length.isdecimal() else 0)  # rejected now rather than halfway
        chunks = _count(request.stream(), limit, reservation.add)
    else:
        compressed = _count(request.stream(), limit, lambda size: None)
        chunks = _count(_decompress(compressed), limit, reservation.add)
    async for chunk in chunks:
        yield chunk


async def _count(
    chunks: AsyncIterator[bytes], limit: int, on_chunk: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise RequestError(413, f"more than the limit of {limit} bytes")
        on_chunk(len(chunk))
        yield chunk


async def _decompress(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Of gzip or zlib, which the first bytes tell apart."""
    decompressor = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        async for chunk in chunks:
            more = bool(chunk)
            while more:
                if decompressor.eof:
                    raise RequestError(400, "the compressed body goes on after its end")
                data = decompressor.decompress(chunk, _CHUNK)
                chunk = decompressor.unconsumed_tail
                more = bool(chunk) or (len(data) == _CHUNK and not decompressor.eof)
                yield data
                await asyncio.sleep(0)  # so that other requests and the timeout get their turn
            if decompressor.unused_data:
                raise RequestError(400, "the compressed body goes on after its end")
    except zlib.error as error:
        raise RequestError(400, f"the compressed body is damaged ({error})") from error
    if not decompressor.eof:
        raise RequestError(400, "the compressed body ends early")
