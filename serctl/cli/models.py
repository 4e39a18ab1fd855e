"""`serctl models`: which models there are, and what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import command_group
from serctl.cli._flags import command
from serctl.cli._terminal import make_console, terminal_text

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle

models_app = command_group("models", "List models and show their labels, scores and licence.")


@command(models_app, "serctl models list", name="list")
def list_models() -> None:
    """List the bundled models and the architectures that can be trained."""
    from serctl.bundle.store import DEFAULT_MODEL, LIVE_MODEL, bundled_models, load_bundle
    from serctl.models import ARCHITECTURES

    out = make_console(soft_wrap=True)
    out.print("Bundled models:")
    for name in bundled_models():
        facts = load_bundle(name).facts
        default = {DEFAULT_MODEL: " (default)", LIVE_MODEL: " (default of stream)"}.get(name, "")
        out.print(f"  {name}{default}: {', '.join(facts.labels)}; weights {facts.licence}", markup=False)
    out.print(f"Architectures: {', '.join(ARCHITECTURES)}")


@command(models_app, "serctl models info", "serctl models info serctl-live")
def info(
    model: Annotated[
        str | None,
        typer.Argument(help="A bundled model's name or a bundle's folder. Default: the bundled model."),
    ] = None,
) -> None:
    """Verify a model and print its card.

    The card names the training data, the scores with their protocol, the limits and the licence.
    """
    from rich.markdown import Markdown

    from serctl.bundle.facts import CARD
    from serctl.bundle.store import DEFAULT_MODEL, load_bundle

    bundle = load_bundle(model or DEFAULT_MODEL)
    out = make_console(soft_wrap=True)
    card = (bundle.folder / CARD).read_text(encoding="utf-8")
    out.print(Markdown(terminal_text(card)) if out.is_terminal else card, markup=False)
    out.print(_files(bundle), markup=False)


def _files(bundle: Bundle) -> str:
    size = sum(path.stat().st_size for path in bundle.folder.iterdir() if path.is_file())
    return f"{bundle.identity}: every file verified, {size / 1e6:.1f} MB in {bundle.folder}"
