"""Flower's own processes: a SuperLink, and a party with its SuperNode in another process, over TLS with its key."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.learning.federated import flower
from serctl.learning.federated.keys import LOOPBACK, make_certificate, make_key, read_public_keys

if TYPE_CHECKING:
    from collections.abc import Callable

PARTY = """
import sys
from pathlib import Path
import numpy as np

from serctl.learning.federated import flower

folder, server = Path(sys.argv[1]), sys.argv[2]
flower.prepare(folder / "home")
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    value = message.content["config"]["value"]
    if value == 0:
        raise ValueError("no")
    return Message(RecordDict({"metrics": MetricRecord({"twice": 2 * value})}), reply_to=message)

with flower.supernode(folder, server, ca=folder / "server.pem", key=folder / "north.key") as link:
    flower.run_client_tasks(app, link, alive=lambda: True)
"""


def wait_for(condition: Callable[[], object], within_s: float = 60) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def processes_that_name(path: Path) -> list[str]:
    """Command lines of this machine's processes that name a path."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(path) in line:
            found.append(line)
    return found


def refusal(address: str, certificate: Path) -> tuple[int, bytes]:
    """What the control interface of a SuperLink answers to somebody who does not know the secret."""
    asked = urllib.request.Request(f"https://{address}/v1/control/start-run", data=b"", method="POST")
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(asked, context=ssl.create_default_context(cafile=certificate))
    return found.value.code, found.value.read()


def test_a_party_answers_over_tls_and_its_node_dies_with_it(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, LOOPBACK)
    make_key(tmp_path / "north.key")
    flower.prepare(tmp_path / "home")
    from flwr.app import ConfigRecord, Message, RecordDict

    tls = flower.Tls(certificate, tmp_path / "server.key", certificate)
    port = flower.free_port()
    with (
        flower.superlink(tmp_path, LOOPBACK, port, tls=tls, reach=LOOPBACK) as link,
        flower.server_grid(link, read_public_keys(tmp_path)) as (grid, names),
    ):
        assert refusal(link.address, certificate) == (403, b"not for parties")
        command = [sys.executable, "-c", PARTY, str(tmp_path), link.address]
        with subprocess.Popen(command, env={**flower.own_code()}) as party:
            wait_for(lambda: list(grid.get_node_ids()))
            (node,) = grid.get_node_ids()
            assert names == {node: "north"}
            for value in (21, 0):
                content = RecordDict({"config": ConfigRecord({"value": value})})
                sent = list(grid.push_messages([Message(content, node, "train")]))
                found: list[Message] = []
                wait_for(lambda: found.extend(grid.pull_messages(sent)) or found)  # noqa: B023 - it is done here
                if value:
                    assert found[0].content["metrics"]["twice"] == 42
                else:
                    assert found[0].error.reason == "ValueError: no"
            party.kill()
        wait_for(lambda: not [each for each in processes_that_name(tmp_path) if "supernode.secret" in each])
        wait_for(lambda: not list(grid.get_node_ids()))
    assert processes_that_name(tmp_path) == []


def test_arrays_travel_as_one_and_arrive_as_they_were() -> None:
    from flwr.app import ConfigRecord, RecordDict

    from serctl.learning.federated.packing import pack, unpack
    from serctl.learning.federated.strategies import from_record, to_record

    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([2.5]), np.zeros(0, np.int64)]
    content = RecordDict({"weights": to_record(arrays), "scores": to_record([]), "config": ConfigRecord({"round": 3})})
    packed = pack(content)
    assert sum(len(each) for each in packed.array_records.values()) == 1
    found = unpack(packed)
    assert found["config"]["round"] == 3
    assert from_record(found["scores"]) == []
    for sent, received in zip(arrays, from_record(found["weights"]), strict=True):
        assert (sent.dtype, sent.shape) == (received.dtype, received.shape)
        np.testing.assert_array_equal(sent, received)
    packed["layout"]["json"] = packed["layout"]["json"].replace("[2, 3]", "[2, 4000]")
    assert "weights" not in unpack(packed)  # whoever reads it finds nothing of use
