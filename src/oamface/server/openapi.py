"""The OpenAPI description: parameters, request bodies, examples, errors."""

from typing import Any

from oamface.labels import AGES, TASKS
from oamface.results import SCHEMA

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
            "detected": True,
            "landmarks": [[280.1, 229.4], [392.0, 228.8], [341.5, 297.2], [297.7, 338.6], [376.9, 336.0]],
            "age": {"years": 31.4, "low": 24.0, "high": 39.0, "level": 0.9},
            "gender": {"label": "female", "probability": 0.9471, "probabilities": {"male": 0.0529, "female": 0.9471}},
            "mask": {
                "label": "none",
                "probability": 0.9987,
                "probabilities": {"none": 0.9987, "incorrect": 0.0013, "worn": 0.0},
            },
            "visibility": 0.9931,
            "quality": {
                "score": 0.9412,
                "reasons": [],
                "measures": {
                    "eye_distance": 111.9,
                    "sharpness": 0.214,
                    "light": 0.7451,
                    "glare": 0.0,
                    "contrast": 0.502,
                    "turn": 0.0617,
                    "visibility": 0.9931,
                },
            },
        }
    ],
}
_ERRORS = {
    400: "No image, too many images, or a form, JSON or compressed body that cannot be read.",
    401: "No key, or an unknown one.",
    408: "The body arrived too slowly.",
    413: "The body, or one image of it, has too many bytes, compressed or not.",
    415: "Not an image that can be read, too many pixels, or an unsupported Content-Type or Content-Encoding.",
    422: "An unknown or contradictory parameter, form field, key, task or value; `detail` lists the known ones.",
    503: "Busy: too many requests or too many bytes; try again after `Retry-After` seconds.",
    504: "No result in time.",
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_TASKS = {"type": "array", "items": {"type": "string", "enum": list(TASKS)}, "minItems": 1}
_YEARS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": AGES[-1]}}
_YEAR = {"type": "integer", "minimum": 1, "maximum": AGES[-1]}
_RATE = {"type": "number", "minimum": 0, "maximum": 1}
_POLICY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "age": _YEAR,
        "challenge": {**_YEAR, "type": ["integer", "null"]},
        "max_false_accept": _RATE,
        "max_false_refuse": _RATE,
    },
    "additionalProperties": False,
}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "tasks": _TASKS,
    "at_least": _YEARS,
    "policy": {"anyOf": [{"type": "string"}, _POLICY]},
}
# Both ?tasks=age,mask and ?tasks=age&tasks=mask, which OpenAPI cannot express with an enumeration.
_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_QUERY_SCHEMAS = {"tasks": _TEXTS, "at_least": _TEXTS, "policy": {"type": "string"}}
_SWITCH: dict[str, Any] = {"type": "boolean", "default": False}
_OPTIONS = {
    "tasks": "What to predict, separated by commas or repeated; all by default.",
    "crop": "Each image is a crop of exactly one face.",
    "at_least": "Years, separated by commas or repeated: add the probability of looking at least so old.",
    "policy": "Accept, refuse or refer each face: age=18,challenge=25,max_false_accept=0.01,max_false_refuse=0.05.",
    "attention": "Add which parts of each face the network takes to be visible.",
}
_IMAGE = {
    "type": "string",
    "description": "The file in base64, standard or URL-safe, or as a data: URI. Web addresses are not fetched.",
}
_FILE = {"type": "string", "format": "binary"}
_NAMED_IMAGE = {
    "type": "object",
    "required": ["image"],
    "properties": {"name": {"type": "string"}, "image": _IMAGE},
    "additionalProperties": False,
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem documents (RFC 9457) by status; all that a POST can return if none is named."""
    return {
        status: {"description": _ERRORS[status], "content": {PROBLEM: {"schema": _PROBLEM_SCHEMA}}}
        for status in statuses or _ERRORS
    }


def request_schema(*, batch: bool) -> dict[str, Any]:
    """Parameters and request body of /v1/analyze or /v1/batch."""
    parameters = [
        {
            "name": name,
            "in": "query",
            "description": text,
            "schema": _QUERY_SCHEMAS.get(name, _SWITCH),
        }
        for name, text in _OPTIONS.items()
    ]
    options = {name: {**_SCHEMAS.get(name, _SWITCH), "description": text} for name, text in _OPTIONS.items()}
    field = "images" if batch else "image"
    files = {"type": "array", "items": _FILE, "minItems": 1} if batch else _FILE
    texts = {"type": "array", "items": {"oneOf": [_IMAGE, _NAMED_IMAGE]}, "minItems": 1} if batch else _IMAGE
    content = {
        "multipart/form-data": {"schema": _object("image", files, options)},
        "application/json": {"schema": _object(field, texts, options)},
        "image/*": {"schema": _FILE},
        "application/octet-stream": {"schema": _FILE},
    }
    encoding = {"name": "Content-Encoding", "in": "header", "schema": {"enum": ["gzip", "deflate"]}}
    return {"parameters": [*parameters, encoding], "requestBody": {"required": True, "content": content}}


def _object(field: str, value: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    properties = {field: value, **options}
    return {"type": "object", "required": [field], "properties": properties, "additionalProperties": False}
