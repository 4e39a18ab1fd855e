"""Other processes of a training: `python -m serctl.learning.federated.launch superlink|supernode SECRET OPTIONS...`.

These two are Flower's own programs, with three changes: they end when whoever started them does, even by a kill; a
SuperLink lets nobody without the secret use its control interface, which would otherwise start runs for anyone who
reaches the port; and a SuperNode without work looks for more after half a second, not after three. `... launch party
CORPUS OPTIONS...` is `serctl federate party`, which also ends with whoever started it.
"""

from __future__ import annotations

import hmac
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SECRET_HEADER = "x-serctl-secret"
_FOR_PARTIES = ("/v1/fleet/", "/v1/runtime/")
"""Fleet requests are signed by a party; runtime requests bear the token of a task or are signed by the secret."""

_IDLE_S = 0.5
_END_WITHIN_S = 10.0


class ClosedControl:
    """Refuses requests for anything but the work of parties, unless they bear the secret; an ASGI middleware.

    Args:
        app: what answers the others.
        secret: in text.
    """

    def __init__(self, app: Any, secret: str) -> None:
        self._app, self._secret = app, secret.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "http" and not self._allows(scope):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"not for parties"})
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Any) -> bool:
        given = dict(scope["headers"]).get(SECRET_HEADER.encode(), b"")
        return scope["path"].startswith(_FOR_PARTIES) or hmac.compare_digest(given, self._secret)


def end_with_parent() -> None:
    """End this process when its stdin ends, which is when the process that holds the other end does."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: a thread that holds its lock has Python abort at the end
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_END_WITHIN_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _superlink(secret: str) -> None:
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    extensions.get_middleware = lambda: (Middleware(ClosedControl, secret=secret),)
    flower_superlink()


def _supernode(_: str) -> None:
    from flwr.supernode import start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    start_client_internal.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, _IDLE_S)))
    flower_supernode()


def _party() -> None:
    sys.argv[:1] = ["serctl", "federate", "party"]
    runpy.run_module("serctl", run_name="__main__")


def main() -> None:
    """Run the program that the first argument names: one of Flower's, or a party of a trial on one machine."""
    name = sys.argv.pop(1)
    end_with_parent()
    if name == "party":
        _party()
        return
    path = sys.argv.pop(1)
    sys.argv[1:1] = ["--superexec-auth-secret-file", path]
    {"superlink": _superlink, "supernode": _supernode}[name](Path(path).read_text())


if __name__ == "__main__":
    main()
