"""What events are answered: a batch gives others their turns, and tells what of it was not taken."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

from fairlead.core.server_reading import ServerReading
from fairlead.errors import RequestError
from fairlead.serve.collect.api import CollectApi, CollectApiJob
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply

TYPE = "org.kubeflow.serving.inference.request"


async def test_others_have_their_turns_between_the_events_of_a_batch() -> None:
    taken: list[str] = []

    async def take(event) -> None:
        taken.append(event.request_id)
        if event.request_id == "bad":
            raise RequestError("No.")

    collector = SimpleNamespace(take=take, counts={})
    said: list[str] = []
    api = CollectApi(CollectApiJob(collector, HttpLimits(), "1", (), lambda *_, **__: iter(()), ServerReading, said.append))
    batch = [{"specversion": "1.0", "id": name, "type": TYPE, "data": {}} for name in ("a", "bad", "c")]
    headers = {b"content-type": b"application/cloudevents-batch+json"}
    asked = asyncio.create_task(api.handle(HttpRequest(b"POST", b"/", headers, json.dumps(batch).encode())))
    seen: list[int] = []
    while not asked.done():
        await asyncio.sleep(0)
        seen.append(len(taken))
    assert {1, 2, 3} <= set(seen)
    reply: Reply = asked.result()
    assert (reply.status, reply.body, said) == (400, b'{"error":"1 of 3 events were not taken. Event 1: No."}', [])
