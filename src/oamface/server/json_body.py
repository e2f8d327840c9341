"""Reads images and options from JSON, images in base64 or as data URIs."""

import base64
import binascii
import json
import re
from typing import Any

from oamface.labels import TASKS
from oamface.server.limits import Limits
from oamface.server.options import OPTIONS, RequestError, unknown_name

_MAX_BYTES = 64 * 1024  # of the document without its images
# A long string that can be base64 or a data URI; JSON may write / as \/ and a line break as \n.
_LONG_STRING = re.compile(rb'"((?:data:[^",]{0,200},)?+[A-Za-z0-9+/=_\\-]{1000,}+)"')


def parse_json(data: bytes, limits: Limits, *, batch: bool) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    """Names and bytes of the images of {"image": ...} or, in a batch, {"images": [...]}, and the options as in a form.

    Raises RequestError.
    """
    field = "images" if batch else "image"
    document, strings = _load(data)
    if not isinstance(document, dict):
        raise RequestError(422, f"the JSON must be an object with the key {field!r}")
    options = []
    for key, value in document.items():
        if key not in (field, *OPTIONS):
            raise unknown_name("key", key, (field, *OPTIONS))
        if key != field:
            options += _to_form_fields(key, value)
    if field not in document:
        return [], options
    items = document[field] if batch else [document[field]]
    if not isinstance(items, list):
        raise RequestError(422, "images: expected a list of base64, or of objects with name and image")
    if len(items) > limits.images:
        raise RequestError(400, f"more images than {limits.images}; send them in several batches")
    images = []
    for number, item in enumerate(items):
        path = f"images[{number}]" if batch else "image"
        name, text = _split_name(item, path) if batch else ("", item)
        images.append((name, _decode_image(text, strings, path, limits.image_bytes)))
    return images, options


def _load(data: bytes) -> tuple[Any, dict[str, bytes]]:
    """The document with its long strings replaced by keys, and these strings by key.

    A JSON parser would take many times the size of a hostile document, so that it gets the document without images.
    """
    strings: dict[str, bytes] = {}

    def replace(match: re.Match[bytes]) -> bytes:
        key = f"\0{len(strings)}"
        strings[key] = match[1]
        return json.dumps(key).encode()

    rest = _LONG_STRING.sub(replace, data)
    if len(rest) > _MAX_BYTES:
        raise RequestError(422, f"more than {_MAX_BYTES} bytes of JSON that are not an image in base64")
    try:
        return json.loads(rest.decode("utf-8-sig"), object_pairs_hook=_check_unique), strings
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise RequestError(400, f"the JSON cannot be read ({reason[:100]})") from error


def _check_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise RequestError(422, "a key appears twice in the JSON; send it once")
    return values


def _to_form_fields(key: str, value: object) -> list[tuple[str, str]]:
    if key == "at_least":
        if not isinstance(value, list) or not all(type(year) is int for year in value):
            raise RequestError(422, "at_least: expected a list of whole numbers")
        return [(key, str(year)) for year in value]
    if key == "policy":
        if isinstance(value, str):
            return [(key, value)]
        if not isinstance(value, dict):
            raise RequestError(422, 'policy: expected "age=18,challenge=25" or {"age": 18, "challenge": 25}')
        for name, item in value.items():
            if type(item) not in (int, float) and (name, item) != ("challenge", None):
                raise RequestError(422, f"policy: {name[:40]}: expected a number, got {json.dumps(item)[:40]}")
        return [(key, ",".join(f"{name}={item}" for name, item in value.items() if item is not None))]
    if key != "tasks":
        if not isinstance(value, bool):
            raise RequestError(422, f"{key}: expected true or false")
        return [(key, str(value))]
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise RequestError(422, f"tasks: expected a list of {', '.join(TASKS)}")
    return [(key, name) for name in value]


def _split_name(item: object, path: str) -> tuple[str, object]:
    """Name and text of an image in a batch, which is the text alone or {"name": ..., "image": ...}."""
    if not isinstance(item, dict):
        return "", item
    for key in item:
        if key not in ("name", "image"):
            raise unknown_name("key", key, (f"{path}.name", f"{path}.image"))
    name = item.get("name", "")
    if not isinstance(name, str) or name.startswith("\0"):  # \0: a long string that was replaced
        raise RequestError(422, f"{path}.name: expected a text of less than 1000 characters")
    return name, item.get("image")


def _decode_image(text: object, strings: dict[str, bytes], path: str, limit: int) -> bytes:
    """The bytes of base64 (standard or URL-safe, padded or not), or of a data URI with it."""
    if not isinstance(text, str):
        raise RequestError(422, f"{path}: expected a text in base64 or a data: URI, got {type(text).__name__}")
    if re.match(r"(?i)(https?|ftp|file|blob):", text):
        raise RequestError(422, f"{path}: is a URL, which is never fetched; send the image itself in base64")
    data = strings.get(text, b"")
    if b"\\" in data:  # JSON's escapes, which no parser has resolved in a replaced string
        try:
            data = json.loads(b'"%b"' % data).encode()
        except ValueError:
            raise RequestError(422, f"{path}: is not base64") from None
    data = data or text.encode("utf-8", "surrogatepass")
    if data[:5].lower() == b"data:":
        head, comma, data = data.partition(b",")
        if not comma or not head.lower().endswith(b";base64"):
            raise RequestError(422, f"{path}: a data: URI without ;base64")
    data = data.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n").rstrip(b"=")
    if len(data) * 3 // 4 > limit:
        raise RequestError(413, f"{path}: more than the limit of {limit} bytes")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(422, f"{path}: is not base64") from None
