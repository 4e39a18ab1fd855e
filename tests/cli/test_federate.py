"""`serctl federate`: keys and certificates, and how corpora are divided; benchmarks/federated_kills.py trains."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from serctl.corpora import load_corpora
from serctl.errors import ConfigError, CorpusError
from serctl.learning.federated.keys import make_certificate, make_key, read_public_keys
from serctl.learning.federated.launch import SECRET_HEADER, ClosedControl
from serctl.verbs.federate import FederateOptions, LocalOptions, _divide, _prepare_parties, federate
from serctl.verbs.party import PartyOptions, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_keys_and_certificate(serctl: Callable[..., Any], tmp_path: Path) -> None:
    assert serctl("federate", "key", tmp_path / "north.key").code == 0
    assert serctl("federate", "certificate", "training.example", "-o", tmp_path / "tls").code == 0
    assert list(read_public_keys(tmp_path)) == ["north"]
    for secret in (tmp_path / "north.key", tmp_path / "tls" / "server.key"):
        assert secret.stat().st_mode & 0o077 == 0
    again = serctl("federate", "key", tmp_path / "north.key")
    assert again.code == 2
    assert "--overwrite" in again.stderr
    other = serctl("federate", "key", tmp_path / "north.pem")
    assert "NAME.key" in other.stderr


@pytest.mark.parametrize("name", ["training.example", "localhost", "127.0.0.1"])
def test_a_certificate_holds_for_its_host_and_on_its_own_machine(name: str, tmp_path: Path) -> None:
    path = make_certificate(tmp_path, "training.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path, tmp_path / "server.key")
    shaken_hands(server, ssl.create_default_context(cafile=path), name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_hands(server, ssl.create_default_context(cafile=path), "other.example")


def shaken_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A TLS handshake in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_a_folder_without_usable_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Found: none"):
        read_public_keys(tmp_path)
    make_key(tmp_path / "north.key")
    (tmp_path / "south.pub").write_text("no key")
    with pytest.raises(ConfigError, match=r"south\.pub: expected the public key"):
        read_public_keys(tmp_path)


@pytest.mark.parametrize(
    ("path", "secret", "status"),
    [
        ("/v1/fleet/pull-messages", "", 200),
        ("/v1/control/start-run", "", 403),
        ("/v1/control/start-run", "wrong", 403),
        ("/v1/control/start-run", "known", 200),
        ("/docs", "", 403),
    ],
)
def test_only_the_server_itself_starts_runs(path: str, secret: str, status: int) -> None:
    seen: list[int] = []

    async def send(message: Any) -> None:
        seen.append(message.get("status", 0))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    scope = {"type": "http", "path": path, "headers": [(SECRET_HEADER.encode(), secret.encode())] if secret else []}
    asyncio.run(ClosedControl(app, "known")(scope, None, send))
    assert seen[0] == status


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:0", "host:65536", "host:x"])
def test_an_address_needs_host_and_port(text: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        parse_address(text)


def test_a_party_without_its_files_is_refused(tmp_path: Path) -> None:
    assert parse_address("[::1]:80") == ("::1", 80)
    with pytest.raises(ConfigError, match=r"none\.pem: expected a file"):
        PartyOptions("host:80", tmp_path / "none.pem", tmp_path / "north.key")


def test_corpora_are_divided_by_a_trait_or_a_column(samples: Path, tmp_path: Path) -> None:
    listed = (samples / "manifest.csv").read_text().splitlines()
    rows = [f"{row},{'north' if index % 2 else 'south'}" for index, row in enumerate(listed[1:])]
    own = tmp_path / "corpus"
    own.mkdir()
    for path in samples.iterdir():
        if path.name != "manifest.csv":
            (own / path.name).symlink_to(path)
    (own / "manifest.csv").write_text("\n".join([f"{listed[0]},hospital", *rows]))
    parties = _divide([own], FederateOptions(), LocalOptions(2, "hospital"))
    assert {name: len(each) for name, each in parties.items()} == {"north": 8, "south": 8}
    assert {each.speaker for each in parties["north"]} & {each.speaker for each in parties["south"]}
    speakers = _divide([own], FederateOptions(), LocalOptions(4, "speaker"))
    assert sorted(map(len, speakers.values())) == [4, 4, 4, 4]
    with pytest.raises(CorpusError, match="has no column ward"):
        _divide([own], FederateOptions(), LocalOptions(2, "ward"))


def test_a_party_of_a_trial_gets_its_key_and_the_manifest_of_its_share(samples: Path, tmp_path: Path) -> None:
    shares = _divide([samples], FederateOptions(), LocalOptions(2, "speaker"))
    server = _prepare_parties(tmp_path, shares)
    assert sorted(read_public_keys(server.keys)) == sorted(shares)
    for name, utterances in shares.items():
        corpora = load_corpora([tmp_path / name / "manifest.csv"], FederateOptions().labels.reading)
        found = [each for corpus in corpora for each in corpus.utterances]
        assert {(each.path.name, each.emotion) for each in found} == {
            (each.path.name, each.emotion) for each in utterances
        }
    assert server.reach == "127.0.0.1"
    assert server.tls.certificate.is_file()


def test_what_parties_cannot_train_is_refused_before_any_work(samples: Path, tmp_path: Path) -> None:
    options = FederateOptions(causal=True, architecture="lstm")
    with pytest.raises(ConfigError, match="a federated training starts anew"):
        federate([samples], output=tmp_path / "ours", options=options, local=LocalOptions(2))
    assert not (tmp_path / "ours").exists()
