import importlib
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oamface.bulk.manifest import Part, place
from oamface.bulk.output import JOB, TOGETHER, Folder, Job, part_name, write
from oamface.bulk.rows import SCHEMA, rows_of
from oamface.errors import DataError, FileError, ImageError
from oamface.results import Failure, ImageResult

SIZE = 2


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(b"image")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"image")
    (folder / "notes.txt").write_bytes(b"text")
    return folder


def job(source, **changed) -> Job:
    return Job(
        **{"source": str(source), "digest": "d", "tasks": ("age",), "crop": False, "size": SIZE, "column": "image"}
        | changed
    )


def started(source, out) -> tuple[Folder, int]:
    folder = Folder(place(str(out)))
    return folder, folder.start(job(source), place(str(source)))


def answered(source, out) -> None:
    """A folder as a finished job leaves it: of a part, one without any face and an error beside, all else no face."""
    folder, total = started(source, out)
    for number in range(total):
        names = folder.part(number).paths
        told = [*rows_of(Failure(names[0], ImageError("damaged"))), *rows_of(ImageResult(4, 5, (), names[1]))]
        folder.write_part(number, told[: 1 + number], 1 + (number > 0), 0)


def open_pandas(folder):
    return len(importlib.import_module("pandas").read_parquet(folder))


def open_pyarrow(folder):
    return importlib.import_module("pyarrow.dataset").dataset(folder).count_rows()


def open_polars(folder):
    return len(pytest.importorskip("polars", reason="polars is not installed").read_parquet(folder))


def open_polars_lazily(folder):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    return len(polars.scan_parquet(f"{folder}/**/*.parquet").collect())


def open_duckdb(folder):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    return len(duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet')").fetchall())


@pytest.mark.parametrize("opened", [open_pandas, open_pyarrow, open_polars, open_polars_lazily, open_duckdb])
def test_the_folder_opens_as_it_is(opened, source, tmp_path) -> None:
    out = tmp_path / "answers"
    answered(source, out)
    assert opened(out) == 5


def test_nothing_but_parquet_of_one_schema_lies_there(source, tmp_path) -> None:
    out = tmp_path / "answers"
    answered(source, out)
    files = list(out.iterdir())
    assert {path.suffix for path in files} == {".parquet"}
    schemas = [pq.read_schema(path) for path in files]
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    assert schemas[0].equals(SCHEMA)
    assert {path.name[0] for path in files if pq.read_metadata(path).num_rows == 0} == {"_"}  # what readers may skip


def test_the_plan_is_found_again_with_names_of_any_bytes(source, tmp_path) -> None:
    first, total = started(source, tmp_path / "answers")
    parts = [first.part(number) for number in range(total)]
    assert sorted(os.path.basename(os.fsencode(path)) for part in parts for path in part.paths) == sorted(  # noqa: PTH119
        [b"%d.png" % number for number in range(5)] + [b"\xff.png"]
    )
    (source / "late.png").write_bytes(b"image")
    second, again = started(source, tmp_path / "answers")
    assert [second.part(number) for number in range(again)] == parts
    assert second.left(total) == list(range(total))


def test_a_long_plan_keeps_its_order(tmp_path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    count = TOGETHER * SIZE * 2 + 1
    for number in range(count):
        (source / f"{number:04d}.png").touch()
    folder, total = started(source, tmp_path / "answers")
    assert total == count // SIZE + 1
    paths = [path for number in range(total) for path in folder.part(number).paths]
    assert paths == sorted(str(path) for path in source.iterdir())
    assert folder.part(0) == Part("files", tuple(paths[:SIZE]))  # back from the last file of the plan


def test_answers_inside_the_source_are_no_source(source) -> None:
    (source / "answers").mkdir()
    folder, total = started(source, source / "answers")
    assert total == 3
    assert started(source, source / "answers")[1] == 3
    paths = [path for number in range(total) for path in folder.part(number).paths]
    assert len(paths) == 6
    assert not [path for path in paths if path.startswith(f"{source}/answers")]


def test_counts_are_of_all_parts(source, tmp_path) -> None:
    answered(source, tmp_path / "answers")
    folder, total = started(source, tmp_path / "answers")
    assert folder.left(total) == []
    counted = folder.count(total)
    assert (counted.images, counted.faces, counted.errors, counted.skipped) == (5, 0, 3, 1)


def test_what_was_half_written_is_swept(source, tmp_path) -> None:
    out = tmp_path / "answers"
    folder, _ = started(source, out)
    kept = sorted(out.iterdir())
    (out / ".oamface-1.draft").write_bytes(b"PAR1")
    folder.sweep()
    assert sorted(out.iterdir()) == kept


def test_other_folders_are_refused_untouched(source, tmp_path) -> None:
    old, foreign = tmp_path / "old", tmp_path / "foreign"
    for folder, name in ((old, "job.json"), (foreign, part_name(0))):
        folder.mkdir()
        (folder / name).write_text(json.dumps({}))
    with pytest.raises(DataError, match="earlier version"):
        started(source, old)
    with pytest.raises(DataError, match="no answers of ours"):
        started(source, foreign)
    with pytest.raises(DataError, match="is the source"):
        started(source, source)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(DataError, match="is the source"):
        started(source, tmp_path / "link")
    with pytest.raises(FileError):
        started(source, source / "0.png")
    with pytest.raises(FileError):
        started(source, tmp_path / os.fsdecode(b"\xff"))
    assert [path.name for path in (*old.iterdir(), *foreign.iterdir())] == ["job.json", part_name(0)]
    started(source, tmp_path / "answers")
    with pytest.raises(DataError, match="another question"):
        Folder(place(str(tmp_path / "answers"))).start(job(source, tasks=("mask",)), place(str(source)))
    (tmp_path / "answers" / JOB).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged"):
        started(source, tmp_path / "answers")


def test_a_source_that_fails_leaves_no_folder(source, tmp_path) -> None:
    pq.write_table(pa.table({"label": [1]}), source / "z.parquet")
    with pytest.raises(DataError, match="no column"):
        started(source, tmp_path / "answers")
    assert not (tmp_path / "answers").exists()


def test_a_full_disk_leaves_no_half_file(tmp_path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write(place(str(tmp_path / "missing" / "part.parquet")), b"data")
    write(place(str(tmp_path / "part.parquet")), b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]
    assert (tmp_path / "part.parquet").read_bytes() == b"data"
