"""What only a store over the network can get wrong (R31): requests of a put failed in every way, and no bad blob ever; parts; errors."""

from __future__ import annotations

import hashlib
import io
import os
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.errors import CorruptError, NoSpaceError, NotFoundError, SpecError, StorageError, StoreAwayError
from fairlead.stores import s3_blobs, s3_connection
from fairlead.stores.s3_blobs import S3Blobs
from fairlead.stores.s3_errors import S3Place, typed_errors
from fairlead.stores.version_files import materialize
from http_proxy import FAULTS, HttpProxy
from memory_records import MemoryRecords

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()
PART = 5 * 2**20


@pytest.fixture
def proxy(s3):
    with HttpProxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3):
    return s3.new_bucket()


@pytest.fixture
def direct(s3, bucket):
    blobs = S3Blobs(f"s3://{bucket}/team", endpoint=s3.endpoint)
    yield blobs
    blobs.close()


@pytest.fixture
def blobs(proxy, bucket, monkeypatch):
    """The same blobs through the proxy, with little patience."""
    monkeypatch.setattr(s3_connection, "_TRIES", 2)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    blobs = S3Blobs(f"s3://{bucket}/team", endpoint=proxy.url, connect_limit_s=1.0, read_limit_s=0.3)
    yield blobs
    blobs.close()


def content(store, digest):
    with store.open(digest) as file:
        return file.read()


REQUESTS = 5  # PUT of the bytes, GET of them, HEAD and PUT of the copy, HEAD of what has the name now


def test_a_put_is_what_the_sweep_of_faults_takes_it_for(proxy, blobs):
    blobs.put(io.BytesIO(DATA))
    assert [method for method, _ in proxy.requests[:REQUESTS]] == ["PUT", "GET", "HEAD", "PUT", "HEAD"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "from there on"])
def test_whatever_befalls_a_put_no_bad_blob_is_there_and_it_can_be_done_again(proxy, blobs, direct, fault, is_lasting):
    answers = []
    for position in range(REQUESTS):
        direct.delete(DIGEST)
        proxy.requests.clear()
        proxy.choose = lambda number, method, path, at=position: fault if number == at or (is_lasting and number > at) else ""
        try:
            assert blobs.put(io.BytesIO(DATA)) == DIGEST
            answers.append("done")
        except StorageError:
            answers.append("refused")
        proxy.choose = lambda number, method, path: ""
        assert [content(direct, digest) for digest in direct.list()] in ([], [DATA])
        assert answers[-1] == "refused" or direct.has(DIGEST)
    assert blobs.put(io.BytesIO(DATA)) == DIGEST
    assert content(direct, DIGEST) == DATA
    assert "refused" in answers if is_lasting else "done" in answers
    direct.discard_unfinished(older_than_s=-1.0)
    assert direct.discard_unfinished(older_than_s=-1.0) == 0


def test_a_store_that_fails_is_asked_a_bounded_number_of_times(proxy, bucket):
    patient = S3Blobs(f"s3://{bucket}", endpoint=proxy.url)
    proxy.choose = lambda number, method, path: "500" if number % 2 else "429"
    with pytest.raises(StoreAwayError, match=r"fails or is overloaded") as caught:
        patient.has(DIGEST)
    assert len(proxy.requests) == 4
    assert "testing" not in str(caught.value)
    patient.close()


def test_a_download_that_breaks_off_goes_on_where_it_broke(proxy, blobs, direct):
    direct.put(io.BytesIO(DATA))
    with blobs.open(DIGEST) as file:
        first = file.read(10)
        proxy.requests.clear()
        rest = file.read()
    assert first + rest == DATA
    proxy.choose = lambda number, method, path: "cut the answer" if method == "GET" and DIGEST + "/" in path and number < 3 else ""
    proxy.requests.clear()
    assert content(blobs, DIGEST) == DATA
    proxy.choose = lambda number, method, path: "cut the answer" if method == "GET" and DIGEST + "/" in path else ""
    with pytest.raises(StoreAwayError, match="broke off"), blobs.open(DIGEST) as file:
        file.read()


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(s3_blobs, "_PART_BYTES", PART)


LARGE = os.urandom(1000) * (2 * PART // 1000 + 77)


def test_a_large_blob_goes_up_in_parts_and_comes_back_whole(small_parts, direct, s3, bucket):
    digest = direct.put(io.BytesIO(LARGE))
    assert content(direct, digest) == LARGE
    client = s3.client()
    assert [item["Key"].split("/")[1] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == [digest]
    client.close()


def test_a_large_upload_that_breaks_leaves_nothing(small_parts, direct):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 2 * PART:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(StorageError, match="Input/output error"):
        direct.put(Broken(LARGE))
    assert list(direct.list()) == []
    assert direct.discard_unfinished(older_than_s=-1.0) == 0


def test_what_a_killed_upload_left_is_found_by_its_age(small_parts, direct, s3, bucket):
    client = s3.client()
    for key in ("team/incoming/killed", "team/other"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    client.put_object(Bucket=bucket, Key="team/incoming/unnamed", Body=b"half")
    client.put_object(Bucket=bucket, Key="team/mine.txt", Body=b"somebody else's")
    assert direct.discard_unfinished(older_than_s=1e10) == 0  # moto takes every upload in parts to be of 2010
    assert direct.discard_unfinished(older_than_s=3600.0) == 1
    assert direct.discard_unfinished(older_than_s=-1.0) == 1
    assert direct.discard_unfinished(older_than_s=-1.0) == 0
    assert [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["team/other"]
    assert list(direct.list()) == []
    client.close()


def test_a_put_in_the_middle_of_a_sweep_stays(direct, monkeypatch):
    """The sweep has looked at the ages; then somebody puts the same bytes; then the sweep removes what it saw."""
    direct.put(io.BytesIO(DATA))
    real = S3Blobs._remove

    def put_first(self, key):
        monkeypatch.setattr(S3Blobs, "_remove", real)
        direct.put(io.BytesIO(DATA))
        real(self, key)

    monkeypatch.setattr(S3Blobs, "_remove", put_first)
    assert not direct.discard(DIGEST, older_than_s=-1.0)
    assert content(direct, DIGEST) == DATA


def test_a_blob_that_is_put_anew_while_it_is_opened_is_found(direct, monkeypatch):
    direct.put(io.BytesIO(DATA))
    real, seen = S3Blobs._objects, []

    def look_then_replace(self, digest):
        found = real(self, digest)
        if not seen:
            seen.append(found)
            direct.put(io.BytesIO(DATA))
        return found

    monkeypatch.setattr(S3Blobs, "_objects", look_then_replace)
    assert content(direct, DIGEST) == DATA


@pytest.mark.parametrize("damage", ["flip", "cut", "append", "empty", "missing"])
def test_a_version_with_a_changed_file_is_refused_before_use_and_the_file_is_named(direct, s3, bucket, tmp_path, damage):
    direct.put(io.BytesIO(DATA))
    version = MemoryRecords().add_version("digits", Manifest((FileEntry("model.onnx", len(DATA), DIGEST),)), 1.0)
    assert materialize(version, direct, tmp_path / "sound")["model.onnx"].read_bytes() == DATA
    client = s3.client()
    (item,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    if damage == "missing":
        client.delete_object(Bucket=bucket, Key=item["Key"])
    else:
        changed = {"flip": b"\x01" + DATA[1:], "cut": DATA[:-1], "append": DATA + b"x", "empty": b""}[damage]
        client.put_object(Bucket=bucket, Key=item["Key"], Body=changed)
    client.close()
    with pytest.raises(CorruptError, match=r"model\.onnx"):
        materialize(version, direct, tmp_path / "loaded")


def test_the_same_bytes_put_again_heal_a_damaged_blob_and_leave_one_object(direct, s3, bucket):
    direct.put(io.BytesIO(DATA))
    client = s3.client()
    (item,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    client.put_object(Bucket=bucket, Key=item["Key"], Body=b"damaged")
    direct.put(io.BytesIO(DATA))
    assert content(direct, DIGEST) == DATA
    assert len(client.list_objects_v2(Bucket=bucket)["Contents"]) == 1
    client.close()


def test_a_forked_child_has_connections_of_its_own(direct):
    direct.put(io.BytesIO(DATA))
    child = os.fork()
    if child == 0:
        is_right = False
        try:
            is_right = content(direct, DIGEST) == DATA
        finally:
            os._exit(int(not is_right))
    assert content(direct, DIGEST) == DATA
    assert os.waitpid(child, 0)[1] == 0


def test_a_bucket_that_is_not_there_is_said(s3):
    blobs = S3Blobs("s3://nowhere-at-all", endpoint=s3.endpoint)
    for call in (lambda: blobs.put(io.BytesIO(DATA)), lambda: blobs.has(DIGEST), lambda: list(blobs.list()), blobs.describe):
        with pytest.raises(StorageError, match="There is no bucket 'nowhere-at-all'"):
            call()
    blobs.close()


def test_a_store_that_is_away_is_said_to_be(monkeypatch):
    monkeypatch.setattr(s3_connection, "_TRIES", 1)
    blobs = S3Blobs("s3://models", endpoint="http://127.0.0.1:1", connect_limit_s=0.5)
    with pytest.raises(StoreAwayError, match="cannot be reached"):
        blobs.has(DIGEST)
    blobs.close()


@pytest.mark.parametrize("url", ["s3://", "s3://A", "s3://ab", "https://bucket", "s3://bucket/a b", "s3://bucket/a//b", "s3://bucket?x=1"])
def test_what_names_no_bucket_is_refused(url):
    with pytest.raises(SpecError):
        S3Blobs(url)


def answered(code, status):
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered("NoSuchKey", 404), NotFoundError),
        (answered("AccessDenied", 403), StorageError),
        (answered("SlowDown", 503), StoreAwayError),
        (answered("TooManyRequests", 429), StoreAwayError),
        (answered("XMinioStorageFull", 507), NoSpaceError),
        (answered("QuotaExceeded", 403), NoSpaceError),
        (answered("InternalError", 500), StoreAwayError),
        (answered("InvalidRequest", 400), StorageError),
        (NoCredentialsError(), StorageError),
        (ConnectTimeoutError(endpoint_url="http://x"), StoreAwayError),
    ],
)
def test_the_stores_errors_are_told_apart(error, expected):
    with pytest.raises((StorageError, NotFoundError)) as caught, typed_errors("storing", S3Place("models", "", "")):
        raise error
    assert type(caught.value) is expected


def test_a_put_is_as_old_as_the_younger_of_two_clocks_says(s3, bucket):
    """A writer whose clock is far behind makes nothing that a sweep takes for old."""
    behind = S3Blobs(f"s3://{bucket}", endpoint=s3.endpoint, clock=lambda: 1000.0)
    behind.put(io.BytesIO(DATA))
    right = S3Blobs(f"s3://{bucket}", endpoint=s3.endpoint, clock=time.time)
    assert right.age_s(DIGEST) < 3600
    assert not right.discard(DIGEST, older_than_s=3600.0)
    behind.close()
    right.close()
