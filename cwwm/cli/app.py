"""The owner's command line: cwwm keygen | plan | embed | extract | verify | dispute | inspect."""

from typing import NoReturn

import typer

from cwwm.cli.inspecting import inspect
from cwwm.cli.judging import dispute, extract, verify
from cwwm.cli.marking import embed, keygen
from cwwm.cli.planning import plan
from cwwm.support.console import run_program

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Hide a message in a checkpoint's weights, read it back, and prove ownership.

    Once: cwwm keygen -o owner.key

    Then: cwwm embed model.safetensors --key owner.key --message "it is mine" -o marked.safetensors

    Publish marked.commitment.json, release marked.safetensors, keep the key and marked.mark.json.

    Later: cwwm verify suspect.safetensors --key owner.key --mark marked.mark.json
    --commitment marked.commitment.json --message "it is mine" --original model.safetensors

    Keep model.safetensors, the unmarked original, secret and as it is: the mark is read in what the suspect adds to
    it. If the claim could have been fitted to a public model: --innocent public.safetensors

    If somebody else claims the suspect, too: cwwm dispute suspect.safetensors alice/ bob/

    Exit codes: 0 done, 1 the answer is no (not proven, message lost), 2 bad input, 3 the work failed.""",
)
for _command in (keygen, plan, embed, extract, verify, dispute, inspect):
    app.command()(_command)


def main() -> NoReturn:
    """Run the command line and exit."""
    run_program(app, "cwwm")
