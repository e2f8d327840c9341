"""Requests in every form: raw bodies, forms, JSON, compression, parameters; valid and invalid ones."""

import base64
import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from oamface.errors import LabelError
from oamface.labels import TASKS
from oamface.server.app import create_app
from oamface.server.limits import Limits
from oamface.server.options import OPTIONS, RequestError, parse_options
from server.conftest import check_problem, encode

pytestmark = pytest.mark.slow

TINY = encode(np.full((64, 64, 3), 128, np.uint8), "PNG")  # no face: quick


def faces_of(response) -> list[dict]:
    assert response.status_code == 200, response.text
    return response.json()["faces"]


def results_of(face: dict) -> set[str]:
    return set(face) & {"age", "gender", "race", "mask", "attention"}


def make_form(*fields: tuple[str, bytes], boundary: bytes = b"b", end: bytes = b"--\r\n") -> bytes:
    """A form of fields: the parameters of Content-Disposition, and the data."""
    bodies = [
        b"--" + boundary + b"\r\nContent-Disposition: form-data; " + parameters.encode("latin-1") + b"\r\n\r\n" + data
        for parameters, data in fields
    ]
    return b"\r\n".join([*bodies, b"--" + boundary + end])


FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tasks=age&tasks=mask", {"age", "mask"}),
        ("tasks=age,mask&tasks=age", {"age", "mask"}),
        ("tasks=%20age%2Crace", {"age", "race"}),
        ("attention=on&tasks=age", {"age", "attention"}),
        ("crop=false&crop=0&attention=no", {"age", "gender", "race", "mask"}),
    ],
)
def test_query_parameters_are_applied(client, jpeg, query, expected) -> None:
    (face,) = faces_of(client.post(f"/v1/analyze?{query}", content=jpeg))
    assert results_of(face) == expected


@pytest.mark.parametrize("route", ["/v1/analyze", "/v1/batch"])
@pytest.mark.parametrize(
    "query",
    [
        *("task=age", "Tasks=age", "x", "x=1&x=2", "crop=maybe", "crop=", "crop=true&crop=false", "attention=2"),
        *("tasks=", "tasks=age&tasks=", "tasks=age,", "tasks=hair", "tasks=age,hair", "tasks=AGE", "image=a"),
        *("%ff=1", "%00", "tasks=%ff", "crop=%ud800"),
    ],
)
def test_invalid_query_parameters_are_rejected(client, route, query) -> None:
    detail = check_problem(client.post(f"{route}?{query}", content=TINY), 422)
    assert any(name in detail for name in (*OPTIONS, "age, gender, race, mask"))


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json", "/", "/page.js", "/constants.js"),
        *("/models/centerface.onnx", "/models/index.json", "/files.js", "/service-worker.js"),
    ],
)
def test_get_and_head_take_no_parameters(client, path) -> None:
    get, head = client.get(path), client.head(path)
    assert (get.status_code, head.status_code) == (200, 200)
    assert get.content
    assert not head.content
    assert head.headers["content-type"] == get.headers["content-type"]
    assert "x" in check_problem(client.get(f"{path}?x=1"), 422)
    rejected = client.post(path)
    check_problem(rejected, 405)
    assert {name.strip() for name in rejected.headers["allow"].split(",")} == {"GET", "HEAD"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_get_405_with_allow(client, method) -> None:
    response = client.request(method, "/v1/analyze")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_form_fields_are_applied_with_the_query(client, jpeg) -> None:
    def post(fields: dict, query: str = "") -> list[dict]:
        return faces_of(client.post(f"/v1/analyze{query}", files={"image": ("a.jpg", jpeg)}, data=fields))

    assert results_of(post({"tasks": ["age", "mask"]})[0]) == {"age", "mask"}
    assert results_of(post({"tasks": "age,mask"}, "?tasks=race")[0]) == {"age", "mask", "race"}
    assert "attention" in post({"attention": "true"}, "?attention=1")[0]
    blank = {"image": ("a.png", TINY)}
    assert len(faces_of(client.post("/v1/analyze", files=blank, data={"crop": "true"}))) == 1
    (image,) = client.post("/v1/batch", files=blank, data={"crop": "true", "tasks": "age"}).json()["images"]
    assert results_of(image["faces"][0]) == {"age"}


@pytest.mark.parametrize(
    "fields",
    [
        [("name=task", b"age")],
        [("name=photo; filename=a", b"x")],
        [('name="image[]"; filename=a', b"x")],
        [("name=crop", b"maybe")],
        [("name=crop", b"true"), ("name=crop", b"false")],
        [("name=tasks", b"")],
        [("name=tasks", b"hair")],
        [("name=tasks; filename=a", b"age")],
        [("name=image", b"text")],
        [("name=attention", b"\xff\xfe")],
    ],
)
@pytest.mark.parametrize("route", ["/v1/analyze", "/v1/batch"])
def test_invalid_form_fields_are_rejected(client, route, fields) -> None:
    body = make_form(("name=image; filename=a", TINY), *fields)
    check_problem(client.post(route, content=body, headers=FORM), 422)


def test_contradicting_query_and_form_are_rejected(client) -> None:
    body = make_form(("name=image; filename=a", TINY), ("name=crop", b"true"))
    check_problem(client.post("/v1/analyze?crop=false", content=body, headers=FORM), 422)


DAMAGED_FORMS = {
    "empty": b"",
    "cut boundary": b"--b",
    "no field": b"--b--\r\n",
    "another boundary": b"--y\r\nnonsense",
    "no end": make_form(("name=image; filename=a", TINY), end=b""),
    "a boundary at the end": make_form(("name=image; filename=a", TINY), end=b"\r\n"),
    "cut": make_form(("name=image; filename=a", TINY))[:-60],
    "no name": make_form(("filename=a", TINY)),
    "no image": make_form(("name=tasks", b"age")),
    "two images": make_form(*[("name=image; filename=a", TINY)] * 2),
    "many fields": make_form(("name=image; filename=a", TINY), *[("name=tasks", b"age")] * 21),
    "a long name": make_form((f"name=image; filename={'a' * 10_000}", TINY)),
    "a field of headers alone": b"--b\r\n" + b"X: y\r\n" * 50 + b"\r\n\r\n--b--",
}


@pytest.mark.parametrize("body", DAMAGED_FORMS.values(), ids=DAMAGED_FORMS)
def test_damaged_forms_are_rejected(client, body) -> None:
    check_problem(client.post("/v1/analyze", content=body, headers=FORM), 400)


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 300],
)
def test_forms_without_valid_boundary_are_rejected(client, content_type) -> None:
    body = make_form(("name=image; filename=a", TINY))
    check_problem(client.post("/v1/analyze", content=body, headers={"content-type": content_type}), 400)


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        (b'filename="a b;c.jpg"', "a b;c.jpg"),
        (b'filename="say \\"hi\\".jpg"', 'say "hi".jpg'),
        (b'filename="C:\\dir\\a.jpg"', "C:\\dir\\a.jpg"),
        ('filename="München.jpg"'.encode(), "München.jpg"),
        ('filename="写真.jpg"'.encode(), "写真.jpg"),
        (b'filename="caf\xe9.jpg"', "café.jpg"),
        (b"filename*=utf-8''%E5%86%99.jpg", "写.jpg"),
        (b"filename=\"_.jpg\"; filename*=UTF-8''caf%C3%A9.jpg", "café.jpg"),
        (b"filename*=iso-8859-1'en'caf%E9.jpg", "café.jpg"),
        (b"filename*=utf-7''+2AA-", "+2AA-"),
        (b'filename=""', ""),
        (b"FILENAME=a.jpg", "a.jpg"),
        (b'filename="../../etc/passwd"', "../../etc/passwd"),
        (b'filename="\xed\xa0\x80"', b"\xed\xa0\x80".decode("latin-1")),
    ],
)
def test_file_names_are_returned_unchanged(client, parameter, name) -> None:
    body = make_form(("name=image; " + parameter.decode("latin-1"), TINY))
    (image,) = client.post("/v1/batch", content=body, headers=FORM).json()["images"]
    assert image["source"] == name
    assert image["faces"] == []


def to_base64(data: bytes, style: str) -> str:
    text = (base64.urlsafe_b64encode if "url" in style else base64.b64encode)(data).decode()
    if "lines" in style:
        text = "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    if "unpadded" in style:
        text = text.rstrip("=")
    return "data:image/jpeg;base64," + text if "data" in style else text


@pytest.mark.parametrize(
    "style", ["", "url", "unpadded", "url unpadded", "lines", "url lines unpadded", "data", "data lines unpadded"]
)
@pytest.mark.parametrize("escapes", [{}, {"/": "\\/"}, {"+": "\\u002B", "=": "\\u003d"}], ids=["", "PHP", ".NET"])
def test_json_takes_base64_in_every_style(client, analyzer, jpeg, style, escapes) -> None:
    expected = json.loads(json.dumps(analyzer.analyze(jpeg).to_dict()))
    body = json.dumps({"image": to_base64(jpeg, style)})
    for character, escape in escapes.items():
        body = body.replace(character, escape)
    response = client.post("/v1/analyze", content=body, headers={"content-type": "Application/JSON; charset=UTF-8"})
    assert response.json() == expected


def test_json_options_and_names(client, jpeg) -> None:
    content = {"image": to_base64(jpeg, ""), "tasks": ["age", "mask"], "crop": False, "attention": True}
    (face,) = faces_of(client.post("/v1/analyze", json=content))
    assert results_of(face) == {"age", "mask", "attention"}
    (face,) = faces_of(client.post("/v1/analyze?tasks=race", json=content))
    assert results_of(face) == {"age", "mask", "race", "attention"}
    check_problem(client.post("/v1/analyze?attention=false", json=content), 422)
    names = ["é.jpg", "写真 🙂", "a\ud800b", "", "x" * 999]
    images = [{"name": name, "image": to_base64(TINY, "data")} for name in names]
    images += [to_base64(jpeg, ""), to_base64(b"text", "")]
    body = json.dumps({"images": images, "tasks": ["age"]})
    *results, last = client.post("/v1/batch", content=body, headers=JSON).json()["images"]
    assert [result["source"] for result in (*results, last)] == [*names, "", ""]
    assert [len(result["faces"]) for result in results] == [0, 0, 0, 0, 0, 1]
    assert last["error"]["type"] == "ImageError"


JSON = {"content-type": "application/json"}
IMAGE = to_base64(TINY, "")


@pytest.mark.parametrize(
    ("route", "content", "status"),
    [
        *[("analyze", {"image": image}, 422) for image in ("x!", "abcde", "é", None, 7, [], {}, True, float("nan"))],
        *[("analyze", {"image": f"{scheme}://x.example/a.jpg"}, 422) for scheme in ("http", "https", "HTTP", "ftp")],
        ("analyze", {"image": "data:image/png,abc"}, 422),
        ("analyze", {"image": "x!" * 5000}, 422),
        ("analyze", {"image": "a" * 5001}, 422),
        ("analyze", {"image": ""}, 415),
        ("analyze", {"image": to_base64(b"text", "")}, 415),
        ("analyze", {"image": "\0" + "0"}, 422),
        ("analyze", {}, 400),
        ("analyze", [IMAGE], 422),
        ("analyze", IMAGE, 422),
        ("analyze", None, 422),
        ("analyze", {"images": [IMAGE]}, 422),
        ("analyze", {"image": IMAGE, "task": ["age"]}, 422),
        ("analyze", {"image": IMAGE, "x" * 5000: 1}, 422),
        ("analyze", {"image": IMAGE, "\ud800": 1}, 422),
        *[("analyze", {"image": IMAGE, "tasks": tasks}, 422) for tasks in ("age", [], [1], None, ["hair"], [""], {})],
        *[("analyze", {"image": IMAGE, "crop": crop}, 422) for crop in ("true", 1, None, [])],
        ("batch", {"images": []}, 400),
        ("batch", {"images": IMAGE}, 422),
        ("batch", {"image": IMAGE}, 422),
        ("batch", {"images": [IMAGE, "x!"]}, 422),
        ("batch", {"images": [{"name": "a"}]}, 422),
        ("batch", {"images": [{"image": IMAGE, "nme": "a"}]}, 422),
        ("batch", {"images": [{"image": IMAGE, "name": 1}]}, 422),
        ("batch", {"images": [{"image": IMAGE, "name": "a" * 5000}]}, 422),
        ("batch", {"images": [""] * 33}, 400),
    ],
)
def test_invalid_json_values_are_rejected(client, route, content, status) -> None:
    check_problem(client.post(f"/v1/{route}", content=json.dumps(content), headers=JSON), status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"image": "a}', 400),
        (b'{"image": "\xff"}', 400),
        (b"[" * 60_000, 400),
        (b'{"a":' * 10_000, 400),
        (b"9" * 60_000, 400),
        (b'{"crop": true, "crop": false}', 422),
        (b"[[],[],[]," * 100_000, 422),
        (b'{"image": "' + b'\\"' * 50_000, 422),
        ('{"image": "a"}'.encode("utf-16"), 400),
    ],
)
def test_damaged_json_is_rejected(client, body, status) -> None:
    check_problem(client.post("/v1/analyze", content=body, headers=JSON), status)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/pdf",
        "image",
        "image/",
        "video/mp4",
        "json",
        "a/b;c=\x7f",
        "application/json; charset=utf-16",
    ],
)
def test_unsupported_content_types_are_rejected(client, content_type) -> None:
    check_problem(client.post("/v1/analyze", content=TINY, headers={"content-type": content_type}), 415)


@pytest.mark.parametrize(
    "content_type",
    ["", "image/jpeg", "IMAGE/PNG", "image/heic; x=y", "application/octet-stream", "application/x-www-form-urlencoded"],
)
def test_content_types_of_raw_images(client, content_type) -> None:
    response = client.post("/v1/analyze", content=TINY, headers={"content-type": content_type} if content_type else {})
    assert faces_of(response) == []


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
    ],
)
def test_compressed_bodies_are_decompressed(client, encoding, compress) -> None:
    def post(body: bytes, content_type: str) -> list[dict]:
        headers = {"content-encoding": encoding, "content-type": content_type}
        return faces_of(client.post("/v1/analyze", content=compress(body), headers=headers))

    assert post(TINY, "image/png") == []
    assert post(json.dumps({"image": IMAGE}).encode(), "application/json") == []
    assert post(make_form(("name=image; filename=a", TINY)), FORM["content-type"]) == []


def test_invalid_compressed_bodies_are_rejected(analyzer) -> None:
    compressed = gzip.compress(TINY)
    with TestClient(create_app(analyzer, limits=Limits(image_bytes=3_000_000, body_bytes=3_000_000))) as client:

        def post(body: bytes, encoding: str = "gzip"):
            return client.post("/v1/analyze", content=body, headers={"content-encoding": encoding})

        check_problem(post(gzip.compress(bytes(50_000_000))), 413)  # a bomb
        check_problem(post(gzip.compress(bytes(3_000_001))), 413)
        check_problem(post(gzip.compress(bytes(3_000_000))), 415)
        for body in (
            b"",
            TINY,
            compressed[:-1],
            compressed[:20],
            compressed + b"x",
            compressed + compressed,
            compressed[:30] + b"xx" + compressed[32:],
        ):
            check_problem(post(body), 400)
        for encoding in ("br", "zstd", "gzip, gzip", "\xff"):
            response = post(compressed, encoding.encode("latin-1"))
            check_problem(response, 415)
            assert "gzip" in response.headers["accept-encoding"]


def test_size_limits_hold_in_every_form(analyzer, jpeg) -> None:
    limits = Limits(image_bytes=len(jpeg), body_bytes=3 * len(jpeg))
    with TestClient(create_app(analyzer, limits=limits)) as client:
        assert len(faces_of(client.post("/v1/analyze", json={"image": to_base64(jpeg, "")}))) == 1
        check_problem(client.post("/v1/analyze", json={"image": to_base64(jpeg + b"xxx", "")}), 413)
        check_problem(client.post("/v1/batch", json={"images": [to_base64(jpeg, "")] * 3}), 413)
        check_problem(client.post("/v1/batch", files=[("image", ("a", jpeg))] * 3), 413)
        assert client.post("/v1/batch", files=[("image", ("a", jpeg))] * 2).status_code == 200


def test_bodies_beyond_the_memory_are_rejected_and_memory_is_freed(analyzer, jpeg) -> None:
    with TestClient(create_app(analyzer, limits=Limits(memory=2 * len(jpeg)))) as client:
        for _ in range(5):
            for body in (jpeg * 3, iter([jpeg] * 3)):  # with a length in advance and without one
                response = client.post("/v1/analyze", content=body)
                check_problem(response, 503)
                assert response.headers["retry-after"]
            assert len(faces_of(client.post("/v1/analyze", content=jpeg))) == 1
            check_problem(client.post("/v1/analyze", content=b"x" * len(jpeg)), 415)


def test_responses_are_compressed_for_clients_that_accept_it(client) -> None:
    body = make_form(*[("name=image; filename=a", TINY)] * 20)
    for accepted, encoding in (("gzip", "gzip"), ("gzip;q=0", None), ("br, gzip;q=0.5", "gzip"), ("identity", None)):
        response = client.post("/v1/batch", content=body, headers={**FORM, "accept-encoding": accepted})
        assert response.headers.get("content-encoding") == encoding
        assert len(response.json()["images"]) == 20
        assert client.get("/page.js", headers={"accept-encoding": accepted}).headers.get("content-encoding") == encoding
        assert "content-encoding" not in client.get("/healthz", headers={"accept-encoding": accepted}).headers
        network = client.get("/models/centerface.onnx", headers={"accept-encoding": accepted})
        assert "content-encoding" not in network.headers


@given(
    st.lists(st.tuples(st.sampled_from([*OPTIONS, "x"]), st.sampled_from(["true", "0", "age", "age,mask", "", "é"])))
)
def test_parse_options_accepts_or_rejects(pairs) -> None:
    try:
        options = parse_options(pairs)
    except (RequestError, LabelError) as error:
        assert isinstance(error, LabelError) or error.status == 422
    else:
        assert options.crop == (("crop", "true") in pairs)
        assert options.attention == (("attention", "true") in pairs)
        requested = {task for name, value in pairs if name == "tasks" for task in value.split(",")}
        assert set(options.tasks) == (requested or set(TASKS))


SNIPPETS = st.sampled_from(
    [
        *(b"--b\r\n", b"--b--\r\n", b"--b", b"\r\n", b"\r\n\r\n", b": ", b";", b'"', b"=", b"\0", b"\xff"),
        *(
            b"Content-Disposition: form-data; name=image; filename=a\r\n\r\n",
            b"Content-Disposition: ",
            b"name=tasks",
            b"age",
        ),
        *(
            b'{"image": "',
            b'{"images": [',
            b'{"name": "',
            b'", "tasks": ["age"]}',
            b"]",
            b"}",
            b"\\ud800",
            b"NaN",
            b"1e999",
        ),
        *(IMAGE.encode(), TINY, b"data:;base64,", gzip.compress(b"x"), b"a" * 1500),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/v1/analyze", "/v1/batch"]),
    st.lists(st.one_of(SNIPPETS, st.binary(max_size=9)), max_size=12),
    st.sampled_from(
        ["", "application/json", "multipart/form-data; boundary=b", 'multipart/form-data; boundary="b', "image/x"]
    ),
    st.sampled_from(["", "gzip", "deflate"]),
    st.booleans(),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"], exclude_characters="#"), max_size=20),
)
def test_random_requests_never_give_500(client, route, snippets, content_type, encoding, compressed, query) -> None:
    body = b"".join(snippets)
    if compressed and encoding:
        body = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    headers = {"content-type": content_type, "content-encoding": encoding}
    response = client.post(
        f"{route}?{query}" if query else route, content=body, headers={k: v for k, v in headers.items() if v}
    )
    assert response.status_code in (200, 400, 413, 415, 422), response.text
    if response.status_code != 200:
        check_problem(response, response.status_code)
