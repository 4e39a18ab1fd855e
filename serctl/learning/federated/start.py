"""The start of a run on a SuperLink, by its control interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.errors import FederationError
from serctl.learning.federated.launch import SECRET_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serctl.learning.federated.flower import Link

_APP = b"""[project]
name = "serctl-federated"
version = "1.0.0"
description = "Federated training of serctl"
license = "Apache-2.0"
dependencies = ["flwr>=1.42"]

[tool.flwr.app]
publisher = "serctl"

[tool.flwr.app.components]
serverapp = "app:server"
clientapp = "app:client"
"""
"""Flower starts a run of an app only; this one holds no code, for each side runs its own."""


class _BearsSecret:
    """Adds the secret to requests for the control interface."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept(self, context: Any, call_next: Any) -> Any:
        """Add it and go on; called by Flower."""
        context.request.headers[SECRET_HEADER] = self._secret
        return call_next(context)


def start_run(link: Link, public_keys: Mapping[str, bytes]) -> dict[int, str]:
    """Register the parties with a SuperLink and start a run.

    Args:
        link: to the SuperLink.
        public_keys: of the parties, by name.

    Returns:
        The names of the parties' nodes by their ids.

    Raises:
        FederationError: Flower started no run.
    """
    import hashlib
    import warnings

    from flwr.cli.build import build_fab_from_files
    from flwr.common.serde import fab_to_proto
    from flwr.proto.control_pb2 import RegisterNodeRequest, StartRunRequest
    from flwr.supercore.control.control_http_client import ControlHttpClient
    from flwr.supercore.fab import Fab

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a package that Flower uses
        content, _ = build_fab_from_files({"pyproject.toml": _APP, "app.py": b"client = server = None\n"})
    fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
    client = link.client(ControlHttpClient, "flwr CLI", _BearsSecret(link.secret))
    try:
        nodes = {
            client.RegisterNode(RegisterNodeRequest(public_key=key)).node_id: name for name, key in public_keys.items()
        }
        found = client.StartRun(StartRunRequest(fab=fab_to_proto(fab)))
    finally:
        client.close()
    if not found.HasField("run_id"):
        raise FederationError(f"Flower started no run: {found.note}")
    return nodes
