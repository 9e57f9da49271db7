"""The gateway under test: the server as users start it, with the scripted backend."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def serving(*keys: str, **script: Any) -> Iterator[str]:
    """Serve what ``script`` says on a free port and yield the base URL; show what the log warned of.

    With ``keys`` one of them is needed.
    """
    config = {
        "llm": {"type": "scripted", **script},
        "rag": {"persist": False},
        "server": {"port": 0, "api_keys": keys},
    }
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        Path(folder, "config.json").write_text(json.dumps(config), "utf-8")
        with log.open("wb") as errors:
            server = subprocess.Popen(
                [sys.executable, "-m", "openkimi.api.server", "-c", "config.json", "--log-level", "warning"],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            yield _address(server)
        finally:
            server.terminate()
            server.communicate()
            print(log.read_text("utf-8", "replace"), end="", flush=True)


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r" on (http://\S+)", line):
            return found[1]
    raise RuntimeError("the gateway did not start; its log is below")
