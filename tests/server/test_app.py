import base64
import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from oamface import AgePolicy, face_detector, face_scanner
from oamface.errors import ServeError
from oamface.server.app import create_app
from oamface.server.limits import Limits
from oamface.server.openapi import PROBLEM
from oamface.server.options import OPTIONS
from oamface.server.site import STATIC, Site
from oamface.weights import WEIGHTS
from server.conftest import check_problem, encode

KEY = "a-key-that-is-long-enough"


def test_analyze_gives_result_of_analyzer(client, analyzer, jpeg) -> None:
    expected = analyzer.analyze(jpeg).to_dict()
    assert len(expected["faces"]) == 1
    raw = client.post("/v1/analyze", content=jpeg)
    form = client.post("/v1/analyze", files={"image": ("portrait.jpg", jpeg, "image/jpeg")})
    for response in (raw, form):
        assert response.status_code == 200
        assert response.json() == json.loads(json.dumps(expected))
        assert response.headers["cache-control"] == "no-store"


def test_analyze_gives_only_requested_tasks(client, jpeg) -> None:
    (face,) = client.post("/v1/analyze?tasks=age,mask", content=jpeg).json()["faces"]
    assert {"age", "mask"} <= set(face)
    assert not {"gender", "race", "attention"} & set(face)
    for tasks in ("hair", "", "age,hair"):
        assert "gender, race, mask" in check_problem(client.post(f"/v1/analyze?tasks={tasks}", content=jpeg), 422)


def test_at_least_adds_probabilities_of_ages(client, jpeg) -> None:
    (face,) = client.post("/v1/analyze?at_least=21,18&at_least=65", content=jpeg).json()["faces"]
    assert list(face["age"]["at_least"]) == ["18", "21", "65"]
    image = base64.b64encode(jpeg).decode()
    (same,) = client.post("/v1/analyze", json={"image": image, "at_least": [18, 21, 65]}).json()["faces"]
    assert same["age"] == face["age"]
    assert "at_least" not in client.post("/v1/analyze", content=jpeg).json()["faces"][0]["age"]
    for years in ("", "adult", "-1", "18,", "1e1"):
        assert "at_least" in check_problem(client.post(f"/v1/analyze?at_least={years}", content=jpeg), 422)
    assert "0 to 100" in check_problem(client.post("/v1/analyze?at_least=101", content=jpeg), 422)
    check_problem(client.post("/v1/analyze", json={"image": image, "at_least": ["18"]}), 422)


def test_policy_decides_about_each_face_and_about_an_image_without_one(client, analyzer, jpeg) -> None:
    policy = AgePolicy(18, challenge=25, max_false_accept=0.2)
    expected = policy.apply(analyzer.analyze(jpeg)).to_dict()
    image = base64.b64encode(jpeg).decode()
    body = {"age": 18, "challenge": 25, "max_false_accept": 0.2}
    for response in (
        client.post("/v1/analyze?policy=age=18,challenge=25,max_false_accept=0.2", content=jpeg),
        client.post("/v1/analyze", json={"image": image, "policy": body}),
        client.post("/v1/analyze", json={"image": image, "policy": str(policy)}),
        client.post("/v1/analyze", files={"image": ("a.jpg", jpeg)}, data={"policy": str(policy)}),
    ):
        assert response.json()["faces"] == json.loads(json.dumps(expected["faces"]))
        assert response.json()["faces"][0]["decision"]["outcome"] in ("accept", "refuse", "refer")
    blank = client.post("/v1/analyze?policy=age=18", content=encode(np.zeros((64, 64, 3), np.uint8))).json()
    assert blank["decision"] == {"outcome": "refer", "probability": None, "reasons": ["no face"]}
    assert "decision" not in client.post("/v1/analyze", content=jpeg).json()["faces"][0]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("", "is empty"),
        ("adult=18", "known are age, challenge"),
        ("age=18,challenge=17", "below the age 18"),
        ("max_false_accept=2", "within 0 to 1"),
        ("age=old", "whole number"),
        ("age=18&policy=age=21", "given twice"),
        ("age=18&tasks=mask", "about the age"),
    ],
)
def test_wrong_policies_are_422(client, jpeg, policy, reason) -> None:
    assert reason in check_problem(client.post(f"/v1/analyze?policy={policy}", content=jpeg), 422)


def test_wrong_policies_in_json_are_422(client, jpeg) -> None:
    image = base64.b64encode(jpeg).decode()
    for policy in ("age=old", {"age": "18"}, {"age": True}, {"adult": 18}, {"age": 18.5}, [18], {}, {"a=1,age": 18}):
        detail = check_problem(client.post("/v1/analyze", json={"image": image, "policy": policy}), 422)
        assert "policy" in detail
    policy = dataclasses.asdict(AgePolicy(18))
    assert policy["challenge"] is None
    assert client.post("/v1/analyze", json={"image": image, "policy": policy}).status_code == 200
    policy["challenge"] = "25"
    detail = check_problem(client.post("/v1/analyze", json={"image": image, "policy": policy}), 422)
    assert detail.startswith('policy: challenge: expected a number, got "25"')


def test_attention_has_values_and_corners(client, jpeg) -> None:
    (face,) = client.post("/v1/analyze?attention=true", content=jpeg).json()["faces"]
    values, corners = np.array(face["attention"]["values"]), np.array(face["attention"]["corners"])
    assert values.ndim == 2
    assert 0 <= values.min() <= values.max() <= 1
    assert corners.shape == (4, 2)
    landmarks = np.array(face["landmarks"])
    assert ((landmarks > corners.min(0)) & (landmarks < corners.max(0))).all()


def test_crop_always_has_one_face(client) -> None:
    blank = encode(np.full((80, 80, 3), 128, np.uint8), "PNG")
    assert client.post("/v1/analyze", content=blank).json()["faces"] == []
    assert len(client.post("/v1/analyze?crop=true", content=blank).json()["faces"]) == 1


def test_batch_keeps_order_and_reports_errors(client, jpeg) -> None:
    files = [("image", ("a.jpg", jpeg)), ("image", ("b.txt", b"text")), ("image", ("c.png", jpeg))]
    first, second, third = client.post("/v1/batch", files=files).json()["images"]
    assert [image["source"] for image in (first, second, third)] == ["a.jpg", "b.txt", "c.png"]
    assert first["faces"] == third["faces"] != []
    assert second["error"]["type"] == "ImageError"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"text", 415), (b"\xff\xd8\xff\xe0" + b"\0" * 100, 415), (b"GIF89a", 415)],
)
def test_analyze_rejects_bodies_that_are_not_images(client, body, status) -> None:
    check_problem(client.post("/v1/analyze", content=body), status)


def test_analyze_rejects_invalid_forms(client, jpeg) -> None:
    check_problem(client.post("/v1/analyze", files={"photo": ("a.jpg", jpeg)}), 422)
    check_problem(client.post("/v1/analyze", data={"image": "text"}, files={"x": ("x", b"x")}), 422)
    two = [("image", ("a.jpg", jpeg)), ("image", ("b.jpg", jpeg))]
    check_problem(client.post("/v1/analyze", files=two), 400)
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        check_problem(
            client.post("/v1/analyze", content=b"--y\r\nnonsense", headers={"content-type": content_type}), 400
        )


def test_limits_of_bytes_pixels_images_and_faces(analyzer, jpeg) -> None:
    limits = Limits(image_bytes=len(jpeg), pixels=100_000, images=2, faces=0)
    with TestClient(create_app(analyzer, limits=limits)) as client:
        assert "pixels" in check_problem(client.post("/v1/analyze", content=jpeg), 415)
        check_problem(client.post("/v1/analyze", content=jpeg + b"x"), 413)
        check_problem(client.post("/v1/analyze", content=iter([jpeg, b"x" * 10])), 413)  # without a length in advance
        check_problem(client.post("/v1/analyze", files={"image": ("a.jpg", jpeg + b"x")}), 413)
        check_problem(client.post("/v1/batch", files=[("image", ("a.jpg", b"x"))] * 3), 400)
    with TestClient(create_app(analyzer, limits=Limits(faces=0))) as client:
        result = client.post("/v1/analyze", content=jpeg).json()
        assert result["faces"] == []
        assert result["more"] == 1


def test_unknown_routes_methods_and_values_are_problems(client) -> None:
    check_problem(client.get("/v1/nothing"), 404)
    check_problem(client.get("/v1/analyze"), 405)
    check_problem(client.post("/v1/analyze?crop=perhaps", content=b"x"), 422)


def test_keys_guard_api_and_metrics(analyzer, jpeg) -> None:
    with TestClient(create_app(analyzer, keys=[KEY, "another-key-as-long"])) as client:
        for path in ("/v1/model", "/metrics"):
            assert check_problem(client.get(path), 401)
            assert client.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        for header in (f"Bearer {KEY}x", f"Basic {KEY}", "Bearer", KEY, "Bearer \xff"):
            response = client.post("/v1/analyze", content=jpeg, headers={"Authorization": header.encode("latin-1")})
            check_problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.post("/v1/analyze", content=jpeg, headers={"authorization": f"bearer {KEY}"}).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_description_of_the_api_says_which_routes_need_a_key(analyzer) -> None:
    with TestClient(create_app(analyzer, keys=[KEY])) as locked, TestClient(create_app(analyzer)) as open_to_all:
        described, without = locked.get("/openapi.json").json(), open_to_all.get("/openapi.json").json()
    (scheme,) = described["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    needing = {path for path, routes in described["paths"].items() if all("security" in one for one in routes.values())}
    assert {"/v1/analyze", "/v1/batch", "/v1/model"} <= needing
    assert not needing & {"/healthz", "/readyz"}
    assert "securitySchemes" not in without.get("components", {})


def test_model_route_gives_metadata(client, analyzer) -> None:
    model = client.get("/v1/model").json()
    assert model["digest"] == analyzer.digest
    assert model["tasks"]["mask"] == ["none", "incorrect", "worn"]


def test_readyz_only_while_running(analyzer) -> None:
    app = create_app(analyzer)
    check_problem(TestClient(app).get("/readyz"), 503)  # not started
    with TestClient(app) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
    check_problem(TestClient(app).get("/readyz"), 503)


def test_metrics_count_existing_routes_only(analyzer, jpeg) -> None:
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


def test_other_origins_are_allowed_only_when_named(analyzer, client, jpeg) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in client.post("/v1/analyze", content=jpeg, headers=origin).headers
    with TestClient(create_app(analyzer, origins=["https://elsewhere.example"])) as open_client:
        headers = open_client.post("/v1/analyze", content=jpeg, headers=origin).headers
        assert headers["access-control-allow-origin"] == "https://elsewhere.example"
        other = open_client.post("/v1/analyze", content=jpeg, headers={"Origin": "https://other.example"}).headers
        assert "access-control-allow-origin" not in other


def test_page_loads_nothing_from_elsewhere(client) -> None:
    response = client.get("/")
    assert "<title>oamface" in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    for path in STATIC.glob("*.*"):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|<script>|style=|\son\w+=", text), path
        assert client.get(f"/{path.name}").status_code == 200
    assert client.get("/docs").status_code == 404  # FastAPI's loads scripts from elsewhere


def test_openapi_has_examples(client) -> None:
    schema = client.get("/openapi.json").json()
    responses = schema["paths"]["/v1/analyze"]["post"]["responses"]
    assert responses["200"]["content"]["application/json"]["example"]["faces"][0]["age"]
    assert PROBLEM in responses["503"]["content"]


@pytest.mark.parametrize(("route", "field"), [("/v1/analyze", "image"), ("/v1/batch", "images")])
def test_openapi_names_parameters_and_fields(client, route, field) -> None:
    operation = client.get("/openapi.json").json()["paths"][route]["post"]
    assert {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"} == set(OPTIONS)
    for media_type, name in (("application/json", field), ("multipart/form-data", "image")):
        schema = operation["requestBody"]["content"][media_type]["schema"]
        assert set(schema["properties"]) == {name, *OPTIONS}
        assert schema["required"] == [name]
        assert schema["additionalProperties"] is False
    assert {"400", "401", "408", "413", "415", "422", "503", "504"} <= set(operation["responses"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=400),
    st.sampled_from(
        ["", "image/jpeg", "multipart/form-data; boundary=b", "multipart/form-data; boundary=", "a/b;c=\x7f"]
    ),
    st.integers(0, 3000),
    st.booleans(),
)
def test_hostile_bodies_never_give_500(client, jpeg, junk, content_type, length, only_junk) -> None:
    body = junk if only_junk else jpeg[:length] + junk
    response = client.post("/v1/analyze", content=body, headers={"content-type": content_type} if content_type else {})
    assert response.status_code in (200, 400, 413, 415, 422)
    assert client.get("/healthz").status_code == 200


def test_internal_error_is_a_problem_with_all_headers(client, analyzer, jpeg, monkeypatch) -> None:
    def fail(*_, **__) -> None:
        raise RuntimeError("a secret of the service")

    monkeypatch.setattr(analyzer, "detect", fail)
    response = client.post("/v1/analyze", content=jpeg)
    assert "secret" not in check_problem(response, 500)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_models_route_gives_the_listed_networks(client, analyzer) -> None:
    index = client.get("/models/index.json").json()
    assert index["service"]
    assert index["model"] == "untrained"
    assert {*WEIGHTS, "untrained"} == index["models"].keys()
    assert "research only" in index["models"]["oam-int8"]["terms"]
    assert index["models"]["oam-small"]["terms"] == ""
    for name, listed in {**index["models"], **index["detectors"]}.items():
        network = client.get(f"/models/{name}.onnx").content
        assert (len(network), hashlib.sha256(network).hexdigest()) == (listed["bytes"], listed["sha256"])
    network = client.get("/models/untrained.onnx")
    assert network.content == analyzer.predictor.path.read_bytes()
    cached = client.get("/models/untrained.onnx", headers={"if-none-match": network.headers["etag"]})
    assert (cached.status_code, cached.content) == (304, b"")
    for path in ("passwords.onnx", "oam-small", "oam-small.json", "index.json.onnx"):
        assert client.get(f"/models/{path}").status_code == 404
    with TestClient(create_app(analyzer, keys=["secret"])) as locked:
        for path in ("untrained.onnx", "index.json"):
            assert locked.get(f"/models/{path}").status_code == 401
            assert locked.get(f"/models/{path}", headers={"authorization": "Bearer secret"}).status_code == 200


def test_page_gets_every_constant_of_the_pipeline_from_python(client) -> None:
    response = client.get("/constants.js")
    assert response.headers["content-type"].startswith("text/javascript")
    constants = dict(re.findall(r"^export const ([A-Z_]+) = (.*);$", response.text, re.MULTILINE))
    assert json.loads(constants["CANDIDATE_SCORE"]) == face_detector.CANDIDATE_SCORE
    assert json.loads(constants["STRIDES"]) == list(face_scanner.STRIDES)
    used = {
        name
        for script in STATIC.rglob("*.js")
        for names in re.findall(r"import \{([^}]*)\} from \"[./]+/constants.js\"", script.read_text())
        for name in re.findall(r"\w+", names)
    }
    assert {"OVAL_RADIUS", "TEMPLATE", "THRESHOLD"} <= used <= set(constants)


@pytest.mark.skipif(not (STATIC / "vendor").is_dir(), reason="built without npm: the page has no runtime of its own")
def test_runtime_is_sent_as_it_is_stored(client) -> None:
    listed = client.get("/models/index.json").json()["runtime"]["wasm"]
    for accepted, encoding in (("gzip", "gzip"), ("identity", None)):
        response = client.get(f"/{listed['path']}", headers={"accept-encoding": accepted})
        assert response.headers.get("content-encoding") == encoding
        assert "immutable" in response.headers["cache-control"]
        assert hashlib.sha256(response.content).hexdigest() == listed["sha256"]


def test_service_worker_keeps_every_file_of_the_page(client) -> None:
    kept = json.loads(client.get("/files.js").text.removeprefix("self.FILES = ").removesuffix(";\n"))
    assert {"index.html", "page.js", "worker.js", "constants.js", "manifest.webmanifest"} <= kept.keys()
    for path, digest in kept.items():
        assert hashlib.sha256(client.get(f"/{path}").content).hexdigest() == digest


def test_export_writes_a_site_for_any_web_server(tmp_path) -> None:
    Site("oam-small").export(tmp_path / "site")
    index = json.loads((tmp_path / "site" / "models" / "index.json").read_text())
    assert not index["service"]
    assert list(index["models"]) == ["oam-small"]
    listed = {f"models/{name}.onnx": file for name, file in {**index["models"], **index["detectors"]}.items()}
    listed |= {file["path"]: file for file in index["runtime"].values()}
    for path, file in listed.items():
        assert hashlib.sha256((tmp_path / "site" / path).read_bytes()).hexdigest() == file["sha256"]
    assert (tmp_path / "site" / "index.html").is_file()
    with pytest.raises(ServeError, match="not an empty folder"):
        Site("oam-small").export(tmp_path / "site")
