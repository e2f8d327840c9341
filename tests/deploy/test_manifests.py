"""The files in deploy/ agree with the service, the package and each other. No container engine is needed."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from starlette.testclient import TestClient

from oamface.analyzer import Analyzer
from oamface.cli.app import app
from oamface.server.app import create_app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE, CUDA = DEPLOY / "kubernetes/base", DEPLOY / "kubernetes/cuda"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LABELS = {"app.kubernetes.io/name": "oamface"}

Step = tuple[str, str]  # an instruction of a Dockerfile and its arguments


def read_stages() -> list[list[Step]]:
    """The Dockerfile's stages in order, each from its FROM on."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    stages: list[list[Step]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            instruction, arguments = line.split(maxsplit=1)
            if instruction == "FROM":
                stages.append([])
            stages[-1].append((instruction, arguments))
    return stages


def arguments_of(stage: list[Step], instruction: str) -> list[str]:
    return [arguments for name, arguments in stage if name == instruction]


def read_manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """The folder's objects by kind."""
    return {content["kind"]: content for content in map(read_yaml, sorted(folder.glob("*.yaml")))}


def read_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


BUILD, IMAGE = read_stages()
MANIFESTS = read_manifests(BASE)
POD = MANIFESTS["Deployment"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PATCH = read_manifests(CUDA)["Deployment"]["spec"]["template"]["spec"]
(CUDA_CONTAINER,) = PATCH["containers"]
COMPOSE = read_yaml(DEPLOY / "compose.yaml")["services"]["oamface"]
UNIT = (DEPLOY / "oamface.service").read_text()
SERVE = typer.main.get_command(app).commands["serve"]
DEFAULTS = {option: parameter.default for parameter in SERVE.params for option in parameter.opts}
HEALTHCHECK = urlsplit(re.search(r"http://[^']+", arguments_of(IMAGE, "HEALTHCHECK")[0]).group())


@pytest.fixture(scope="module")
def client():
    """The service as the Deployment runs it: with a key, which probes do not send."""
    with TestClient(create_app(Analyzer("oam-small", threads=1), keys=["a-key-that-is-long-enough"])) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        HEALTHCHECK.path,
        *(CONTAINER[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")),
    ],
)
def test_probed_path_exists_and_needs_no_key(client, path) -> None:
    assert client.get(path).status_code == 200
    assert client.get("/v1/model").status_code == 401
    assert client.get(f"{path}/missing").status_code == 404


def test_readiness_probes_are_not_ready_before_start() -> None:
    starting = TestClient(create_app(Analyzer("oam-small", threads=1)))  # without its lifespan
    for probe in ("startupProbe", "readinessProbe"):
        assert starting.get(CONTAINER[probe]["httpGet"]["path"]).status_code == 503
    assert starting.get(CONTAINER["livenessProbe"]["httpGet"]["path"]).status_code == 200


def test_ports_are_those_of_the_service() -> None:
    port = DEFAULTS["--port"]
    assert arguments_of(IMAGE, "EXPOSE") == [str(port)]
    assert HEALTHCHECK.port == port
    assert COMPOSE["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert [(each["name"], each["containerPort"]) for each in CONTAINER["ports"]] == [("http", port)]
    probes = [CONTAINER[key]["httpGet"]["port"] for key in CONTAINER if key.endswith("Probe")]
    (service,), ((ingress,),) = (
        MANIFESTS["Service"]["spec"]["ports"],
        [rule["ports"] for rule in MANIFESTS["NetworkPolicy"]["spec"]["ingress"]],
    )
    assert {*probes, service["targetPort"], ingress["port"]} == {"http"}


@pytest.mark.parametrize(
    "command",
    [
        shlex.join(yaml.safe_load(arguments_of(IMAGE, "ENTRYPOINT")[0])),
        shlex.join(["oamface", "serve", *CONTAINER["args"]]),
        shlex.join(["oamface", "serve", *CUDA_CONTAINER["args"]]),
        re.search(r"^ExecStart=(.*)$", UNIT, re.MULTILINE).group(1),
    ],
)
def test_started_command_and_its_options_exist(command) -> None:
    program, name, *words = shlex.split(command)
    assert (Path(program).name, name) == ("oamface", "serve")
    assert {word for word in words if word.startswith("--")} <= set(DEFAULTS)


def test_accepted_requests_may_finish_before_a_stop() -> None:
    seconds = DEFAULTS["--timeout"] + 1  # server.run gives uvicorn one second more
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > before + seconds
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) > seconds
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE).group(1)) > seconds


def test_image_runs_nothing_and_installs_nothing_in_its_final_stage() -> None:
    assert not arguments_of(IMAGE, "RUN")
    assert any("apt-get" in command for command in arguments_of(BUILD, "RUN"))  # so that the check above can fail
    assert arguments_of(IMAGE, "COPY") == ["--from=build /opt/oamface /opt/oamface"]


def test_image_is_on_slim_python_of_a_supported_version() -> None:
    build, image = arguments_of(BUILD, "FROM")[0].split()[0], arguments_of(IMAGE, "FROM")[0]
    assert build == image  # the environment that is copied links to this Python
    version = re.fullmatch(r"python:(3\.\d+)-slim", image).group(1)
    assert version in SpecifierSet(PROJECT["requires-python"])
    (variables,) = arguments_of(IMAGE, "ENV")
    assert set(re.findall(r"/lib/python([\d.]+)/", variables)) == {version}


def test_image_and_pods_run_as_the_same_unprivileged_user() -> None:
    (user,) = arguments_of(IMAGE, "USER")
    context = POD["spec"]["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["runAsUser"] > 0
    assert context["fsGroup"] == context["runAsGroup"]  # which may read the keys
    assert POD["spec"]["volumes"][0]["secret"]["defaultMode"] == 0o440


def test_pods_meet_the_restricted_security_standard() -> None:
    context = POD["spec"]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert COMPOSE["read_only"] is True
    assert COMPOSE["cap_drop"] == ["ALL"]
    assert {kind for volume in (*POD["spec"]["volumes"], *PATCH["volumes"]) for kind in volume} <= {
        "name",
        "secret",
        "emptyDir",
    }


def test_network_policy_allows_no_egress() -> None:
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []


def test_selectors_match_the_pods_and_nothing_else() -> None:
    """An empty selector is valid and would select every Pod of the namespace."""
    (spread,) = POD["spec"]["topologySpreadConstraints"]
    assert POD["metadata"]["labels"] == LABELS
    assert MANIFESTS["Service"]["spec"]["selector"] == LABELS
    for selector in (
        MANIFESTS["Deployment"]["spec"]["selector"],
        MANIFESTS["PodDisruptionBudget"]["spec"]["selector"],
        MANIFESTS["NetworkPolicy"]["spec"]["podSelector"],
        spread["labelSelector"],
    ):
        assert selector == {"matchLabels": LABELS}
    target = MANIFESTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": MANIFESTS["Deployment"]["metadata"]["name"],
    }


@pytest.mark.parametrize("folder", [BASE, CUDA], ids=lambda folder: folder.name)
def test_kustomization_lists_every_file(folder) -> None:
    content = read_yaml(folder / "kustomization.yaml")
    listed = [*content["resources"], *(patch["path"] for patch in content.get("patches", ()))]
    assert sorted(listed) == sorted(
        ["../base"] * (folder == CUDA) + [path.name for path in folder.glob("*.yaml") if path.stem != "kustomization"]
    )


def test_cuda_patches_name_objects_of_the_base() -> None:
    for kind, patch in read_manifests(CUDA).items():
        if kind != "Kustomization":
            base = MANIFESTS[kind]
            assert (patch["apiVersion"], patch["metadata"]["name"]) == (base["apiVersion"], base["metadata"]["name"])
    assert CUDA_CONTAINER["name"] == CONTAINER["name"]
    assert CUDA_CONTAINER["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert CUDA_CONTAINER["args"][: len(CONTAINER["args"])] == CONTAINER["args"]


def test_image_tags_are_those_that_the_dockerfile_builds() -> None:
    built = set(re.findall(r"-t (oamface:\w+)", (DEPLOY / "Dockerfile").read_text()))
    (cuda,) = read_yaml(CUDA / "kustomization.yaml")["images"]
    assert {CONTAINER["image"], f"{cuda['name']}:{cuda['newTag']}"} == built
    assert COMPOSE["image"] == CONTAINER["image"]


def test_compose_and_pods_have_the_same_number_of_cores() -> None:
    assert float(COMPOSE["deploy"]["resources"]["limits"]["cpus"]) == float(CONTAINER["resources"]["limits"]["cpu"])


def test_cuda_replaces_onnxruntime_by_a_version_that_the_package_allows() -> None:
    (install,) = [command for command in arguments_of(BUILD, "RUN") if "onnxruntime-gpu" in command]
    assert install.index("uninstall --yes onnxruntime ") < install.index("onnxruntime-gpu[")
    (pinned,) = re.findall(r'"(onnxruntime-gpu\[cuda,cudnn\]==[^"]+)"', install)
    (version,) = [specifier.version for specifier in Requirement(pinned).specifier]
    (needed,) = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name == "onnxruntime"]
    assert version in needed.specifier


def test_build_context_holds_what_the_image_copies_and_no_data() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {name for arguments in arguments_of(BUILD, "COPY") for name in arguments.split()[:-1]}
    assert rules[0] == "*"
    assert allowed == copied
    assert all((ROOT / name).exists() for name in copied)
