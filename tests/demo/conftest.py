"""One web for all tests of the demo."""

import pytest

from pipelines.demo.web import make_web


@pytest.fixture(scope="session")
def web(tmp_path_factory):
    return make_web(tmp_path_factory.mktemp("web"), 7)
