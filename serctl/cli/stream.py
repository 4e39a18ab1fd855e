"""`serctl stream`: emotions while speech goes on, a line of JSON for every step."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import app
from serctl.cli._flags import Given, command, flags
from serctl.cli._listen import ListenOption, run_server
from serctl.errors import ConfigError
from serctl.live.options import ListenOptions, StreamOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serctl.live.stream import StepPrediction
    from serctl.runtime.step import StepRecogniser

    Pieces = Iterable[NDArray[np.float32]]


@command(
    app,
    "serctl stream recording.wav",
    "serctl stream recording.wav --every change --hysteresis 0.1",
    "ffmpeg -i talk.mp4 -f s16le -ac 1 -ar 16000 - | serctl stream -",
    "serctl stream --mic",
    "serctl stream --listen 127.0.0.1:7700",
)
@flags(Answers=StreamOptions, Server=ListenOptions)
def stream(
    given: Given,
    source: Annotated[
        str | None,
        typer.Argument(help="A recording, or - for raw samples on stdin.", metavar="FILE|-"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A causal model (`train --arch lstm --causal`). Default: the bundled one."),
    ] = None,
    mic: Annotated[bool, typer.Option("--mic", help="Listen to the microphone until Ctrl-C.")] = False,
    device: Annotated[
        str | None,
        typer.Option(help="The microphone, by number or name; `python -m sounddevice` lists them.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Lines of JSON where a terminal would show the live view.")
    ] = False,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Read a recording at its own speed, as if it were live.")
    ] = False,
    listen: ListenOption = None,
) -> None:
    """Predict emotions in live speech.

    Every step gives one line of JSON; silence is no-speech. On a terminal, live speech is shown as a live view;
    with --json, as lines there too.
    """
    _check_sources(source, listen, mic=mic, device=device, realtime=realtime)
    if listen is not None:
        _serve(listen, given, model)
        return
    if source != "-" and (given["sample_format"], given["rate"]) != (None, None):
        raise ConfigError("--format and --rate describe raw samples: expected - or --listen with them")
    raw = given.make(ListenOptions)
    options = given.make(StreamOptions)
    recogniser = _recogniser(model)
    facts = recogniser.bundle.facts
    if mic:
        pieces = _heard(device, facts.features.sample_rate)
    elif source == "-":
        pieces = _piped(raw.sample_format, raw.rate, facts.features.sample_rate)
    else:
        pieces = _recorded(Path(str(source)), facts.features.sample_rate, options.hop_s, realtime=realtime)
    is_live = mic or source == "-" or realtime
    with _output(facts.labels, raw.every, as_view=is_live and not as_json and _can_draw()) as show:
        _follow(pieces, recogniser, options, show, endless=mic)


def _serve(address: str, given: Given, model: str | None) -> None:
    """Serve many streams until Ctrl-C."""
    from serctl.live.addresses import parse_address

    host, port = parse_address(address)
    options = given.make(ListenOptions, host=host, port=port, stream=given.make(StreamOptions))
    run_server(_recogniser(model), options)


def _follow(
    pieces: Pieces,
    recogniser: StepRecogniser,
    options: StreamOptions,
    show: Callable[[StepPrediction], None],
    *,
    endless: bool,
) -> None:
    """Show the answers of one stream; endless: Ctrl-C is how it ends, and no error."""
    from serctl.live.stream import SpeechStream

    speech = SpeechStream(recogniser, options)
    with suppress(KeyboardInterrupt) if endless else nullcontext():
        for samples in pieces:
            for prediction in speech.push(samples):
                show(prediction)


def _recogniser(model: str | None) -> StepRecogniser:
    from serctl.bundle.store import LIVE_MODEL, load_bundle
    from serctl.runtime.step import StepRecogniser
    from serctl.runtime.trial import try_network

    bundle = load_bundle(model or LIVE_MODEL)
    bundle.facts.require_emotions("a stream")
    try_network(bundle)
    return StepRecogniser(bundle)


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
def _output(labels: tuple[str, ...], every: str, *, as_view: bool) -> Iterator[Callable[[StepPrediction], None]]:
    """What to do with each prediction: a live view for a person, lines of JSON for a pipe."""
    if as_view:
        from serctl.cli._live import LiveView

        with LiveView(labels) as view:
            yield view.show
    else:
        yield _line_printer(labels, every)


def _line_printer(labels: tuple[str, ...], every: str) -> Callable[[StepPrediction], None]:
    said = None

    def show(prediction: StepPrediction) -> None:
        nonlocal said
        if every == "step" or prediction.emotion != said:
            print(json.dumps(prediction.to_dict(labels)), flush=True)  # noqa: T201 - the report itself
        said = prediction.emotion

    return show


def _paced(pieces: Pieces, rate: int) -> Iterator[NDArray[np.float32]]:
    """Each piece no sooner than its last sample would have been spoken."""
    start = time.perf_counter()
    spoken_s = 0.0
    for samples in pieces:
        spoken_s += len(samples) / rate
        time.sleep(max(start + spoken_s - time.perf_counter(), 0.0))
        yield samples
