"""`serctl augment`: changed copies of labelled recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import (
    CorpusArgument,
    QuietOption,
    SeedOption,
    app,
    console,
    progress_bar,
)
from serctl.cli._batch import SummaryJsonOption, check_summary_json, finish
from serctl.cli._flags import WORKERS, Given, command, flags
from serctl.errors import ConfigError
from serctl.extras import require_extra
from serctl.texts import counted

if TYPE_CHECKING:
    from serctl.transforms.parameters import Transform
    from serctl.verbs.augment import AugmentSummary


@command(
    app,
    "serctl augment ./corpus -o ./augmented --copies 2 --seed 7",
    "serctl augment ./corpus -o ./faster --speed 0.9:1.1 --noise-snr 10:20",
    "serctl augment ./corpus -o ./masked --mask-width 0.2 --masks 2 --include-originals",
    "serctl augment ./corpus -o ./calls --room 0.2:0.6 --telephone",
    "serctl augment ./corpus -o ./offices --babble-dir ./recordings --babble-snr 5:15",
    "serctl augment ./corpus -o ./other-speakers --vocal-tract 0.85:1.18 --copies 3",
    "serctl augment ./corpus -o ./compressed --level -30:0 --codec 16:32",
)
@flags(*WORKERS, "resume", "overwrite")
def augment(
    given: Given,
    corpora: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the copies and their manifest.csv.")],
    copies: Annotated[int, typer.Option(min=1, help="Copies of each utterance.")] = 1,
    speed: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH", help="Change the speed by a factor from this range (0.1 to 10).", show_default=False
        ),
    ] = None,
    vocal_tract: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Change vocal tract length and pitch, each by a factor from this range (0.5 to 2): other speakers.",
            show_default=False,
        ),
    ] = None,
    room: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Add the reverberation of a room: RT60 in seconds from this range (0.05 to 10).",
            show_default=False,
        ),
    ] = None,
    noise_snr: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH", help="Add noise at an SNR in dB from this range.", show_default=False),
    ] = None,
    noise_dir: Annotated[
        Path | None,
        typer.Option(
            help="Use the noise recordings in this folder. Default: white Gaussian noise.", show_default=False
        ),
    ] = None,
    babble_dir: Annotated[
        Path | None,
        typer.Option(help="Add voices in the background: several at once, from the recordings in this folder."),
    ] = None,
    babble_snr: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH", help="SNR in dB of these voices. Default: 10:20.", show_default=False),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Change the level by dB from this range (-100 to 60); what exceeds full scale is clipped.",
            show_default=False,
        ),
    ] = None,
    telephone: Annotated[
        bool,
        typer.Option("--telephone", help="Simulate a telephone line: 300 to 3400 Hz, mu-law or GSM."),
    ] = False,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Encode as MP3 or Opus at a bit rate in kbit/s from this range (6 to 256).",
            show_default=False,
        ),
    ] = None,
    mask_width: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Mask bands up to this share of the band: 0.2 if masks are on."),
    ] = None,
    mask_time: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Mask stretches up to this share of the duration: 0.1 if masks are on."),
    ] = None,
    masks: Annotated[
        int | None,
        typer.Option(min=1, help="Number of masked bands, and of masked stretches: 2 if masks are on."),
    ] = None,
    include_originals: Annotated[
        bool,
        typer.Option("--include-originals", help="List the originals in the manifest too; they stay where they are."),
    ] = False,
    seed: SeedOption = 0,
    summary_json: SummaryJsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write changed copies of labelled recordings.

    The copies are mono WAV, changed in this order: speed, vocal tract and pitch, room, noise, babble, level,
    telephone, codec, masked bands and stretches. A change is made if one of its options is given; with none of them,
    three: speed 0.9:1.1, noise at 10:20 dB and 2 masks. Utterances marked test are not copied. The output folder is a
    corpus: its manifest keeps the labels and says how each copy was made. Exit code: 0 all good, 2 wrong usage, 3 some
    utterances failed, 4 none succeeded.
    """
    require_extra("train", "augmentation")
    from serctl.verbs import augment as verb
    from serctl.verbs.copies import MANIFEST

    check_summary_json(summary_json, output)
    chosen = (
        *_speed(speed),
        *_vocal_tract(vocal_tract),
        *_room(room),
        *_noise(noise_snr, noise_dir),
        *_babble(babble_snr, babble_dir),
        *_level(level),
        *_telephone(on=telephone),
        *_codec(codec),
        *_masks(count=masks, width=mask_width, time_width=mask_time),
    )
    defaults = verb.AugmentOptions()
    options = verb.AugmentOptions(
        copies=copies, transforms=chosen or defaults.transforms, seed=seed, include_originals=include_originals
    )
    with progress_bar("Augmenting", quiet=quiet, unit="utterances") as progress:
        summary = verb.augment(
            corpora,
            output=output,
            options=options,
            run=given.run(progress),
        )
    if not quiet:
        _print_counts(summary)
    finish(summary, verb="Augmented", output=output / MANIFEST, summary_json=summary_json, quiet=quiet)


def parse_range(text: str, option: str) -> tuple[float, float]:
    """The two numbers of LOW:HIGH. Raises ConfigError, naming the option, for anything else."""
    low, colon, high = text.partition(":")
    try:
        if colon:
            return float(low), float(high)
    except ValueError:
        pass
    raise ConfigError(f"expected {option} LOW:HIGH, two numbers such as 0.9:1.1 or 10:20. Received: {text!r}")


def _speed(text: str | None) -> list[Transform]:
    from serctl.transforms.speed import Speed

    return [] if text is None else [Speed(*parse_range(text, "--speed"))]


def _vocal_tract(text: str | None) -> list[Transform]:
    from serctl.transforms.vocal_tract import VocalTract

    return [] if text is None else [VocalTract(*(2 * parse_range(text, "--vocal-tract")))]


def _room(text: str | None) -> list[Transform]:
    from serctl.transforms.room import Room

    return [] if text is None else [Room(*parse_range(text, "--room"))]


def _level(text: str | None) -> list[Transform]:
    from serctl.transforms.level import Level

    return [] if text is None else [Level(*parse_range(text, "--level"))]


def _telephone(*, on: bool) -> list[Transform]:
    from serctl.transforms.telephone import Telephone

    return [Telephone(("mulaw", "gsm"))] if on else []


def _codec(text: str | None) -> list[Transform]:
    from serctl.transforms.codec import Codec

    return [] if text is None else [Codec(("mp3", "opus"), *parse_range(text, "--codec"))]


def _noise(text: str | None, folder: Path | None) -> list[Transform]:
    from serctl.learning.values import recordings_in
    from serctl.transforms.noise import Noise

    if text is None and folder is None:
        return []
    files = recordings_in(str(folder)) if folder else ()
    return [Noise(noise_files=files) if text is None else Noise(*parse_range(text, "--noise-snr"), files)]


def _babble(text: str | None, folder: Path | None) -> list[Transform]:
    from serctl.learning.values import recordings_in
    from serctl.transforms.babble import Babble

    if folder is None:
        if text is not None:
            raise ConfigError("--babble-snr is for voices in the background: expected --babble-dir DIR with it")
        return []
    voices = recordings_in(str(folder))
    return [Babble(voices) if text is None else Babble(voices, *parse_range(text, "--babble-snr"))]


def _masks(*, count: int | None, width: float | None, time_width: float | None) -> list[Transform]:
    from serctl.transforms.spectral_mask import SpectralMask

    given = {"masks": count, "width": width, "time_width": time_width}
    chosen = {name: value for name, value in given.items() if value is not None}
    return [SpectralMask(**chosen)] if chosen else []  # type: ignore[arg-type]


def _print_counts(summary: AugmentSummary) -> None:
    out = console()
    out.print(f"{summary.copies} {'copy' if summary.copies == 1 else 'copies'}", markup=False)
    if summary.test_utterances:
        out.print(f"left alone: {counted(summary.test_utterances, 'utterance marked test')}", markup=False)
    if summary.problems:
        out.print(
            f"passed over: {counted(summary.problems, 'problem in the corpora')}; see `serctl corpus scan`",
            markup=False,
        )
