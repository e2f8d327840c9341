import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from oamface.analyzer import Analyzer
from oamface.serve.app import create_app


def encoded(image: np.ndarray, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


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
