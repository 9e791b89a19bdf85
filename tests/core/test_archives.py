"""An archive that could do harm is refused by the name of its members, and nothing is written."""

import stat
import struct
import zipfile

import pytest

from lowlight.core import sources
from lowlight.core.errors import DataError
from lowlight.core.sources import list_files
from lowlight.dataset.conversion import convert_images

_UNCOMPRESSED_SIZE = 24  # offset in a central directory's entry


def write_zip(path, *members, compression=zipfile.ZIP_DEFLATED):
    """Writes an archive of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def declare_size(path, size):
    """Makes the archive's directory give its first member another size."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + _UNCOMPRESSED_SIZE, size)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("../a.jpg", "leads out of the archive"),
        ("Cat/../../a.jpg", "leads out of the archive"),
        ("../", "leads out of the archive"),
        ("/tmp/a.jpg", "leads out of the archive"),
        ("C:/a.jpg", "leads out of the archive"),
        ("C:\\a.jpg", "has a name with a backslash or NUL"),
        ("Cat\\a.jpg", "has a name with a backslash or NUL"),
        ("..\\a.jpg", "has a name with a backslash or NUL"),
        (link("Cat/a.jpg"), "is a symbolic link"),
        (link("Cat"), "is a symbolic link"),
    ],
    ids=str,
)
def test_a_member_that_leads_elsewhere_is_refused_and_nothing_is_written(
    tiny_exdark, tmp_path, name, harm
):
    image = (tiny_exdark / "ExDark/Bicycle/2015_00001.jpg").read_bytes()
    path = write_zip(tmp_path / "a.zip", ("Cat/b.jpg", image), (name, b"/etc/passwd"))
    with pytest.raises(DataError) as caught:
        convert_images(path, tmp_path / "images")
    name = getattr(name, "filename", name)
    assert str(caught.value).startswith(f"{path}: {name!r} {harm}")
    assert "\n  Remove it from the archive.\n" in str(caught.value)
    assert not (tmp_path / "images").exists()


def test_all_harmful_members_are_named_at_once(tmp_path):
    path = write_zip(tmp_path / "a.zip", ("../a.jpg", b""), ("b.jpg", b""), ("/c.jpg", b""))
    with pytest.raises(DataError) as caught:
        list_files(path, "input_dir")
    assert str(caught.value).count("leads out") == 2


@pytest.mark.parametrize("name", ["./a.jpg", "a..jpg", "Cat/a b.jpg", "...", "Cat:a.jpg", "é.jpg"])
def test_an_unusual_name_that_stays_inside_is_no_harm(tmp_path, name):
    path = write_zip(tmp_path / "a.zip", (name, b"1"))
    assert [file.read() for file in list_files(path, "input_dir")] == [b"1"]


def test_a_member_that_expands_too_far_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", 2**20)
    path = write_zip(tmp_path / "a.zip", ("a.jpg", bytes(2**20)), ("b.jpg", bytes(2**20 + 1)))
    with pytest.raises(DataError, match=r"'b\.jpg' expands to 1 MiB, more than the 1 of any image"):
        list_files(path, "input_dir")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    ("declared", "found"),
    [(10, r"10 bytes declared, more found"), (2000, r"2000 bytes declared, 1000 found")],
)
def test_a_member_of_another_size_than_declared_is_refused(tmp_path, compression, declared, found):
    path = write_zip(tmp_path / "a.zip", ("a.jpg", bytes(1000)), compression=compression)
    declare_size(path, declared)
    (file,) = list_files(path, "input_dir")
    with pytest.raises(DataError, match=rf"a\.zip: a\.jpg: can't be read \({found}\)"):
        file.read()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_compression_is_read(tmp_path, compression):
    members = ("a.jpg", b"content" * 99), ("empty.jpg", b"")
    path = write_zip(tmp_path / "a.zip", *members, compression=compression)
    assert [(f.name, f.read()) for f in list_files(path, "input_dir")] == list(members)
