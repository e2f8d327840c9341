import tarfile
import zipfile

import pytest

from oamface.datasets.archive import Archive
from oamface.errors import DataError

FILES = {"set/a.jpg": b"one", "set/deep/b.png": b"two", "c.txt": b""}


@pytest.fixture(params=["folder", "tar", "tar.gz", "zip"])
def path(request, tmp_path):
    tree = tmp_path / "tree"
    for name, data in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    if request.param == "folder":
        return tree
    packed = tmp_path / f"packed.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(packed, "w") as file:
            for name in FILES:
                file.write(tree / name, name)
    else:
        with tarfile.open(packed, "w:gz" if request.param == "tar.gz" else "w") as file:
            for name in FILES:
                file.add(tree / name, name)
    return packed


def test_archive_reads_files_by_name(path) -> None:
    with Archive(path) as archive:
        assert {name: archive.read(name) for name in archive.names} == FILES
        with pytest.raises(DataError, match=r"missing\.jpg"):
            archive.read("missing.jpg")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_begin_with_the_current_folder(tmp_path, kind) -> None:
    (tmp_path / "one").write_bytes(b"one")
    with tarfile.open(tmp_path / "x.tar", "w") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        tar.add(tmp_path / "one", "./set/a.jpg")
        file.writestr("./set/a.jpg", b"one")
    with Archive(tmp_path / f"x.{kind}") as archive:
        assert archive.names == ["set/a.jpg"]
        assert archive.has("set/a.jpg")
        assert archive.read("set/a.jpg") == b"one"


@pytest.mark.parametrize("content", [None, b"", b"no archive at all", b"PK\x03\x04 damaged"])
def test_archive_rejects_missing_and_damaged_files(tmp_path, content) -> None:
    path = tmp_path / "x.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar"):
        Archive(path)


def test_archive_rejects_truncated_tar(tmp_path) -> None:
    (tmp_path / "big").write_bytes(bytes(range(256)) * 400)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as file:
        file.add(tmp_path / "big", "a.jpg")
        file.add(tmp_path / "big", "b.jpg")
    (tmp_path / "y.tar.gz").write_bytes((tmp_path / "x.tar.gz").read_bytes()[:300])
    with pytest.raises(DataError, match=r"y\.tar\.gz"):
        Archive(tmp_path / "y.tar.gz")
