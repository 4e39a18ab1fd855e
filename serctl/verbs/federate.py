"""Train one model with parties whose recordings stay where they are: the server, and a trial on one machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl import __version__
from serctl.bundle.store import check_new_bundle
from serctl.corpora import load_corpora
from serctl.corpora.columns import LABEL_COLUMNS, SOURCE_COLUMNS
from serctl.corpora.manifest import utterance_cells, write_manifest
from serctl.errors import ConfigError
from serctl.extras import require_extra
from serctl.files import claiming, naming
from serctl.learning.checkpoints import open_checkpoints, removed_when_done
from serctl.learning.federated.plan import FederationOptions
from serctl.learning.options import RecordOptions
from serctl.learning.recipe import Recipe
from serctl.options import check_options, option
from serctl.run import Run
from serctl.verbs.federated_bundle import write_federated
from serctl.verbs.party import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from serctl.corpora import Utterance
    from serctl.learning.federated.flower import Tls
    from serctl.learning.federated.outcome import Federated, RoundCallback
    from serctl.verbs.federated_bundle import FederateResult

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
"""For parties on one machine, which would fight for its cores."""

_MOST_STARTS = 5
_WATCH_S = 1.0
TRAITS = ("speaker", "corpus", "language", "gender")


@dataclass(frozen=True)
class FederateOptions(RecordOptions, Recipe):
    """The recipe of a model that parties train together, how their trainings are joined, and what is written down."""

    federation: FederationOptions = field(default_factory=FederationOptions)


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, and whom it knows.

    Args:
        listen: HOST:PORT; HOST is a name or an address of this machine that is in the certificate.
        tls_cert: its certificate.
        tls_key: the private key of that.
        keys: folder with the public key of each party, NAME.pub.

    Raises:
        ConfigError: the address is none, or a file is missing.
    """

    listen: str = option("", "Listen on this address; HOST must be in the certificate.", metavar="HOST:PORT")
    tls_cert: Path = option(Path("server.pem"), "Certificate, as `serctl federate certificate` writes it.", kind=Path)
    tls_key: Path = option(Path("server.key"), "Private key of the certificate.", kind=Path)
    keys: Path = option(Path("keys"), "Folder with NAME.pub of each party that may take part.", kind=Path)

    def __post_init__(self) -> None:
        check_options(self)
        parse_address(self.listen)
        for path in (self.tls_cert, self.tls_key):
            if not path.is_file():
                raise ConfigError(f"{path}: expected a file, found none")

    @property
    def reach(self) -> str:
        """The name by which this machine reaches the server."""
        host = parse_address(self.listen)[0]
        return "localhost" if host in ("0.0.0.0", "::") else host

    @property
    def tls(self) -> Tls:
        """The files of the certificate."""
        from serctl.learning.federated.flower import Tls

        return Tls(self.tls_cert, self.tls_key, self.tls_cert)


@dataclass(frozen=True)
class LocalOptions:
    """How corpora are divided among parties on this machine.

    Args:
        parties: how many; each is a process.
        by: what utterances of one party share.
    """

    parties: int = option(5, "Parties, each a process of its own with its own share of the utterances.", low=2, high=50)
    by: str = option(
        "speaker",
        f"What divides the utterances: {', '.join(TRAITS)}, or a column of the manifests, such as hospital.",
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        check_options(self)


def ignore_round(_: Any) -> None:
    """No-op callback."""


@claiming
def serve(
    *,
    output: Path,
    options: FederateOptions,
    server: ServerOptions,
    run: Run | None = None,
    on_round: RoundCallback = ignore_round,
) -> FederateResult:
    """Train a model with parties that connect from elsewhere, and write it as a bundle.

    The state is saved in OUTPUT.partial after every round; resume continues from there.

    Args:
        output: folder of the bundle.
        options: how to train.
        server: where to listen, and the keys of the parties.
        run: resume and overwrite.
        on_round: called after every round.

    Returns:
        The bundle's facts, and the scores on what the parties held out.

    Raises:
        ConfigError: the output cannot be written, or an option cannot be used.
        FederationError: too few parties are there, or send what can be used.
    """
    from serctl.learning.federated.keys import read_public_keys

    run = run or Run()
    _check(output, options, run)
    keys = read_public_keys(server.keys)
    folder = _checkpoints(output, options, sorted(each.decode() for each in keys.values()), run)
    with removed_when_done(folder), naming(output):
        return write_federated(output, _train(folder, options, server, keys, on_round), options)


@claiming
def federate(
    paths: Sequence[Path],
    *,
    output: Path,
    options: FederateOptions,
    local: LocalOptions,
    run: Run | None = None,
    on_round: RoundCallback = ignore_round,
) -> FederateResult:
    """Divide corpora among parties on this machine, each a process of its own, and train a model with them.

    All goes as between machines, over TLS on loopback with a key for each party.

    Args:
        paths: folders and manifests.
        output: folder of the bundle.
        options: how to train.
        local: how to divide the corpora.
        run: workers, cache, resume and overwrite.
        on_round: called after every round.

    Returns:
        The bundle's facts, and the scores on what the parties held out.

    Raises:
        CorpusError: the corpora cannot be divided so.
        ConfigError: the output cannot be written, or an option cannot be used.
        FederationError: too few parties send what can be used.
    """
    run = run or Run()
    _check(output, options, run)
    shares = _divide(paths, options, local)
    listing = {name: [str(each.path) for each in own] for name, own in shares.items()}
    folder = _checkpoints(output, options, listing, run)
    with removed_when_done(folder), naming(output), ExitStack() as stack:
        server = _prepare_parties(folder, shares)
        keys = {name: (server.keys / f"{name}.pub").read_bytes() for name in shares}

        def start() -> None:
            stack.enter_context(_parties(server, list(shares), run))

        return write_federated(output, _train(folder, options, server, keys, on_round, start=start), options)


def _check(output: Path, options: FederateOptions, run: Run) -> None:
    """Check before any work that the options make sense for parties, and that the bundle can be written."""
    require_extra("federated", "federated training")
    check_new_bundle(output, overwrite=run.overwrite)
    if options.base or options.teachers or options.causal or options.labels.target or options.labels.transcripts:
        raise ConfigError(
            "a federated training starts anew and learns emotions from speech: expected no base, teachers, causal "
            "network, numbers or transcripts"
        )


def _checkpoints(output: Path, options: FederateOptions, parties: Any, run: Run) -> Path:
    """The folder that keeps every round of this very training."""
    recipe = replace(options, name="", licence="", command="", evaluation=None)
    text = json.dumps([__version__, recipe.to_dict(), parties], sort_keys=True, default=str)
    fingerprint = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    folder = output.with_name(f"{output.name}.partial")
    return open_checkpoints(folder, fingerprint, resume=run.resume, overwrite=run.overwrite)


def _train(
    folder: Path,
    options: FederateOptions,
    server: ServerOptions,
    keys: Mapping[str, bytes],
    on_round: RoundCallback,
    *,
    start: Callable[[], object] = list,
) -> Federated:
    """Run a SuperLink and the rounds; start: called when the parties can connect."""
    from serctl.learning.federated import flower

    flower.prepare(folder / "flower")
    from serctl.learning.federated.server_app import CHECKPOINT, Server

    host, port = parse_address(server.listen)
    with (
        flower.superlink(folder, host, port, tls=server.tls, reach=server.reach) as link,
        flower.server_grid(link, keys) as (grid, names),
    ):
        start()
        return Server(
            grid,
            options,
            options.federation,
            parties=len(keys),
            checkpoint=folder / CHECKPOINT,
            on_round=on_round,
            names=names,
        ).run()


def _divide(paths: Sequence[Path], options: FederateOptions, local: LocalOptions) -> dict[str, list[Utterance]]:
    """The utterances of each party."""
    from serctl.learning.federated.parties import split_parties

    reading = options.labels.reading
    found = [each for corpus in load_corpora(paths, reading) for each in corpus.utterances]
    taking_part = [index for index, each in enumerate(found) if options.labels.apply(each) and each.split != "test"]
    values: list[str | None]
    if local.by in TRAITS:
        values = [each.speaker_id if local.by == "speaker" else getattr(each, local.by) for each in found]
    else:
        # A manifest's column of any name is read in the place of its speakers.
        again = load_corpora(paths, replace(reading, columns=(("speaker", local.by),)))
        values = [each.speaker for corpus in again for each in corpus.utterances]
    chosen = [found[index] for index in taking_part]
    parties = split_parties(chosen, [values[index] for index in taking_part], local.parties)
    return {_file_name(name): [chosen[index] for index in indices] for name, indices in parties.items()}


def _file_name(name: str) -> str:
    """The name of a party as that of a file."""
    return "".join(each if each.isalnum() or each in "-_" else "-" for each in name)


def _prepare_parties(folder: Path, shares: Mapping[str, list[Utterance]]) -> ServerOptions:
    """Write what the processes need: a certificate, and of each party its key and the manifest of its share."""
    from serctl.learning.federated.flower import free_port
    from serctl.learning.federated.keys import LOOPBACK, make_certificate, make_key

    folder.chmod(0o700)
    certificate = make_certificate(folder, LOOPBACK, overwrite=True)
    for name, utterances in shares.items():
        own = folder / name
        own.mkdir(exist_ok=True)
        make_key(folder / f"{name}.key", overwrite=True)
        rows = [utterance_cells(each, own, None) for each in utterances]
        write_manifest(own / "manifest.csv", rows, [*LABEL_COLUMNS, *SOURCE_COLUMNS])
    return ServerOptions(f"{LOOPBACK}:{free_port()}", certificate, folder / "server.key", folder)


@contextmanager
def _parties(server: ServerOptions, names: Sequence[str], run: Run) -> Iterator[None]:
    """Run a process for each party; one that dies is started again, a few times."""
    from serctl.learning.federated.flower import end_process

    running = {name: _start_party(server, name, run) for name in names}
    over = threading.Event()

    def watch() -> None:
        starts = dict.fromkeys(names, 1)
        while not over.wait(_WATCH_S):
            for name, process in running.items():
                if process.poll() and starts[name] < _MOST_STARTS:
                    starts[name] += 1
                    running[name] = _start_party(server, name, run)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        for process in running.values():
            end_process(process)


def _start_party(server: ServerOptions, name: str, run: Run) -> subprocess.Popen[bytes]:
    """Start `serctl federate party` for a share."""
    from serctl.learning.federated.flower import own_code

    folder = server.keys
    options = ["--server", server.listen, "--ca", str(server.tls_cert), "--key", str(folder / f"{name}.key")]
    options += ["--state", str(folder / name), "--jobs", "1"]
    options += ["--cache-dir", str(run.cache.folder)] if run.cache else ["--no-cache"]
    command = [sys.executable, "-P", "-m", "serctl.learning.federated.launch", "party"]
    with (folder / name / "party.log").open("ab") as log:
        return subprocess.Popen(
            [*command, str(folder / name / "manifest.csv"), *options],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | _ONE_THREAD | own_code(),
            start_new_session=True,
        )
