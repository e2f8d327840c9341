import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.conftest import encoded, problem
from starlette.testclient import TestClient

from oamface.server.app import PAGE, create_app
from oamface.server.limits import Limits
from oamface.server.openapi import PROBLEM
from oamface.server.uploads import OPTIONS

KEY = "a-key-that-is-long-enough"


def test_the_answer_is_that_of_the_command_line(client, analyzer, jpeg) -> None:
    wanted = analyzer.analyze(jpeg).to_dict()
    assert len(wanted["faces"]) == 1
    raw = client.post("/v1/analyze", content=jpeg)
    form = client.post("/v1/analyze", files={"image": ("portrait.jpg", jpeg, "image/jpeg")})
    for response in (raw, form):
        assert response.status_code == 200
        assert response.json() == json.loads(json.dumps(wanted))
        assert response.headers["cache-control"] == "no-store"


def test_only_what_is_asked_is_answered(client, jpeg) -> None:
    (face,) = client.post("/v1/analyze?tasks=age,mask", content=jpeg).json()["faces"]
    assert {"age", "mask"} <= set(face)
    assert not {"gender", "race", "attention"} & set(face)
    for tasks in ("hair", "", "age,hair"):
        assert "known are age" in problem(client.post(f"/v1/analyze?tasks={tasks}", content=jpeg), 422)


def test_attention_comes_with_where_it_lies(client, jpeg) -> None:
    (face,) = client.post("/v1/analyze?attention=true", content=jpeg).json()["faces"]
    values, corners = np.array(face["attention"]["values"]), np.array(face["attention"]["corners"])
    assert values.ndim == 2
    assert 0 <= values.min() <= values.max() <= 1
    assert corners.shape == (4, 2)
    landmarks = np.array(face["landmarks"])
    assert ((landmarks > corners.min(0)) & (landmarks < corners.max(0))).all()


def test_a_crop_always_has_one_answer(client) -> None:
    blank = encoded(np.full((80, 80, 3), 128, np.uint8), "PNG")
    assert client.post("/v1/analyze", content=blank).json()["faces"] == []
    assert len(client.post("/v1/analyze?crop=true", content=blank).json()["faces"]) == 1


def test_a_batch_keeps_its_order_and_bad_ones_stand_beside_the_rest(client, jpeg) -> None:
    files = [("image", ("a.jpg", jpeg)), ("image", ("b.txt", b"text")), ("image", ("c.png", jpeg))]
    told = client.post("/v1/batch", files=files).json()["images"]
    assert [item["source"] for item in told] == ["a.jpg", "b.txt", "c.png"]
    assert told[0]["faces"] == told[2]["faces"] != []
    assert told[1]["error"]["type"] == "ImageError"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"text", 415), (b"\xff\xd8\xff\xe0" + b"\0" * 100, 415), (b"GIF89a", 415)],
)
def test_what_is_no_picture_is_a_problem(client, body, status) -> None:
    problem(client.post("/v1/analyze", content=body), status)


def test_forms_that_are_none(client, jpeg) -> None:
    problem(client.post("/v1/analyze", files={"photo": ("a.jpg", jpeg)}), 422)
    problem(client.post("/v1/analyze", data={"image": "text"}, files={"x": ("x", b"x")}), 422)
    two = [("image", ("a.jpg", jpeg)), ("image", ("b.jpg", jpeg))]
    problem(client.post("/v1/analyze", files=two), 400)
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        problem(client.post("/v1/analyze", content=b"--y\r\nnonsense", headers={"content-type": kind}), 400)


def test_limits_of_bytes_pixels_pictures_and_faces(analyzer, jpeg) -> None:
    limits = Limits(bytes=len(jpeg), pixels=100_000, images=2, faces=0)
    with TestClient(create_app(analyzer, limits=limits)) as client:
        assert "pixels" in problem(client.post("/v1/analyze", content=jpeg), 415)
        problem(client.post("/v1/analyze", content=jpeg + b"x"), 413)
        problem(client.post("/v1/analyze", content=iter([jpeg, b"x" * 10])), 413)  # without a length in advance
        problem(client.post("/v1/analyze", files={"image": ("a.jpg", jpeg + b"x")}), 413)
        problem(client.post("/v1/batch", files=[("image", ("a.jpg", b"x"))] * 3), 400)
    with TestClient(create_app(analyzer, limits=Limits(faces=0))) as client:
        told = client.post("/v1/analyze", content=jpeg).json()
        assert told["faces"] == []
        assert told["more"] == 1


def test_wrong_places_and_ways_are_problems_too(client) -> None:
    problem(client.get("/v1/nothing"), 404)
    problem(client.get("/v1/analyze"), 405)
    problem(client.post("/v1/analyze?crop=perhaps", content=b"x"), 422)


def test_keys_guard_what_answers(analyzer, jpeg) -> None:
    with TestClient(create_app(analyzer, keys=[KEY, "another-key-as-long"])) as client:
        for path in ("/v1/model", "/metrics"):
            assert problem(client.get(path), 401)
            assert client.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        for header in (f"Bearer {KEY}x", f"Basic {KEY}", "Bearer", KEY, "Bearer \xff"):
            response = client.post("/v1/analyze", content=jpeg, headers={"Authorization": header.encode("latin-1")})
            problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.post("/v1/analyze", content=jpeg, headers={"authorization": f"bearer {KEY}"}).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_the_model_tells_all_about_itself(client, analyzer) -> None:
    told = client.get("/v1/model").json()
    assert told["digest"] == analyzer.predictor.digest
    assert told["tasks"]["mask"] == ["none", "incorrect", "worn"]


def test_it_is_ready_only_while_it_lives(analyzer) -> None:
    app = create_app(analyzer)
    problem(TestClient(app).get("/readyz"), 503)  # not started
    with TestClient(app) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
    problem(TestClient(app).get("/readyz"), 503)


def test_metrics_count_and_hold_no_made_up_names(analyzer, jpeg) -> None:
    with TestClient(create_app(analyzer)) as client:
        client.post("/v1/analyze", content=jpeg)
        client.post("/v1/analyze", content=b"text")
        client.get("/v1/secret-name")
        text = client.get("/metrics").text
    assert 'oamface_requests_total{route="/v1/analyze",status="200"} 1.0' in text
    assert 'oamface_requests_total{route="/v1/analyze",status="415"} 1.0' in text
    assert "oamface_faces_total 1.0" in text
    assert "oamface_busy 0.0" in text
    assert "secret" not in text


def test_other_sites_may_not_call_it_unless_named(analyzer, client, jpeg) -> None:
    asked = {"Origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in client.post("/v1/analyze", content=jpeg, headers=asked).headers
    with TestClient(create_app(analyzer, origins=["https://elsewhere.example"])) as open_client:
        headers = open_client.post("/v1/analyze", content=jpeg, headers=asked).headers
        assert headers["access-control-allow-origin"] == "https://elsewhere.example"
        other = open_client.post("/v1/analyze", content=jpeg, headers={"Origin": "https://other.example"}).headers
        assert "access-control-allow-origin" not in other


def test_the_page_comes_from_here_alone(client) -> None:
    response = client.get("/")
    assert "<h1>oamface</h1>" in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    for path in PAGE.glob("*.*"):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|<script>|style=|\son\w+=", text), path
        assert client.get(f"/{path.name}").status_code == 200
    assert client.get("/docs").status_code == 404  # FastAPI's would load scripts from elsewhere


def test_the_interface_is_described_with_examples(client) -> None:
    told = client.get("/openapi.json").json()
    answer = told["paths"]["/v1/analyze"]["post"]["responses"]
    assert answer["200"]["content"]["application/json"]["example"]["faces"][0]["age"]
    assert PROBLEM in answer["503"]["content"]


@pytest.mark.parametrize(("route", "field"), [("/v1/analyze", "image"), ("/v1/batch", "images")])
def test_the_interface_names_what_may_be_sent(client, route, field) -> None:
    told = client.get("/openapi.json").json()["paths"][route]["post"]
    assert {item["name"] for item in told["parameters"] if item["in"] == "query"} == set(OPTIONS)
    for kind, name in (("application/json", field), ("multipart/form-data", "image")):
        schema = told["requestBody"]["content"][kind]["schema"]
        assert set(schema["properties"]) == {name, *OPTIONS}
        assert schema["required"] == [name]
        assert schema["additionalProperties"] is False
    assert {"400", "401", "408", "413", "415", "422", "503", "504"} <= set(told["responses"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=400),
    st.sampled_from(
        ["", "image/jpeg", "multipart/form-data; boundary=b", "multipart/form-data; boundary=", "a/b;c=\x7f"]
    ),
    st.integers(0, 3000),
    st.booleans(),
)
def test_hostile_bodies_never_break_it(client, jpeg, junk, kind, cut, whole) -> None:
    body = junk if whole else jpeg[:cut] + junk
    response = client.post("/v1/analyze", content=body, headers={"content-type": kind} if kind else {})
    assert response.status_code in (200, 400, 413, 415, 422)
    assert client.get("/healthz").status_code == 200


def test_the_networks_for_the_browser(client, analyzer) -> None:
    predictor = client.get("/models/predictor.onnx")
    assert predictor.content == analyzer.predictor.path.read_bytes()
    again = client.get("/models/predictor.onnx", headers={"if-none-match": predictor.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert len(client.get("/models/detector.onnx").content) > 5e6
    assert client.get("/models/passwords.onnx").status_code == 404
    with TestClient(create_app(analyzer, keys=["secret"])) as locked:
        assert locked.get("/models/predictor.onnx").status_code == 401
        assert locked.get("/models/predictor.onnx", headers={"authorization": "Bearer secret"}).status_code == 200
