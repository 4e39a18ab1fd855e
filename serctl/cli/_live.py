"""The live view of a stream: the present emotion, a bar for each, and the last minute as a strip."""

from __future__ import annotations

from collections import Counter, deque
from itertools import cycle
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from serctl.cli._terminal import cell, make_console, terminal_text
from serctl.reports.schema import NO_SPEECH

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from serctl.live.stream import StepPrediction

COLOURS = {
    "angry": "red",
    "happy": "yellow",
    "sad": "blue",
    "fearful": "magenta",
    "disgust": "green",
    "surprised": "cyan",
    "neutral": "white",
    "calm": "bright_green",
}
OTHER_COLOURS = ("bright_red", "bright_blue", "bright_magenta", "bright_cyan", "bright_yellow")
FRAMES_PER_S = 10
BAR_CELLS = 30
STRIP_S = 60


class LiveView:
    """Shows predictions on a terminal as they come; a context manager, the last picture stays when it ends."""

    def __init__(self, labels: tuple[str, ...], console: Console | None = None) -> None:
        self._labels = labels
        others = cycle(OTHER_COLOURS)
        self._colours = {label: COLOURS.get(label) or next(others) for label in labels}
        self._letters = _letters(labels)
        self._seconds: deque[Counter[str]] = deque(maxlen=STRIP_S)
        self._second = -1
        self._live = Live(
            console=console or make_console(), auto_refresh=False, vertical_overflow="crop", transient=False
        )
        self._latest: StepPrediction | None = None
        self._drawn_s = float("-inf")

    def __enter__(self) -> LiveView:
        self._live.start()
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw()
        self._live.stop()

    def show(self, prediction: StepPrediction) -> None:
        """Take a prediction in; the picture is drawn anew at most a few times a second."""
        self._latest = prediction
        while self._second < int(prediction.time_s):
            self._second += 1
            self._seconds.append(Counter())
        self._seconds[-1][prediction.emotion] += 1
        now = self._live.console.get_time()
        if now - self._drawn_s >= 1 / FRAMES_PER_S:
            self._drawn_s = now
            self._draw()

    def picture(self) -> Group:
        """What is on the screen."""
        latest = self._latest
        if latest is None:
            return Group(Text("waiting for sound", style="dim"))
        minutes, seconds = divmod(latest.time_s, 60)
        title = Text.assemble(
            (f"{terminal_text(latest.emotion):<12}", f"bold {self._colours.get(latest.emotion, 'dim')}"),
            (f" {int(minutes):02d}:{seconds:04.1f}   predicted in {1000 * latest.latency_s:.1f} ms", "dim"),
        )
        return Group(title, Text(), self._bars(latest), Text(), self._strip())

    def _draw(self) -> None:
        self._live.update(self.picture(), refresh=True)

    def _bars(self, latest: StepPrediction) -> Table:
        grid = Table.grid(padding=(0, 1))
        for label, share in zip(self._labels, latest.probabilities.tolist(), strict=True):
            known = share == share  # NaN without speech
            bar = "\u2588" * round(BAR_CELLS * share) if known else ""
            shown = f"{100 * share:3.0f} %" if known else ""
            letter = Text(self._letters[label], style=f"black on {self._colours[label]}")
            grid.add_row(letter, cell(label), Text(f"{bar:<{BAR_CELLS}}", style=self._colours[label]), Text(shown))
        return grid

    def _strip(self) -> Text:
        """A cell for every second of the last minute: the emotion that it mostly held, by colour and letter."""
        strip = Text.assemble(("last minute  ", "dim"))
        for counts in self._seconds:
            spoken = Counter({emotion: count for emotion, count in counts.items() if emotion != NO_SPEECH})
            if spoken:
                emotion = spoken.most_common(1)[0][0]
                strip.append(self._letters[emotion], style=f"black on {self._colours[emotion]}")
            else:
                strip.append("\u00b7", style="dim")
        return strip


def _letters(labels: tuple[str, ...]) -> dict[str, str]:
    """A letter of its own for each label, one that it contains where there is one left."""
    taken: dict[str, str] = {}
    for label in labels:
        free = [letter for letter in label if letter.isprintable() and letter not in taken.values()]
        taken[label] = free[0] if free else "?"
    return taken
