"""`fairlead collect` as a person starts it: it says where it listens, and writes what it has when it is told to stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import registered

from fairlead.app.observations import open_log
from fairlead.core.observation_log import LogWindow
from payload_loggers import kserve, read_reply

PROGRAM = "import sys; from fairlead.cli.main import run; sys.exit(run(sys.argv[1:]))"


def test_what_was_taken_is_in_the_log_once_the_process_was_stopped(tmp_path: Path) -> None:
    house = registered.new_house(tmp_path / "home")
    registered.add_version(house, "m", registered.scaler(tmp_path / "m.onnx", 2))
    command = [sys.executable, "-c", PROGRAM, "collect", "m:1", "--port", "0", "--home", str(tmp_path / "home")]
    environment = os.environ | {"FAIRLEAD_OBSERVE_FLUSH_S": "1000"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            said = process.stderr.readline()
            port = int(re.search(r"collecting m as m:1 on http://127.0.0.1:(\d+)", said)[1])
            with socket.create_connection(("127.0.0.1", port), timeout=60) as link, link.makefile("rb") as stream:
                for kind, payload in (("request", {"instances": [[1, 2]]}), ("response", {"predictions": [[3, 4]]})):
                    link.sendall(kserve(kind, "a", payload, at=time.time(), service="m"))
                    assert read_reply(stream).status == 200
                link.sendall(kserve("request", "b", {"instances": [[5, 6]]}, at=time.time(), service="m"))
                assert read_reply(stream).status == 200
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert "m: 1 answered, 1 unanswered\n" in rest
    assert "m: 2 in the log. See: fairlead observations m" in rest
    found = np.concatenate([piece["input:c0"] for piece in open_log(house).scan(LogWindow("m"), ("input:c0",))])
    assert sorted(found.tolist()) == [1.0, 5.0]
