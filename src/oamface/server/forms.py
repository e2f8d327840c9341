"""Reads multipart/form-data in memory: files in the field `image`, options as texts."""

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from oamface.server.limits import Limits
from oamface.server.options import OPTIONS, RequestError, unknown_name

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FIELDS = 20  # besides images
_FIELD_BYTES = 64 * 1024 // _MAX_FIELDS
_PARAMETER = re.compile(rb';[ \t]*([^ \t=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*+"|[^;]*)', re.DOTALL)


async def parse_form(
    content_type: str, chunks: AsyncIterator[bytes], limits: Limits, *, batch: bool
) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    """Names and bytes of a form's images, and names and values of its options. Raises RequestError."""
    boundary = parse_parameters(content_type.encode("latin-1")).get("boundary", "")
    if not boundary:
        raise RequestError(400, "the form cannot be read: its Content-Type has no boundary")
    form = _Form(limits.image_bytes, limits.images if batch else 1)
    try:
        parser = MultipartParser(boundary.encode("utf-8"), form.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError as error:
        raise RequestError(400, f"the form cannot be read: {error}") from error
    if not form.complete:
        raise RequestError(400, "the form cannot be read: it ends before its last boundary")
    return form.images, form.fields


def parse_parameters(header: bytes) -> dict[str, str]:
    """Parameters after the first ; of a header, by lower-case name; name*= (RFC 8187) has precedence over name=."""
    plain: dict[str, str] = {}
    extended: dict[str, str] = {}
    for match in _PARAMETER.finditer(header):
        name, value = match[1].decode("latin-1").lower(), match[2].strip()
        if len(value) > 1 and value[:1] == value[-1:] == b'"':
            value = value[1:-1].replace(b"\\\\", b"\0").replace(b'\\"', b'"').replace(b"\0", b"\\")
        if not name.endswith("*"):
            plain.setdefault(name, _decode(value))
        elif value.count(b"'") >= 2:
            extended[name[:-1]] = _decode(unquote_to_bytes(value.split(b"'", 2)[2]))
    return {**plain, **extended}


class _Form:
    """Collects a form's images (name, bytes) and fields (name, text) as it arrives."""

    def __init__(self, image_bytes: int, max_images: int) -> None:
        self._image_bytes, self._max_images = image_bytes, max_images
        self.images: list[tuple[str, bytes]] = []
        self.fields: list[tuple[str, str]] = []
        self.complete = False
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._filename, self._data = "", "", bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        """The parser's callbacks. Not an attribute: in a reference cycle the images would outlive the request."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition, self._data = b"", bytearray()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        parameters = parse_parameters(self._disposition)
        if "name" not in parameters:
            raise RequestError(400, "the form cannot be read: a field has no name")
        self._name = parameters["name"]
        if self._name not in ("image", *OPTIONS):
            raise unknown_name("form field", self._name, ("image", *OPTIONS))
        if (self._name == "image") != ("filename" in parameters):
            raise RequestError(422, "the form field 'image' must be a file with a name, the others text without one")
        self._filename = parameters.get("filename", "")
        if self._name == "image" and len(self.images) == self._max_images:
            advice = "send several to /v1/batch" if self._max_images == 1 else "send them in several batches"
            raise RequestError(400, f"more images than {self._max_images}; {advice}")
        if self._name != "image" and len(self.fields) == _MAX_FIELDS:
            raise RequestError(400, f"more than {_MAX_FIELDS} fields")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        limit = self._image_bytes if self._name == "image" else _FIELD_BYTES
        if len(self._data) + end - start > limit:
            raise RequestError(413, f"the form field {self._name!r} has more than the limit of {limit} bytes")
        self._data += memoryview(data)[start:end]

    def _end_part(self) -> None:
        if self._name == "image":
            self.images.append((self._filename, bytes(self._data)))
        else:
            self.fields.append((self._name, _decode(bytes(self._data))))
        self._data = bytearray()

    def _end(self) -> None:
        self.complete = True


def _decode(data: bytes) -> str:
    """Text in UTF-8, or else in Latin-1, which takes any bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
