"""Take part in a federated training: one party's corpora, its key, and the server that it works for."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError, FederationError, SerctlError
from serctl.extras import require_extra
from serctl.files import claim
from serctl.options import check_options, option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serctl.learning.federated.parties import Party
    from serctl.run import Run

Tell = Callable[[str], None]
"""Told in a sentence what a party does."""

_PAUSE_S = 2.0
_LINGER_S = 3.0
"""How long a party stays after the end, so that its last answer reaches the server."""


def parse_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT.

    Raises:
        ConfigError: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"expected HOST:PORT, such as training.example:8443. Received: {text}")
    return host.strip("[]"), int(port)


@dataclass(frozen=True)
class PartyOptions:
    """How a party reaches its server.

    Args:
        server: its address, HOST:PORT.
        ca: its certificate.
        key: private key of the party, NAME.key; NAME is the name of the party.
        state: folder that keeps what must outlive a restart; None for NAME.state beside the key.
        epsilon, delta: what the party lets its updates tell of it; an epsilon of 0 leaves it to the server.

    Raises:
        ConfigError: the address is none, or a file is missing.
    """

    server: str = option("", "Address of the server.", metavar="HOST:PORT")
    ca: Path = option(Path("server.pem"), "Certificate of the server, as its operator sent it.", kind=Path)
    key: Path = option(
        Path("party.key"), "Private key of this party, NAME.key of `serctl federate key`; NAME names it.", kind=Path
    )
    state: Path | None = option(
        None, "Folder for what must survive a restart. Default: NAME.state beside the key.", kind=Path
    )

    epsilon: float = option(
        0.0,
        "Largest epsilon of this party's updates: a server that does not have it add the noise itself, or too little, "
        "is refused. 0 leaves it to the server.",
        low=0,
        high=100,
    )
    delta: float = option(1e-5, "Largest delta that goes with epsilon.", above=0, below=1)

    def __post_init__(self) -> None:
        check_options(self)
        parse_address(self.server)
        for path in (self.ca, self.key):
            if not path.is_file():
                raise ConfigError(f"{path}: expected a file, found none")

    @property
    def limit(self) -> tuple[float, float] | None:
        """Largest epsilon and delta; None leaves them to the server."""
        return (self.epsilon, self.delta) if self.epsilon else None

    @property
    def folder(self) -> Path:
        """Keeps what must outlive a restart."""
        return self.state or self.key.with_suffix(".state")


def take_part(paths: Sequence[Path], *, options: PartyOptions, run: Run, tell: Tell) -> None:
    """Train for a server until it says that the training is over; a lost connection is made again.

    Args:
        paths: folders and manifests of this party.
        options: the server and the key.
        run: workers and cache of the extraction.
        tell: told what happens.

    Raises:
        MissingExtraError: Flower or TensorFlow is not installed.
        ConfigError: the certificate is not that of the server, or another process uses the folder.
    """
    require_extra("federated", "federated training")
    folder = options.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with claim(folder):
        _take_part(paths, folder, options=options, run=run, tell=tell)


def _take_part(paths: Sequence[Path], folder: Path, *, options: PartyOptions, run: Run, tell: Tell) -> None:
    from serctl.learning.federated import flower

    flower.prepare(folder / "flower")
    from serctl.learning.federated.client_app import make_app

    ended: list[float] = []
    party = _party(options, paths, run=run, folder=folder, tell=tell)
    app = make_app(party, finish=lambda: ended.append(time.monotonic()))
    tell(f"party {party.name}, server {options.server}")
    reason = ""
    while not ended:
        _await_server(options, tell)
        try:
            with flower.supernode(folder, options.server, ca=options.ca, key=options.key) as link:
                flower.run_client_tasks(app, link, alive=lambda: not ended or time.monotonic() - ended[0] < _LINGER_S)
        except FederationError as error:
            tell(str(error))
        if not ended:
            reason, earlier = _reason(folder), reason
            if reason != earlier:
                tell(f"connecting again: {reason}")
            time.sleep(_PAUSE_S)
    tell("the training is over")


def _party(options: PartyOptions, paths: Sequence[Path], *, run: Run, folder: Path, tell: Tell) -> Party:
    from serctl.learning.federated.parties import Party, check_name

    class Told(Party):
        """A party that says what it does."""

        def describe(self, plan: Any) -> Any:
            """Say what it has."""
            tell("the server asks what data there is: extracting features")
            try:
                found = super().describe(plan)
            except SerctlError as error:
                tell(f"this party cannot take part: {error}")
                raise
            tell(f"{found.utterances} utterances to train on, {found.validation} to validate on")
            return found

        def train(self, plan: Any, normaliser: Any, *, number: int, **others: Any) -> Any:
            """Train in a round."""
            update = super().train(plan, normaliser, number=number, **others)
            tell(f"round {number}/{plan.fit['epochs'] // plan.local_epochs}  loss {update.loss:.3f}")
            return update

    return Told(check_name(options.key.stem), paths, run=run, folder=folder, limit=options.limit)


def _await_server(options: PartyOptions, tell: Tell) -> None:
    """Wait until the server listens, and check that its certificate is the one that is trusted."""
    waiting = False
    context = ssl.create_default_context(cafile=str(options.ca))
    host, port = parse_address(options.server)
    while True:
        try:
            with (
                socket.create_connection((host, port), timeout=10) as connection,
                context.wrap_socket(connection, server_hostname=host),
            ):
                return
        except ssl.SSLCertVerificationError as error:
            raise ConfigError(
                f"the server at {options.server} does not show the certificate of {options.ca}: {error.verify_message}"
            ) from error
        except OSError as error:
            if not waiting:
                tell(f"waiting for the server at {options.server}: {error}")
            waiting = True
            time.sleep(_PAUSE_S)


def _reason(folder: Path) -> str:
    """Why the SuperNode ended, by its log."""
    said = (folder / "supernode.log").read_text(errors="replace")
    if "Failed to activate" in said:
        return "the server does not know this key, or takes this party to be still connected, for a minute at most"
    return "the connection to the server ended"
