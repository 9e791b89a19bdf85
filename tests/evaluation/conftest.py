"""A small data set, and a detector's results on it."""

import pytest
from scored import make_data, make_results


@pytest.fixture
def data_dir(tmp_path):
    return make_data(tmp_path / "some {data}")


@pytest.fixture
def results(data_dir):
    return make_results(data_dir)
