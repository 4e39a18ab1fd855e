"""serctl federate: one model of several parties, whose recordings stay where they are.

`serctl federate CORPUS... -o MODEL` is short for `serctl federate local CORPUS... -o MODEL`.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serctl.cli._app import CorpusArgument, QuietOption, command_group, console, progress_bar
from serctl.cli._flags import Given, command, flags
from serctl.cli._learning import command_line, duration, keeping, make_recipe, next_use, print_step
from serctl.extras import require_extra
from serctl.learning.federated.plan import FederationOptions
from serctl.learning.options import Augmentation, FitOptions, LabelOptions, NetworkOptions, RecordOptions
from serctl.options import some_options
from serctl.run import Progress, ProgressCallback, ignore_progress
from serctl.verbs.federate import FederateOptions, LocalOptions, ServerOptions
from serctl.verbs.party import PartyOptions

if TYPE_CHECKING:
    import click

    from serctl.learning.federated.outcome import RoundCallback, RoundScores
    from serctl.verbs.federated_bundle import FederateResult

DEFAULT = "local"
"""The command that is meant where the first word is none."""

_MODEL: dict[str, Any] = {
    "Network": some_options(NetworkOptions, "architecture", "validation_share"),
    "Labels": some_options(LabelOptions, "classes", "mapping"),
    "Fit": some_options(FitOptions, *("patience", "batch_size", "lr", "weight_decay", "mixup", "specaugment", "seed")),
    "Augmentation": some_options(
        Augmentation, *("copies", "noisy_copies", "degraded_copies", "vocal_tract_copies", "seed")
    ),
    "Record": some_options(RecordOptions, "name", "licence"),
}
"""What a model that parties train can be asked for."""

_PRIVACY = ("secure", "epsilon", "delta", "clip", "local_privacy")
_FEDERATION = some_options(FederationOptions, *_PRIVACY, *("rounds", "strategy", "local_epochs", "proximal", "round_s"))
"""Options of a federation, without those that only parties on other machines need."""


class _Federations(typer.core.TyperGroup):
    """A group in which a corpus may stand where a command is expected."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


federate_app = command_group(
    "federate", "Train one model with several parties that keep their recordings.", kind=_Federations
)


@command(
    federate_app,
    "serctl federate local ./corpus -o ./our-model --parties 2 --rounds 30",
    "serctl federate local ./corpus -o ./our-model --parties 2 --by gender --strategy fedprox --overwrite",
    name=DEFAULT,
)
@flags("resume", "overwrite", "cache", Parties=LocalOptions, Federation=_FEDERATION, **_MODEL)
def local(
    given: Given,
    corpora: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle to write.")],
    quiet: QuietOption = False,
) -> None:
    """Try it on this machine, with a process for each party.

    The corpora are divided among the parties. It works as between machines: every party reads its own share only, and
    messages go over TLS on loopback. An interrupted run leaves its rounds in OUTPUT.partial, and --resume continues
    from there. `serctl federate server` and `serctl federate party` are for real parties.
    """
    _start()
    from serctl.verbs import federate as verb

    where = given.make(LocalOptions)
    federation = given.make(FederationOptions, least_parties=max(2, where.parties - 1))
    options = make_recipe(given, FederateOptions, command=command_line(), federation=federation)
    with keeping(output, "the finished rounds"):
        result = verb.federate(
            corpora,
            output=output,
            options=options,
            local=where,
            run=given.run(ignore_progress),
            on_round=_round_printer(quiet=quiet),
        )
    _print_result(result, quiet=quiet)


@command(
    federate_app,
    "serctl federate server --listen training.example:8443 --keys ./keys -o ./our-model",
)
@flags("resume", "overwrite", Server=ServerOptions, Federation=FederationOptions, **_MODEL)
def server(
    given: Given,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle to write.")],
    quiet: QuietOption = False,
) -> None:
    """Run the server that parties train with.

    It joins their updates into one model. It waits for the parties whose public keys are in --keys, and continues
    without those that stay away, as long as --least-parties are there. Every round is saved in OUTPUT.partial; after a
    crash, the same command with --resume goes on from there, and the parties connect again by themselves.
    """
    _start()
    from serctl.verbs import federate as verb

    where = given.make(ServerOptions)
    options = make_recipe(given, FederateOptions, command=command_line(), federation=given.make(FederationOptions))
    if not quiet:
        console().print(f"waiting for parties at {where.listen}", markup=False)
    with keeping(output, "the finished rounds"):
        result = verb.serve(
            output=output,
            options=options,
            server=where,
            run=given.run(ignore_progress),
            on_round=_round_printer(quiet=quiet),
        )
    _print_result(result, quiet=quiet)


@command(
    federate_app,
    "serctl federate party ./corpus --server training.example:8443 --ca server.pem --key north.key",
)
@flags("jobs", "cache", Party=PartyOptions)
def party(given: Given, corpora: CorpusArgument, quiet: QuietOption = False) -> None:
    """Take part, with recordings that stay on this machine.

    What leaves this machine: counts of utterances and emotions, sums of features, and in every round the weights of
    the network. It connects again by itself after a lost connection, and ends when the server says so.
    """
    _start()
    from serctl.verbs.party import take_part

    out = console()

    def tell(sentence: str) -> None:
        if not quiet:
            out.print(sentence, markup=False)

    with ExitStack() as stack:
        bars: list[ProgressCallback] = []

        def progress(done: Progress) -> None:
            if not bars:  # it extracts when the server asks, not before
                bars.append(stack.enter_context(progress_bar("Extracting", quiet=quiet)))
            bars[0](done)

        take_part(corpora, options=given.make(PartyOptions), run=given.run(progress), tell=tell)


@command(federate_app, "serctl federate key north.key")
@flags("overwrite")
def key(
    given: Given,
    path: Annotated[Path, typer.Argument(help="Private key to write, NAME.key; NAME is the name of the party.")],
    quiet: QuietOption = False,
) -> None:
    """Make the key of a party.

    NAME.key is secret and stays with the party; NAME.pub goes to the operator of the server.
    """
    require_extra("federated", "federated training")
    from serctl.learning.federated.keys import make_key

    public = make_key(path, overwrite=bool(given["overwrite"]))
    if not quiet:
        console().print(f"secret, stays here: {path}\nfor the operator of the server: {public}", markup=False)


@command(federate_app, "serctl federate certificate training.example -o ./tls")
@flags("overwrite")
def certificate(
    given: Given,
    host: Annotated[str, typer.Argument(help="Name or address by which the parties reach the server.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for server.pem and server.key.")],
    quiet: QuietOption = False,
) -> None:
    """Make the certificate of a server.

    server.key is secret and stays there; server.pem goes to every party.
    """
    require_extra("federated", "federated training")
    from serctl.learning.federated.keys import make_certificate

    path = make_certificate(output, host, overwrite=bool(given["overwrite"]))
    if not quiet:
        console().print(f"secret, stays here: {output / 'server.key'}\nfor the parties: {path}", markup=False)


def _start() -> None:
    """Import what trains, or say what is missing."""
    require_extra("federated", "federated training")
    from serctl.learning.backend import start_training

    start_training("federated training")


def _round_printer(*, quiet: bool) -> RoundCallback:
    """Shows a line for every round; see print_step."""
    import time

    out = console()
    last = time.perf_counter()

    def show(scores: RoundScores) -> None:
        nonlocal last
        now = time.perf_counter()
        left = duration((now - last) * (scores.rounds - scores.number))
        last = now
        # The parties score the weights that a round starts from; there are none to score before the first.
        known = not math.isnan(scores.val_uar)
        score = f"  UAR after round {scores.number - 1}: {100 * scores.val_uar:.1f} %" if known else ""
        line = (
            f"  round {scores.number:3d}/{scores.rounds}  loss {scores.loss:.3f}{score}  "
            f"{len(scores.parties)} parties; {left} left  "
        )
        for name, reason in scores.refused.items():
            out.print(f"  round {scores.number}: refused {name}: {reason}", style="yellow", markup=False)
        print_step(out, line, scores.number, scores.rounds)

    def ignore(scores: RoundScores) -> None:
        """Show nothing."""

    return ignore if quiet else show


def _print_result(result: FederateResult, *, quiet: bool) -> None:
    if quiet:
        return
    out, facts, scores = console(), result.facts, result.scores
    made = facts.training.federation
    parties = made.parties if made else ()
    lines = [
        f"Trained {facts.architecture} ({facts.parameters:,} parameters) with {len(parties)} parties, "
        f"best round {result.federated.best_round}",
        *(
            f"  {each.name}: {each.utterances} utterances, {each.rounds} rounds, "
            f"{sum(each.sent.values()) / 1e6:.1f} MB left it"
            for each in parties
        ),
        *(f"refused: {each}" for each in (made.refused if made else ())),
        f"UAR on the held-out parts {100 * scores.uar:.1f} %, WA {100 * scores.wa:.1f} %, ECE {scores.ece:.3f}; "
        "optimistic: these parts selected the round",
        f"model: {result.folder}",
        f"next: serctl {next_use(result.folder, causal=False)}",
    ]
    for line in lines:
        out.print(line, markup=False)
