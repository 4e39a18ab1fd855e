"""Flower's processes, and its tasks run in this process instead of one started for every message.

A SuperLink carries messages between the server and the parties, a SuperNode takes those of one party. With their
isolation mode `process`, both leave the running of an app to another process, which asks them for tasks: here the
process of serctl that has the network in memory. So no process starts for a message, and a party runs the code that
is installed there, never code that it was sent.

What Flower does not document for users is used here, in launch.py and in start.py alone.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.errors import FederationError
from serctl.learning.federated.keys import LOOPBACK
from serctl.learning.federated.start import start_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_POLL_S = 0.1
_START_WITHIN_S = 300.0
_STOP_WITHIN_S = 5.0
_RETRY_WITHIN_S = 60.0
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Link:
    """How to reach a process of Flower.

    Attributes:
        address: host:port.
        secret: shared with the process, so that nobody else on the machine takes its tasks.
        ca: PEM file of the certificates to trust; None without TLS, which is for loopback only.
        process: of Flower, on this machine.
    """

    address: str
    secret: str
    ca: Path | None
    process: subprocess.Popen[bytes]

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def client(self, kind: Any, component: str, *interceptors: Any) -> Any:
        """Return a client of one of its interfaces.

        Args:
            kind: class of the client.
            component: of Flower that this process stands in for.
            interceptors: that sign its requests.
        """
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

        return kind.from_server_address(
            server_address=self.address,
            insecure=self.ca is None,
            root_certificates=self.certificates,
            interceptors=[RuntimeVersionHttpInterceptor(component_name=component), *interceptors],
        )

    @property
    def certificates(self) -> bytes | None:
        """The certificates to trust, read."""
        return self.ca.read_bytes() if self.ca else None


@dataclass(frozen=True)
class Tls:
    """PEM files of a server: its certificate, the key of that, and the certificates that parties trust."""

    certificate: Path
    key: Path
    ca: Path


def prepare(home: Path) -> None:
    """Set what Flower reads when it is imported: its folder, and no reports to its makers."""
    os.environ |= _environment(home)
    import logging

    import flwr.supercore  # noqa: F401 - it sets the level of its log

    logging.getLogger("flwr").setLevel(logging.CRITICAL)


def _environment(home: Path) -> dict[str, str]:
    return {"FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


@contextmanager
def superlink(folder: Path, host: str, port: int, *, tls: Tls, reach: str) -> Iterator[Link]:
    """Run a SuperLink that knows no party yet.

    Args:
        folder: of this run, readable by its user only.
        host: address to listen on.
        port: of it.
        tls: its certificate.
        reach: the name by which this machine reaches it, one of those in its certificate.

    Raises:
        FederationError: it did not start.
    """
    arguments = ["--host", host, "--port", str(port), "--isolation", "process", "--enable-supernode-auth"]
    arguments += ["--ssl-certfile", str(tls.certificate), "--ssl-keyfile", str(tls.key)]
    arguments += ["--ssl-ca-certfile", str(tls.ca), "--disable-runtime-dependency-installation"]
    with _running("superlink", arguments, folder, f"{reach}:{port}", tls.ca) as link:
        yield link


@contextmanager
def supernode(folder: Path, server: str, *, ca: Path, key: Path) -> Iterator[Link]:
    """Run a SuperNode.

    Args:
        folder: of this party, readable by its user only.
        server: host:port of the SuperLink.
        ca: the certificates to trust.
        key: private key of the party.

    Raises:
        FederationError: it did not start.
    """
    port = free_port()
    arguments = ["--superlink", server, "--host", LOOPBACK, "--port", str(port), "--isolation", "process"]
    arguments += ["--root-certificates", str(ca), "--auth-supernode-private-key", str(key)]
    with _running("supernode", arguments, folder, f"{LOOPBACK}:{port}", None) as link:
        yield link


def free_port() -> int:
    """Find a port of this machine that is free."""
    import socket

    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def _running(name: str, arguments: list[str], folder: Path, address: str, ca: Path | None) -> Iterator[Link]:
    """A process of Flower, which ends with the block; in a session of its own, so that Ctrl-C does not reach it."""
    secret = folder / f"{name}.secret"
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(32))
    log = folder / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "serctl.learning.federated.launch", name, str(secret), *arguments],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | _environment(folder / f"{name}-home") | own_code(),
            start_new_session=True,
        )
    try:
        _wait_until_listening(process, address, log)
        yield Link(address, secret.read_text(), ca, process)
    finally:
        end_process(process)
        secret.unlink(missing_ok=True)


def own_code() -> dict[str, str]:
    """The variable that has a new Python process find this very serctl."""
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(_ROOT), *([known] if known else [])])}


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process, by force where it does not end by itself."""
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()


def _wait_until_listening(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    import socket

    host, _, port = address.rpartition(":")
    last = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < last and process.poll() is None:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        except OSError:
            time.sleep(_POLL_S)
        else:
            return
    raise FederationError(f"Flower did not start on {address}: {last_words(log)}")


def last_words(log: Path) -> str:
    """Return the last lines of the log of a process."""
    lines = log.read_text(errors="replace").split("\n")
    return " ".join(filter(None, map(str.strip, lines[-4:]))) or "it says nothing"


def _tasks(link: Link, kind: str, alive: Callable[[], bool]) -> Iterator[str]:
    """The token of each task, as they arise, while alive() holds and the process runs."""
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient

    signed = SuperExecAuthHttpInterceptor(
        master_secret=link.secret.encode(), protected_methods={"/flwr.proto.Runtime/AcquireTask"}
    )
    client = link.client(RuntimeHttpClient, "SuperExec", signed)
    try:
        while alive() and link.alive:
            found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[kind]))
            if found.HasField("task") and found.token:
                yield found.token
            else:
                time.sleep(_POLL_S)
    finally:
        client.close()


@contextmanager
def _heartbeat(client: Any) -> Iterator[None]:
    """Tell Flower that a task goes on, however long it takes."""
    import httpx
    from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest
    from flwr.supercore.heartbeat import HeartbeatSender

    def beat() -> bool:
        try:
            return bool(client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)
        except httpx.HTTPError:
            return False

    sender = HeartbeatSender(beat)
    sender.start()
    try:
        yield
    finally:
        sender.stop()


def run_client_tasks(app: Any, link: Link, *, alive: Callable[[], bool]) -> None:
    """Run the tasks of a SuperNode in this process, until it ends or alive() does not hold.

    Args:
        app: the ClientApp.
        link: to the SuperNode.
        alive: asked between tasks whether to go on.
    """
    import httpx

    try:
        for token in _tasks(link, "flwr-clientapp", alive):
            _run_client_task(app, link, token)
    except httpx.HTTPError:
        link.process.terminate()  # it lost its server; whoever started it starts another


def _run_client_task(app: Any, link: Link, token: str) -> None:
    from flwr.app import Message
    from flwr.app.error import Error
    from flwr.common.constant import ErrorCode, SubStatus
    from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

    from serctl.learning.federated.packing import pack, unpack

    client = link.client(RuntimeHttpClient, "flwr-clientapp", RuntimeTokenHttpInterceptor(token))
    try:
        with _heartbeat(client):
            message, context, _, _ = pull_task_input(client)
            try:
                message.content = unpack(message.content)
                reply = app(message=message, context=context)
                reply.content = pack(reply.content)
            except Exception as error:  # noqa: BLE001 - whatever it is, the server is told
                reason = f"{type(error).__name__}: {error}"
                reply = Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)
            push_message(client, reply, context)
            push_task_output(client, context, SubStatus.COMPLETED, "")
    finally:
        client.close()


@contextmanager
def server_grid(link: Link, public_keys: Mapping[str, bytes]) -> Iterator[tuple[Any, dict[int, str]]]:
    """Register the parties and start a run on a SuperLink.

    Args:
        link: to the SuperLink.
        public_keys: of the parties, by name.

    Yields:
        The grid, which sends messages to the parties and fetches their replies, and the names of their nodes.

    Raises:
        FederationError: Flower started no run, or ended.
    """
    import httpx
    from flwr.common.constant import SubStatus
    from flwr.common.serde import run_from_proto
    from flwr.proto.runtime_pb2 import PullTaskInputRequest, PushTaskOutputRequest
    from flwr.superlink.grid import HttpGrid

    from serctl.learning.federated.packing import PackingGrid

    nodes = start_run(link, public_keys)
    token = next(_tasks(link, "flwr-serverapp", lambda: True))
    grid = HttpGrid(link.address, insecure=False, root_certificates=link.certificates, token=token)
    grid._retry_invoker.max_time = _RETRY_WITHIN_S
    client = grid._runtime_client
    try:
        with _heartbeat(client):
            found = client.PullTaskInput(PullTaskInputRequest())
            _identify(found)
            grid.set_run(run_from_proto(found.run))
            yield PackingGrid(grid), nodes
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details=""))
    except httpx.HTTPError as error:
        raise FederationError(f"the SuperLink of this server does not answer: {error}") from error
    finally:
        grid.close()


def _identify(found: Any) -> None:
    """Say whose messages this process makes; Flower's Message reads it."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id = found.task_id
    TaskIdentity.run_id = found.run.run_id
    TaskIdentity.node_id = found.context.node_id
