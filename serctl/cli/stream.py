"""`serctl stream`: emotions while speech goes on, a line of JSON for every step."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from serctl.cli._app import app
from serctl.cli._listen import IdleOption, ListenOption, MaxConnectionsOption, TokenOption, run_server
from serctl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serctl.live.stream import Judgement

    Pieces = Iterable[NDArray[np.float32]]


RAW_FORMAT, RAW_RATE = "s16le", 16_000


@app.command()
def stream(
    source: Annotated[
        Optional[str],  # noqa: UP045 - typer reads this at run time on Python 3.10
        typer.Argument(help="A recording, or - for raw samples on stdin.", metavar="FILE|-"),
    ] = None,
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--model", "-m", help="A causal model (`train --arch lstm --causal`). Default: the bundled one."),
    ] = None,
    mic: Annotated[bool, typer.Option("--mic", help="Listen to the microphone until Ctrl-C.")] = False,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The microphone, by number or name; `python -m sounddevice` lists them.", show_default=False),
    ] = None,
    window: Annotated[
        float, typer.Option(help="Seconds of answers that a judgement averages, from --hop to 60.")
    ] = 0.5,
    hop: Annotated[float, typer.Option(help="Seconds from one judgement to the next, at least 0.05.")] = 0.1,
    hysteresis: Annotated[
        float,
        typer.Option(min=0, max=0.99, help="How much higher another emotion's probability must be to take over."),
    ] = 0.0,
    every: Annotated[
        Literal["step", "change"], typer.Option(help="A line for every step, or only where the emotion changes.")
    ] = "step",
    as_json: Annotated[
        bool, typer.Option("--json", help="Lines of JSON where a terminal would show the live view.")
    ] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play a recording at its own pace.")] = False,
    sample_format: Annotated[
        Optional[Literal["s16le", "s32le", "f32le"]],  # noqa: UP045
        typer.Option("--format", help=f"Of raw samples on stdin or from clients. Default: {RAW_FORMAT}."),
    ] = None,
    rate: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help=f"Of raw samples, mono, in Hz, 4000 to 384000. Default: {RAW_RATE}."),
    ] = None,
    listen: ListenOption = None,
    token: TokenOption = None,
    max_connections: MaxConnectionsOption = 64,
    idle: IdleOption = 30.0,
) -> None:
    """Judge speech while it goes on: one line of JSON for every step, silence as no-speech.

    On a terminal, live speech is shown as a picture instead; --json prefers the lines. Anything else comes
    through a pipe: ffmpeg -i talk.mp4 -f s16le -ac 1 -ar 16000 - | serctl stream -

    Example: serctl stream ./talk.wav
    """
    from serctl.bundle.store import LIVE_MODEL, load_bundle
    from serctl.live import stream as verb
    from serctl.runtime.step import StepRecogniser

    _check_sources(source, listen, mic=mic, device=device, realtime=realtime)
    is_raw = source == "-" or listen is not None
    if not is_raw and (sample_format, rate) != (None, None):
        raise ConfigError("--format and --rate describe raw samples: expected - or --listen with them")
    raw_format: str = sample_format or RAW_FORMAT
    raw_rate = RAW_RATE if rate is None else rate
    options = verb.StreamOptions(window, hop, hysteresis)
    recogniser = StepRecogniser(load_bundle(model or LIVE_MODEL))
    facts = recogniser.bundle.facts
    if listen is not None:
        from serctl.live.server import ListenOptions, parse_address

        host, port = parse_address(listen)
        listening = ListenOptions(
            host,
            port,
            stream=options,
            sample_format=raw_format,
            rate=raw_rate,
            every=every,
            token=token,
            max_connections=max_connections,
            idle_s=idle,
        )
        run_server(recogniser, listening)
        return
    speech = verb.SpeechStream(recogniser, options)
    if mic:
        pieces = _heard(device, facts.features.sample_rate)
    elif source == "-":
        pieces = _piped(raw_format, raw_rate, facts.features.sample_rate)
    else:
        pieces = _recorded(Path(str(source)), facts.features.sample_rate, hop, realtime=realtime)
    # A microphone has no other end than Ctrl-C, which therefore is none to complain of.
    ending = suppress(KeyboardInterrupt) if mic else nullcontext()
    is_live = mic or source == "-" or realtime
    with _output(facts.labels, every, as_view=is_live and not as_json and _can_draw()) as show, ending:
        for samples in pieces:
            for judgement in speech.push(samples):
                show(judgement)


def _check_sources(source: str | None, listen: str | None, *, mic: bool, device: str | None, realtime: bool) -> None:
    if (source is not None) + (listen is not None) + mic != 1:
        raise ConfigError("expected one source: a FILE, - for raw samples on stdin, --mic, or --listen HOST:PORT")
    if device is not None and not mic:
        raise ConfigError("--device names a microphone: expected --mic with it")
    if realtime and (mic or listen or source == "-"):
        raise ConfigError("--realtime is for recordings: what comes from elsewhere has its own pace")


def _heard(device: str | None, to_rate: int) -> Pieces:
    from serctl.live.microphone import samples_of_microphone

    return samples_of_microphone(device, rate=to_rate)


def _piped(sample_format: str, rate: int, to_rate: int) -> Pieces:
    from serctl.audio.pcm import PcmDecoder, samples_of_pipe

    if sys.stdin is None:
        raise ConfigError("expected raw samples on stdin, which is closed")
    return samples_of_pipe(sys.stdin.buffer, PcmDecoder(sample_format=sample_format, rate=rate, to_rate=to_rate))


def _recorded(path: Path, to_rate: int, piece_s: float, *, realtime: bool) -> Pieces:
    from serctl.live.stream import samples_of_file

    pieces = samples_of_file(path, rate=to_rate, piece_s=piece_s)
    return _paced(pieces, to_rate) if realtime else pieces


def _can_draw() -> bool:
    """Whether a person looks on, at a terminal that can draw a picture anew."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


@contextmanager
def _output(labels: tuple[str, ...], every: str, *, as_view: bool) -> Iterator[Callable[[Judgement], None]]:
    """What to do with each judgement: a live view for a person, lines of JSON for a pipe."""
    if as_view:
        from serctl.cli._live import LiveView

        with LiveView(labels) as view:
            yield view.show
    else:
        yield _line_printer(labels, every)


def _line_printer(labels: tuple[str, ...], every: str) -> Callable[[Judgement], None]:
    said = None

    def show(judgement: Judgement) -> None:
        nonlocal said
        if every == "step" or judgement.emotion != said:
            print(json.dumps(judgement.to_dict(labels)), flush=True)  # noqa: T201 - the report itself
        said = judgement.emotion

    return show


def _paced(pieces: Pieces, rate: int) -> Iterator[NDArray[np.float32]]:
    """Each piece no sooner than its last sample would have been spoken."""
    start = time.perf_counter()
    spoken_s = 0.0
    for samples in pieces:
        spoken_s += len(samples) / rate
        time.sleep(max(start + spoken_s - time.perf_counter(), 0.0))
        yield samples
