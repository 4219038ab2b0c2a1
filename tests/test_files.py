"""Tests of what every room needs of files."""

import gzip
import hashlib
import os
import stat

import numpy as np
import pytest

from echo_keras import _files
from echo_keras.data import archives


def test_json_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    _files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        _files.write_json(path, object())

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(_files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        _files.write_json(path, {"b": 2})
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_what_replaces_a_file_is_on_the_disk_first(tmp_path, monkeypatch):
    path, steps = tmp_path / "a", []
    fsync, replace = os.fsync, os.replace

    def sync(handle):
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def move(source, target):
        steps.append("replace")
        replace(source, target)

    monkeypatch.setattr(_files.os, "fsync", sync)
    monkeypatch.setattr(_files.os, "replace", move)
    with _files.replacing(path) as one, _files.replacing(path) as other:
        one.write_text("1")
        other.write_text("2")
        assert one != other and not path.exists()
        assert one.name.startswith("a.") and one.suffix == ".part"
    assert path.read_text() == "1"  # the one that was ready last
    assert steps == 2 * ["file", "replace", "folder"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_could_not_be_written_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), _files.replacing(tmp_path / "a") as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_of_the_bytes_in_order(tmp_path):
    x = np.arange(12.0).reshape(3, 4)
    expected = hashlib.sha256(b"one" + x.T.tobytes()).hexdigest()
    assert _files.sha256(b"one", None, x.T) == expected
    (tmp_path / "file").write_bytes(b"one" + x.T.tobytes())
    assert _files.sha256_of_file(tmp_path / "file") == expected


def test_files_are_found_together_plain_or_gzipped(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    (two / "folder").mkdir(parents=True)
    one.mkdir()
    (one / "a").write_bytes(b"a")
    (two / "a").write_bytes(b"a")
    (two / "b.gz").write_bytes(gzip.compress(b"content"))
    (two / "c.npz.gz").touch()
    names = ["a", "b", "folder/"]
    found = _files.find_files([one, two], names)
    assert found == [two / "a", two / "b.gz", two / "folder"]
    assert archives.read_bytes(found[1], 7) == b"content"
    assert _files.find_files([one, two], ["c.npz"]) is None
