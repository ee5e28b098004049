import pytest
from ddbench.testing import one_thread


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """A job has one CPU thread."""
    with one_thread():
        yield
