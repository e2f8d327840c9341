"""Imports point one way: a lower room knows nothing of an upper one."""

import subprocess
import sys

import grimp
import pytest

# From the command line down; rooms in one set know nothing of each other.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"paper"},
    {"bulk", "export", "server", "video"},
    {"selection"},
    {"benchmark"},
    {"evaluation"},
    {"training"},
    {"models"},
    {"synthetic"},
    {"datasets", "occlusion"},
    {"age_policy", "analyzer", "zoo"},
    {"face_detector"},
    {"annotate", "centerface", "face_scanner", "given_faces", "predictor"},
    {"detection", "label_placement", "preprocessing", "quality"},
    {"alignment", "runtime"},
    {"images"},
    {"results", "weights"},
    {"age_thresholds"},
    {"atomic", "devices", "labels", "parallel"},
    {"errors"},
)
HEAVY = {"torch", "torchvision", "timm", "pandas", "scipy", "sklearn", "matplotlib", "pyarrow", "lightning"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("oamface", include_external_packages=True)


def test_every_room_has_its_layer(graph) -> None:
    rooms = {module.split(".")[1] for module in graph.find_children("oamface")}
    assert rooms == set().union(*LAYERS)


def test_no_room_imports_from_above(graph) -> None:
    layers = [grimp.Layer(*layer, independent=False) for layer in LAYERS]
    illegal = graph.find_illegal_dependencies_for_layers(layers=tuple(layers), containers={"oamface"})
    found = [f"{dependency.imported} <- {dependency.importer}" for dependency in illegal]
    assert not found


@pytest.mark.parametrize("room", ["datasets", "occlusion", "models", "training", "evaluation", "paper"])
def test_the_light_half_does_not_import_the_training_half(graph, room) -> None:
    for top in ("analyzer", "zoo", "server", "video"):
        chain = graph.find_shortest_chain(f"oamface.{top}", f"oamface.{room}", as_packages=True)
        assert chain is None


@pytest.mark.parametrize("module", ["analyzer", "zoo", "cli.app", "video", "server.app"])
def test_importing_the_light_half_loads_nothing_heavy(module) -> None:
    code = f"import sys, oamface.{module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
