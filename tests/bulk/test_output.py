import errno
import importlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oamface.bulk.locations import locate, write_file
from oamface.bulk.manifest import Shard
from oamface.bulk.output import SETTINGS, SHARDS_PER_FILE, Counts, JobSettings, OutputFolder, shard_name
from oamface.bulk.rows import SCHEMA, to_rows
from oamface.errors import DataError, FileError, ImageError
from oamface.results import Failure, ImageResult

SHARD_SIZE = 2


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(b"image")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"image")
    (folder / "notes.txt").write_bytes(b"text")
    return folder


def settings(source, tasks=("age",)) -> JobSettings:
    return JobSettings(str(source), "d", tasks, False, SHARD_SIZE, "image")


def start(source, path) -> tuple[OutputFolder, int]:
    folder = OutputFolder(locate(str(path)))
    return folder, folder.start(settings(source), locate(str(source)))


def write_output(source, path) -> None:
    """A finished job: each shard has an error, and all but the first an image without a face."""
    folder, total = start(source, path)
    for number in range(total):
        names = folder.shard(number).paths
        rows = [*to_rows(Failure(names[0], ImageError("damaged"))), *to_rows(ImageResult(4, 5, (), names[1]))]
        folder.write_shard(number, rows[: 1 + number], 1 + (number > 0), 0)


def read_with_pandas(folder):
    return len(importlib.import_module("pandas").read_parquet(folder))


def read_with_pyarrow(folder):
    return importlib.import_module("pyarrow.dataset").dataset(folder).count_rows()


def read_with_polars(folder):
    return len(pytest.importorskip("polars", reason="polars is not installed").read_parquet(folder))


def scan_with_polars(folder):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    return len(polars.scan_parquet(f"{folder}/**/*.parquet").collect())


def read_with_duckdb(folder):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    return len(duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet')").fetchall())


@pytest.mark.parametrize(
    "count_rows", [read_with_pandas, read_with_pyarrow, read_with_polars, scan_with_polars, read_with_duckdb]
)
def test_folder_opens_in_common_readers(count_rows, source, tmp_path) -> None:
    write_output(source, tmp_path / "output")
    assert count_rows(tmp_path / "output") == 5


def test_folder_contains_only_parquet_of_one_schema(source, tmp_path) -> None:
    write_output(source, tmp_path / "output")
    files = list((tmp_path / "output").iterdir())
    assert {path.suffix for path in files} == {".parquet"}
    schemas = [pq.read_schema(path) for path in files]
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    assert schemas[0].equals(SCHEMA)
    assert {path.name[0] for path in files if pq.read_metadata(path).num_rows == 0} == {"_"}


def test_manifest_is_read_again_with_names_of_any_bytes(source, tmp_path) -> None:
    first, total = start(source, tmp_path / "output")
    shards = [first.shard(number) for number in range(total)]
    assert sorted(os.path.basename(os.fsencode(path)) for shard in shards for path in shard.paths) == sorted(  # noqa: PTH119
        [b"%d.png" % number for number in range(5)] + [b"\xff.png"]
    )
    (source / "late.png").write_bytes(b"image")
    second, again = start(source, tmp_path / "output")
    assert [second.shard(number) for number in range(again)] == shards
    assert second.missing(total) == list(range(total))


def test_manifest_of_several_files_keeps_order(tmp_path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    count = SHARDS_PER_FILE * SHARD_SIZE * 2 + 1
    for number in range(count):
        (source / f"{number:04d}.png").touch()
    folder, total = start(source, tmp_path / "output")
    assert total == count // SHARD_SIZE + 1
    paths = [path for number in range(total) for path in folder.shard(number).paths]
    assert paths == sorted(str(path) for path in source.iterdir())
    assert folder.shard(0) == Shard("files", tuple(paths[:SHARD_SIZE]))  # back from the last file of the manifest


def test_output_inside_source_is_excluded(source) -> None:
    (source / "output").mkdir()
    folder, total = start(source, source / "output")
    assert total == 3
    assert start(source, source / "output")[1] == 3
    paths = [path for number in range(total) for path in folder.shard(number).paths]
    assert len(paths) == 6
    assert not [path for path in paths if path.startswith(f"{source}/output")]


def test_count_adds_all_shards(source, tmp_path) -> None:
    write_output(source, tmp_path / "output")
    folder, total = start(source, tmp_path / "output")
    assert folder.missing(total) == []
    assert folder.count(total) == Counts(images=5, faces=0, errors=3, skipped=1)


@pytest.mark.parametrize("size", [0, 100, -100])
def test_count_names_a_damaged_shard(source, tmp_path, size) -> None:
    write_output(source, tmp_path / "output")
    path = tmp_path / "output" / shard_name(1)
    path.write_bytes(path.read_bytes()[:size])
    folder, total = start(source, tmp_path / "output")
    with pytest.raises(DataError, match=rf"{shard_name(1)}: is damaged .*delete it and run again"):
        folder.count(total)
    pq.write_table(SCHEMA.empty_table(), path)
    with pytest.raises(DataError, match="is damaged"):
        folder.count(total)


def test_remove_drafts(source, tmp_path) -> None:
    folder, _ = start(source, tmp_path / "output")
    files = sorted((tmp_path / "output").iterdir())
    (tmp_path / "output" / ".oamface-1.draft").write_bytes(b"PAR1")
    folder.remove_drafts()
    assert sorted((tmp_path / "output").iterdir()) == files


def test_start_rejects_other_folders_and_keeps_them(source, tmp_path) -> None:
    first, second, other = tmp_path / "first", tmp_path / "second", tmp_path / "other"
    files = (first, "job.json"), (second, "_plan-00000000.parquet"), (other, shard_name(0))
    for folder, name in files:
        folder.mkdir()
        (folder / name).write_text("{}")
    for folder in (first, second):
        with pytest.raises(DataError, match="earlier version"):
            start(source, folder)
    with pytest.raises(DataError, match="no output of oamface"):
        start(source, other)
    with pytest.raises(DataError, match="is the source"):
        start(source, source)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(DataError, match="is the source"):
        start(source, tmp_path / "link")
    with pytest.raises(FileError):
        start(source, source / "0.png")
    with pytest.raises(FileError):
        start(source, tmp_path / os.fsdecode(b"\xff"))
    for folder, name in files:
        assert [path.name for path in folder.iterdir()] == [name]
    start(source, tmp_path / "output")
    with pytest.raises(DataError, match="other settings"):
        OutputFolder(locate(str(tmp_path / "output"))).start(settings(source, ("mask",)), locate(str(source)))
    (tmp_path / "output" / SETTINGS).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged"):
        start(source, tmp_path / "output")


def test_invalid_source_leaves_no_folder(source, tmp_path) -> None:
    pq.write_table(pa.table({"label": [1]}), source / "z.parquet")
    with pytest.raises(DataError, match="no column"):
        start(source, tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_source_without_any_row_leaves_no_folder(tmp_path) -> None:
    table = tmp_path / "no.parquet"
    pq.ParquetWriter(table, pa.schema({"image": pa.binary()})).close()
    with pytest.raises(DataError, match="has no image"):
        start(table, tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_write_file_gives_the_name_only_to_what_is_on_the_disk(tmp_path, monkeypatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_file(locate(str(tmp_path / "shard.parquet")), b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        write_file(locate(str(tmp_path / "shard.parquet")), b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_write_file_leaves_no_incomplete_file(tmp_path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write_file(locate(str(tmp_path / "missing" / "shard.parquet")), b"data")
    write_file(locate(str(tmp_path / "shard.parquet")), b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["shard.parquet"]
    assert (tmp_path / "shard.parquet").read_bytes() == b"data"
