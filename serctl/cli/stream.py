"""`serctl stream`: emotions while speech goes on, a line of JSON for every step."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from serctl.cli._app import app
from serctl.cli._listen import IdleOption, ListenOption, MaxConnectionsOption, TokenOption, run_server
from serctl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Pieces = Iterable[NDArray[np.float32]]


@app.command()
def stream(
    *,
    source: Annotated[
        Optional[str],  # noqa: UP045 - typer reads this at run time on Python 3.10
        typer.Argument(help="A recording, or - for raw samples on stdin.", metavar="FILE|-"),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A causal model, as `serctl train --arch lstm --causal` makes it.")
    ],
    window: Annotated[float, typer.Option(help="Seconds of answers that a judgement averages.")] = 0.5,
    hop: Annotated[float, typer.Option(help="Seconds from one judgement to the next.")] = 0.1,
    hysteresis: Annotated[
        float, typer.Option(min=0, max=0.99, help="How much likelier another emotion must be to take over.")
    ] = 0.0,
    every: Annotated[
        Literal["step", "change"], typer.Option(help="A line for every step, or only where the emotion changes.")
    ] = "step",
    realtime: Annotated[bool, typer.Option("--realtime", help="Play a recording at its own pace.")] = False,
    sample_format: Annotated[str, typer.Option("--format", help="Of raw samples: s16le, s32le or f32le.")] = "s16le",
    rate: Annotated[int, typer.Option(help="Of raw samples, mono, in Hz.")] = 16_000,
    listen: ListenOption = None,
    token: TokenOption = None,
    max_connections: MaxConnectionsOption = 64,
    idle: IdleOption = 30.0,
) -> None:
    """Judge speech while it goes on: one line of JSON for every step, silence as no-speech.

    Anything else comes through a pipe: ffmpeg -i talk.mp4 -f s16le -ac 1 -ar 16000 - | serctl stream - -m ./live-model

    Example: serctl stream ./talk.wav --model ./live-model
    """
    from serctl.bundle import load_bundle
    from serctl.pipeline import stream as pipeline
    from serctl.runtime import StepRecogniser

    _check_source(source, listen, realtime=realtime)
    options = pipeline.StreamOptions(window, hop, hysteresis)
    recogniser = StepRecogniser(load_bundle(model))
    facts = recogniser.bundle.facts
    if listen is not None:
        from serctl.pipeline.listen import ListenOptions, parse_address

        host, port = parse_address(listen)
        listening = ListenOptions(
            host,
            port,
            stream=options,
            sample_format=sample_format,
            rate=rate,
            every=every,
            token=token,
            max_connections=max_connections,
            idle_s=idle,
        )
        run_server(recogniser, listening)
        return
    speech = pipeline.SpeechStream(recogniser, options)
    if source == "-":
        if realtime:
            raise ConfigError("--realtime is for recordings: what comes through a pipe has its own pace")
        if sys.stdin is None:
            raise ConfigError("expected raw samples on stdin, which is closed")
        decoder = pipeline.PcmDecoder(sample_format=sample_format, rate=rate, to_rate=facts.features.sample_rate)
        pieces: Pieces = pipeline.samples_of_pipe(sys.stdin.buffer, decoder)
    else:
        pieces = pipeline.samples_of_file(Path(str(source)), rate=facts.features.sample_rate, piece_s=hop)
    said = None
    for samples in _paced(pieces, facts.features.sample_rate) if realtime else pieces:
        for judgement in speech.push(samples):
            if every == "step" or judgement.emotion != said:
                print(json.dumps(judgement.to_dict(facts.labels)), flush=True)  # noqa: T201 - the report itself
            said = judgement.emotion


def _check_source(source: str | None, listen: str | None, *, realtime: bool) -> None:
    if (source is None) == (listen is None):
        raise ConfigError("expected one source: a FILE, - for raw samples on stdin, or --listen HOST:PORT")
    if realtime and listen is not None:
        raise ConfigError("--realtime is for recordings: what comes to --listen has its own pace")


def _paced(pieces: Pieces, rate: int) -> Iterator[NDArray[np.float32]]:
    """Each piece no sooner than its last sample would have been spoken."""
    start = time.perf_counter()
    spoken_s = 0.0
    for samples in pieces:
        spoken_s += len(samples) / rate
        time.sleep(max(start + spoken_s - time.perf_counter(), 0.0))
        yield samples
