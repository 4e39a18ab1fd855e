"""`serctl stream --listen`: its options, and the server's life from the first line on stderr to Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._terminal import terminal_text

if TYPE_CHECKING:
    from serctl.live.options import ListenOptions
    from serctl.runtime.step import StepRecogniser

_STOPPED = "stopped by SIGTERM"

ListenOption = Annotated[
    str | None,
    typer.Option(
        help="Serve many streams, raw samples over TCP or WebSocket; port 0 takes a free one.",
        metavar="HOST:PORT",
        show_default=False,
        rich_help_panel="Server",
    ),
]


def run_server(recogniser: StepRecogniser, options: ListenOptions) -> None:
    """Serve until SIGTERM, which ends it in good order, or Ctrl-C.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        ConfigError: it cannot listen.
    """
    import asyncio  # takes longer to load than all of --help

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(_serve(recogniser, options))
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (_STOPPED,):
            raise KeyboardInterrupt from cancelled
    finally:
        for number, handler in handlers.items():  # which asyncio does not put back
            signal.signal(number, handler)


async def _serve(recogniser: StepRecogniser, options: ListenOptions) -> None:
    import asyncio

    from serctl.live.server import serve

    serving = asyncio.ensure_future(serve(recogniser, options, started=_say_where, log=_say))
    with contextlib.suppress(NotImplementedError):  # on Windows, where Ctrl-C comes without it
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, serving.cancel)
        loop.add_signal_handler(signal.SIGTERM, serving.cancel, _STOPPED)
    await serving


def _say_where(addresses: list[tuple[str, int]]) -> None:
    from serctl.live.addresses import format_address

    for address in addresses:
        _say(f"listening on {format_address(address)}")


def _say(message: str) -> None:
    typer.echo(terminal_text(message), err=True)
