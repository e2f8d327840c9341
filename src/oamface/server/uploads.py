"""What a request brings: images and what is asked about them, all of it in memory and none above its limit."""

import asyncio
import base64
import binascii
import json
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import ClientDisconnect, Request

from oamface.errors import OamfaceError
from oamface.labels import TASKS, check_tasks
from oamface.server.limits import Limits, Share

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

OPTIONS = ("tasks", "crop", "attention")
TYPES = "image/*, application/octet-stream, multipart/form-data, application/json (UTF-8)"
_RAW = ("", "application/octet-stream", "application/x-www-form-urlencoded")  # the last is what curl says by itself
_ENCODINGS = ("gzip", "x-gzip", "deflate")
_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_FIELDS = 20  # of a form, besides images
_ROOM = 64 * 1024  # bytes of a form or a JSON document around its images
_PIECE = 2**20  # bytes that are unpacked in one go
# A long string of JSON that can be base64 or a data URI; JSON may write / as \/ and a line break as \n.
_LONG = re.compile(rb'"((?:data:[^",]{0,200},)?+[A-Za-z0-9+/=_\\-]{1000,}+)"')
_PARAMETER = re.compile(rb';[ \t]*([^ \t=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*+"|[^;]*)', re.DOTALL)


class BodyError(OamfaceError):
    """A request that cannot be taken; status: of HTTP; headers: to answer beside it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True)
class Options:
    """tasks: which to answer, as `oamface.labels.check_tasks` gives them. crop: every image shows one face that fills
    it. attention: add where the network looked."""

    tasks: tuple[str, ...] = tuple(TASKS)
    crop: bool = False
    attention: bool = False


@dataclass(frozen=True)
class Sent:
    """images: each with its name ("" if it has none) and the file's bytes, in their order."""

    images: list[tuple[str, bytes]]
    options: Options


async def read(request: Request, limits: Limits, share: Share, *, many: bool) -> Sent:
    """The images of a request, from its bare body, a form or JSON, and the options of its query and body together.

    many: a batch. share: takes what is held. Raises BodyError, BusyError.
    """
    asked = request.query_params.multi_items()
    read_options(asked)  # before the body, which may be large
    kind = _kind(request)
    limit = limits.body if kind in ("form", "json") else limits.bytes
    try:
        async with asyncio.timeout(limits.seconds):
            arriving = _arriving(request, limit, share)
            if kind == "form":
                images, more = await _of_form(request, arriving, limits, many)
            else:
                data = await _joined(arriving)
                images, more = _of_json(data, limits, many) if kind == "json" else ([("", data)] if data else [], [])
    except TimeoutError:
        raise BodyError(408, f"the body did not arrive within {limits.seconds:g} seconds") from None
    except ClientDisconnect:
        raise BodyError(400, "the connection was cut before the body was complete") from None
    if not images:
        raise BodyError(400, "no image: send one as the body, as the form field 'image', or in JSON")
    return Sent(images, read_options([*asked, *more]))


def read_options(pairs: Iterable[tuple[str, str]]) -> Options:
    """Names and values of a query and a form as options: several `tasks` add up, one crop or attention is enough.

    Raises BodyError 422: unknown, empty, or said both ways; LabelError: an unknown task.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in OPTIONS:
            raise unknown("parameter", name, OPTIONS)
        given.setdefault(name, []).append(value)
    names = [name.strip() for value in given.get("tasks", [",".join(TASKS)]) for name in value.split(",")]
    if "" in names:
        raise BodyError(422, f"tasks: a name is empty; known are {', '.join(TASKS)}, joined by commas")
    return Options(check_tasks(names), _switch(given, "crop"), _switch(given, "attention"))


def unknown(what: str, name: str, known: Sequence[str]) -> BodyError:
    """The error for a parameter, field or key that nobody knows, with those that are known."""
    return BodyError(422, f"unknown {what} {name[:60]!r}; known are {', '.join(known) or 'none here'}")


def _switch(given: dict[str, list[str]], name: str) -> bool:
    said = set()
    for value in given.get(name, ["false"]):
        if value.lower() not in _YES + _NO:
            raise BodyError(422, f"{name}: {value[:60]!r} is neither true nor false")
        said.add(value.lower() in _YES)
    if len(said) > 1:
        raise BodyError(422, f"{name}: said to be both true and false; say it once")
    return said.pop()


def _kind(request: Request) -> str:
    """raw, form or json, by the Content-Type. Raises BodyError 415."""
    said = request.headers.get("content-type", "")
    media = said.partition(";")[0].strip().lower()
    if media == "multipart/form-data":
        return "form"
    if media == "application/json":
        charset = _parameters(said.encode("latin-1")).get("charset", "utf-8").lower()
        if charset not in ("utf-8", "utf8", "us-ascii"):
            raise BodyError(415, f"JSON in {charset[:60]!r}; send it in UTF-8")
        return "json"
    if media in _RAW or re.fullmatch(r"image/[^\s/]+", media):
        return "raw"
    raise BodyError(415, f"the Content-Type {said[:60]!r} is not taken; known are {TYPES}, or none")


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    data = bytearray()  # one large block goes back to the system at once, which many small ones do not
    async for chunk in chunks:
        data += chunk
    return bytes(data)


async def _arriving(request: Request, limit: int, share: Share) -> AsyncGenerator[bytes, None]:
    """The body, unpacked, in small pieces; never more than the limit of it, packed or unpacked."""
    encodings = [name.strip().lower() for name in request.headers.get("content-encoding", "").split(",")]
    encodings = [name for name in encodings if name not in ("", "identity")]
    if len(encodings) > 1 or not set(encodings) <= set(_ENCODINGS):
        known = {"Accept-Encoding": "gzip, deflate"}
        raise BodyError(415, f"Content-Encoding {', '.join(encodings)[:60]!r}: known are gzip, deflate, or none", known)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise BodyError(413, f"{length} bytes, more than the limit of {limit}")
    if not encodings:
        share.check(int(length) if length.isdecimal() else 0)  # refused now rather than halfway
        chunks = _counted(request.stream(), limit, share.take)
    else:
        packed = _counted(request.stream(), limit, lambda size: None)
        chunks = _counted(_unpacked(packed), limit, share.take)
    async for chunk in chunks:
        yield chunk


async def _counted(
    chunks: AsyncIterator[bytes], limit: int, take: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    arrived = 0
    async for chunk in chunks:
        arrived += len(chunk)
        if arrived > limit:
            raise BodyError(413, f"more than the limit of {limit} bytes")
        take(len(chunk))
        yield chunk


async def _unpacked(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Of gzip or zlib, told apart by their first bytes."""
    unpacker = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        async for chunk in chunks:
            more = bool(chunk)
            while more:
                if unpacker.eof:
                    raise BodyError(400, "the compressed body goes on after its end")
                piece = unpacker.decompress(chunk, _PIECE)
                chunk = unpacker.unconsumed_tail
                more = bool(chunk) or (len(piece) == _PIECE and not unpacker.eof)
                yield piece
                await asyncio.sleep(0)  # others have their turn, and the time-out its chance
            if unpacker.unused_data:
                raise BodyError(400, "the compressed body goes on after its end")
    except zlib.error as error:
        raise BodyError(400, f"the compressed body is damaged ({error})") from error
    if not unpacker.eof:
        raise BodyError(400, "the compressed body ends early")


async def _of_form(
    request: Request, arriving: AsyncIterator[bytes], limits: Limits, many: bool
) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    boundary = _parameters(request.headers["content-type"].encode("latin-1")).get("boundary", "")
    if not boundary:
        raise BodyError(400, "no form that can be read: its Content-Type names no boundary")
    form = _Form(limits, limits.images if many else 1)
    try:
        parser = MultipartParser(boundary.encode("utf-8"), form.callbacks())
        async for chunk in arriving:
            parser.write(chunk)
    except FormParserError as error:
        raise BodyError(400, f"no form that can be read: {error}") from error
    if not form.complete:
        raise BodyError(400, "no form that can be read: it ends before its last boundary")
    return form.images, form.fields


class _Form:
    """Collects the parts of a form as they arrive: images: names and bytes; fields: names and texts, as OPTIONS."""

    def __init__(self, limits: Limits, count: int) -> None:
        self._size, self._count = limits.bytes, count
        self.images: list[tuple[str, bytes]] = []
        self.fields: list[tuple[str, str]] = []
        self.complete = False
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._file, self._data = "", "", bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        """What the parser calls. Not kept here: in a cycle the images would outlive the request."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition, self._data = b"", bytearray()

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        said = _parameters(self._disposition)
        if "name" not in said:
            raise BodyError(400, "no form that can be read: a part has no name")
        self._name = said["name"]
        if self._name not in ("image", *OPTIONS):
            raise unknown("form field", self._name, ("image", *OPTIONS))
        if (self._name == "image") != ("filename" in said):
            raise BodyError(422, "the form field 'image' has to be a file with a name, the others texts without one")
        self._file = said.get("filename", "")
        if self._name == "image" and len(self.images) == self._count:
            raise BodyError(400, f"more images than {self._count}; " + _FEWER[self._count == 1])
        if self._name != "image" and len(self.fields) == _FIELDS:
            raise BodyError(400, f"more than {_FIELDS} fields")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        limit = self._size if self._name == "image" else _ROOM // _FIELDS
        if len(self._data) + end - start > limit:
            raise BodyError(413, f"the form field {self._name!r} has more than the limit of {limit} bytes")
        self._data += memoryview(data)[start:end]

    def _part_end(self) -> None:
        if self._name == "image":
            self.images.append((self._file, bytes(self._data)))
        else:
            self.fields.append((self._name, _text(bytes(self._data))))
        self._data = bytearray()

    def _end(self) -> None:
        self.complete = True


_FEWER = ("send them in several batches", "send several to /v1/batch")


def _parameters(header: bytes) -> dict[str, str]:
    """What follows the first ; of a header: names in small letters and values, name*= (RFC 8187) before name=."""
    plain: dict[str, str] = {}
    extended: dict[str, str] = {}
    for match in _PARAMETER.finditer(header):
        name, value = match[1].decode("latin-1").lower(), match[2].strip()
        if len(value) > 1 and value[:1] == value[-1:] == b'"':
            value = value[1:-1].replace(b"\\\\", b"\0").replace(b'\\"', b'"').replace(b"\0", b"\\")
        if not name.endswith("*"):
            plain.setdefault(name, _text(value))
        elif value.count(b"'") >= 2:
            extended[name[:-1]] = _text(unquote_to_bytes(value.split(b"'", 2)[2]))
    return {**plain, **extended}


def _text(data: bytes) -> str:
    """UTF-8, or Latin-1 where it is none, since that takes any bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _of_json(data: bytes, limits: Limits, many: bool) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    """The images of {"image": ...} or, of many, {"images": [...]}, and the options beside them as a form has them."""
    field = "images" if many else "image"
    told, cut = _parsed(data)
    if not isinstance(told, dict):
        raise BodyError(422, f"the JSON has to be an object with the key {field!r}")
    options = []
    for key, value in told.items():
        if key not in (field, *OPTIONS):
            raise unknown("key", key, (field, *OPTIONS))
        if key != field:
            options += _as_form(key, value)
    if field not in told:
        return [], options
    given = told[field] if many else [told[field]]
    if not isinstance(given, list):
        raise BodyError(422, "images: expected a list of base64, or of objects with name and image")
    if len(given) > limits.images:
        raise BodyError(400, f"more images than {limits.images}; send them in several batches")
    images = []
    for number, item in enumerate(given):
        where = f"images[{number}]" if many else "image"
        name, text = _named(item, where) if many else ("", item)
        images.append((name, _decoded(text, cut, where, limits.bytes)))
    return images, options


def _parsed(data: bytes) -> tuple[Any, dict[str, bytes]]:
    """JSON with its long strings replaced by keys, and these strings by key.

    A parser would make many times its size of a hostile document; so it sees what lies around the images alone.
    """
    cut: dict[str, bytes] = {}

    def take(match: re.Match[bytes]) -> bytes:
        key = f"\0{len(cut)}"
        cut[key] = match[1]
        return json.dumps(key).encode()

    rest = _LONG.sub(take, data)
    if len(rest) > _ROOM:
        raise BodyError(422, f"more than {_ROOM} bytes of JSON that are no image in base64")
    try:
        return json.loads(rest.decode("utf-8-sig"), object_pairs_hook=_once), cut
    except (ValueError, RecursionError) as error:
        said = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise BodyError(400, f"no JSON that can be read ({said[:100]})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        raise BodyError(422, "a key of the JSON stands there twice; say it once")
    return told


def _as_form(key: str, value: object) -> list[tuple[str, str]]:
    if key != "tasks":
        if not isinstance(value, bool):
            raise BodyError(422, f"{key}: expected true or false")
        return [(key, str(value))]
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise BodyError(422, f"tasks: expected a list of {', '.join(TASKS)}")
    return [(key, name) for name in value]


def _named(item: object, where: str) -> tuple[str, object]:
    """The name and the text of an image in a batch, which is the text alone or {"name": ..., "image": ...}."""
    if not isinstance(item, dict):
        return "", item
    for key in item:
        if key not in ("name", "image"):
            raise unknown("key", key, (f"{where}.name", f"{where}.image"))
    name = item.get("name", "")
    if not isinstance(name, str) or name.startswith("\0"):
        raise BodyError(422, f"{where}.name: expected a text of less than 1000 characters")
    return name, item.get("image")


def _decoded(text: object, cut: dict[str, bytes], where: str, size: int) -> bytes:
    """The bytes behind base64, standard or for URLs, padded or not, or behind a data URI of it."""
    if not isinstance(text, str):
        raise BodyError(422, f"{where}: expected a text in base64 or a data: URI, got {type(text).__name__}")
    if re.match(r"(?i)(https?|ftp|file|blob):", text):
        raise BodyError(422, f"{where}: is a URL, and nothing is fetched from one; send the image itself in base64")
    data = cut.get(text, b"") or text.encode("utf-8", "surrogatepass")
    if data[:5].lower() == b"data:":
        head, comma, data = data.partition(b",")
        if not comma or not head.lower().endswith(b";base64"):
            raise BodyError(422, f"{where}: a data: URI without ;base64")
    if b"\\" in data:  # as JSON writes it, in what was cut out
        for written, meant in ((rb"\/", b"/"), (rb"\n", b""), (rb"\r", b""), (rb"\t", b"")):
            data = data.replace(written, meant)
    data = data.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n").rstrip(b"=")
    if len(data) * 3 // 4 > size:
        raise BodyError(413, f"{where}: more than the limit of {size} bytes")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BodyError(422, f"{where}: is not base64") from None
