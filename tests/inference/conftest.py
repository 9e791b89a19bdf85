"""What several tests of inference share."""

import pytest
from videos import COUNT, make_video


@pytest.fixture
def film(tmp_path):
    """The path of a video of 20 frames in two seconds; skipped where PyAV isn't installed."""
    pytest.importorskip("av", reason="needs requirements/video.txt")
    return make_video(tmp_path / "my film.mp4", COUNT)


@pytest.fixture
def out(tmp_path):
    """An empty folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"
