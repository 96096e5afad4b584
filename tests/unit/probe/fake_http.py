"""An HTTP server whose every answer is scripted: delays, statuses, broken connections."""

from __future__ import annotations

import asyncio
import threading
import time

GOOD = b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1.0]}]}'


def reply(body: bytes = GOOD, status: int = 200, *more: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *more))
    return head.encode() + b"\r\n" + body


class FakeHttp:
    """`script(number, now)` gives (seconds to wait, bytes to send or None to cut the connection) for each request, by its number."""

    def __init__(self, script) -> None:
        self.script, self.count = script, 0
        self.port = 0
        self.began = 0.0
        self._ready = threading.Event()
        self._talks: set[asyncio.Task | None] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self.began = time.perf_counter()
        self._ready.set()
        await self._stop.wait()
        server.close()
        quiet_rounds = 0
        while quiet_rounds < 3:  # who was let in a moment ago has no task yet
            others = asyncio.all_tasks() - {asyncio.current_task()}
            quiet_rounds = 0 if others else quiet_rounds + 1
            for task in others & self._talks:  # asyncio's own that let a caller in, and what has not begun, would leave a socket open
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=0.1)
            for writer in self._writers:  # what a caller did not read any more would be waited for
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _talk(self, reader, writer) -> None:
        self._talks.add(asyncio.current_task())
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(size)
                self.count += 1
                wait_s, answer = self.script(self.count, time.perf_counter() - self.began)
                if wait_s:
                    await asyncio.sleep(wait_s)
                if answer is None:
                    break
                writer.write(answer)
                if b"Connection: close" in answer or (b"Content-Length" not in answer and b"chunked" not in answer):
                    await writer.drain()
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
