"""The model zoo's archives: their names, where they are fetched, and what is taken out of them."""

import io
import tarfile

import families
import pytest

from lowlight.core.errors import DataError
from lowlight.tfod import zoo

pytestmark = pytest.mark.slow


def test_an_archives_checkpoint_is_the_one_that_it_holds(tmp_path):
    assert zoo.checkpoint_in(tmp_path) == tmp_path / "checkpoint" / "ckpt-0"
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "ckpt-301.index").touch()
    assert zoo.checkpoint_in(tmp_path) == tmp_path / "checkpoint" / "ckpt-301"


def test_the_zoo_has_35_archives_of_models_that_find_boxes():
    assert len(set(zoo.ARCHIVES)) == len(zoo.ARCHIVES) == 35


def test_a_missing_checkpoint_of_the_zoo_is_told_where_it_is_fetched():
    name = "centernet_hg104_512x512_coco17_tpu-8"
    remedy = zoo.how_to_get_checkpoint(f"zoo models/{name}/checkpoint/ckpt-1")
    url = f"https://storage.googleapis.com/download.tensorflow.org/models/object_detection/tf2/20200713/{name}.tar.gz"
    assert f"curl -L -o 'zoo models/{name}.tar.gz' {url}\n" in remedy
    assert f"tar -xzf 'zoo models/{name}.tar.gz' -C 'zoo models'" in remedy
    assert zoo.how_to_get_checkpoint("mine/ckpt-3").startswith("Correct the path")


def write_archive(path, *members):
    """Writes an archive of an unpacked zoo model's folder, and these members of tarfile besides."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (
            ("mine/pipeline.config", families.FAMILIES["SSD MobileNet FPN"]),
            ("mine/checkpoint/ckpt-301.index", ""),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in members:
            archive.addfile(member)
    return path


def test_an_archive_is_unpacked_beside_itself_and_gives_config_and_checkpoint(tmp_path):
    _, name, start = zoo.read_base(str(write_archive(tmp_path / "mine.tar.gz")))
    assert (name, start) == (
        f"{tmp_path}/mine/pipeline.config",
        f"{tmp_path}/mine/checkpoint/ckpt-301",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.tar.gz"]


def tar_member(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


BAD_ARCHIVES = {
    "a link": (tar_member("mine/a", tarfile.SYMTYPE, "/etc/passwd"), "holds mine/a, a link or dev"),
    "a hard link": (tar_member("mine/a", tarfile.LNKTYPE, "mine/pipeline.config"), "a link or dev"),
    "a device": (tar_member("mine/a", tarfile.CHRTYPE), "a link or device"),
    "a path that climbs": (tar_member("mine/../../a"), "can't be unpacked"),
    "another folder": (tar_member("other"), "not one folder with a pipeline.config"),
}


@pytest.mark.parametrize(("member", "message"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_an_archive_with_more_than_plain_files_in_a_folder_is_refused(member, message, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    archive = write_archive(folder / "mine.tar.gz", member)
    with pytest.raises(DataError, match=f"mine.tar.gz: .*{message}"):
        zoo.unpack(archive)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match="mine.tar.gz: can't be unpacked"):
        zoo.unpack(archive)
    assert [path.name for path in tmp_path.rglob("*") if path != folder] == ["mine.tar.gz"]
