import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from oamface.analyzer import Analyzer
from oamface.server.app import create_app
from oamface.server.openapi import PROBLEM


def encode(image: np.ndarray, file_format: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, file_format)
    return stream.getvalue()


def check_problem(response, status: int) -> str:
    """The detail of a problem document with this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    return problem["detail"]


@pytest.fixture(scope="session")
def analyzer(untrained_model) -> Analyzer:
    return Analyzer(untrained_model, threads=1)


@pytest.fixture(scope="session")
def jpeg(portrait) -> bytes:
    return encode(portrait)


@pytest.fixture(scope="module")
def client(analyzer):
    with TestClient(create_app(analyzer), raise_server_exceptions=False) as client:
        yield client
