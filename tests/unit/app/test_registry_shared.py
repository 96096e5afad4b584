"""What people do with a registry, on every pair of stores that it may lie in: the same words, the same answers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import registered
from receivers import Receiver

from fairlead.app import catalogue, webhooks
from fairlead.app.registry_export import export_file
from fairlead.app.registry_gc import collect
from fairlead.app.registry_import import import_file
from fairlead.app.registry_search import search
from fairlead.app.registry_tags import tag, write_note
from fairlead.app.webhook_delivery import deliver_due
from fairlead.app.wiring import House, build_house
from fairlead.errors import ApprovalError
from fairlead.register.aliases import promote
from fairlead.register.approval import approve, protect


@pytest.fixture(params=["sqlite-folder", "postgres-folder", "sqlite-s3", "postgres-s3"])
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    registry, blobs = None, None
    if "postgres" in request.param:
        registry = request.getfixturevalue("postgres").url(f"d_{secrets.token_hex(4)}")
    if "s3" in request.param:
        s3 = request.getfixturevalue("s3")
        monkeypatch.setenv("FAIRLEAD_S3_ENDPOINT", s3.endpoint)
        blobs = f"s3://{s3.new_bucket()}/models"
    made = build_house(tmp_path / "home", registry, blobs)
    yield replace(made, settings=replace(made.settings, user="ann", allow_private_webhooks=True))
    for store in (made.records, made.blobs):
        close = getattr(store, "close", None)
        if close is not None:
            close()


@pytest.mark.slow
def test_the_sentences_of_the_registry_hold_on_every_pair_of_stores(house, tmp_path):
    receiver = Receiver()
    try:
        hook = webhooks.add(receiver.url, "version.created,version.retired,alias.moved,tag.changed", house).id
        for seed in (1, 2, 3):
            registered.add_version(house, "digits", registered.classifier(tmp_path / f"{seed}.onnx", seed=seed), alias="")
        promote("digits", 2, records=house.records, clock=house.clock)
        tag("digits:3", ["team=vision"], house)
        write_note("digits", "reads digits", house)
        assert [hit.label for hit in search("tag:team=vision engine:onnxruntime", house).hits] == ["digits:3"]
        (row,) = catalogue.list_models(house)
        assert (row.version_count, row.production, row.note) == (3, 2, "reads digits")
        written = export_file("digits:3", tmp_path / "d.fairlead", house)
        taken = import_file(tmp_path / "d.fairlead", house, name="copy")
        assert (taken.is_new, taken.digest) == (True, written.digest)
        protect("copy", records=house.records, clock=house.clock, author="boss")
        with pytest.raises(ApprovalError, match="has no approval"):
            promote("copy", 1, records=house.records, clock=house.clock)
        approve(house.records.version("copy", 1), records=house.records, clock=house.clock, approver="bob")
        promote("copy", 1, records=house.records, clock=house.clock)
        assert collect(house, ["digits"], keep_count=1).retired == ("digits:1",)
        attempts = deliver_due(house, only=hook)
        assert [attempt.problem for attempt in attempts] == [""] * len(attempts)
        kinds = [message["type"] for message in receiver.messages]
        assert (kinds.count("version.created"), kinds.count("version.retired"), kinds.count("alias.moved")) == (4, 1, 2)
        assert [message["data"]["sequence"] for message in receiver.messages] == sorted(attempt.sequence for attempt in attempts)
    finally:
        receiver.close()
