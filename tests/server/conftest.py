import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from oamface.analyzer import Analyzer
from oamface.server.app import create_app
from oamface.server.openapi import PROBLEM


def encoded(image: np.ndarray, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def problem(response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    told = response.json()
    assert told["status"] == status
    assert told["title"]
    return told["detail"]


@pytest.fixture(scope="session")
def analyzer(untrained_model) -> Analyzer:
    return Analyzer(untrained_model, threads=1)


@pytest.fixture(scope="session")
def jpeg(portrait) -> bytes:
    return encoded(portrait)


@pytest.fixture(scope="module")
def client(analyzer):
    with TestClient(create_app(analyzer), raise_server_exceptions=False) as client:
        yield client
