"""``api2db notify``: whom the project tells when something goes wrong, and whether that works."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import click

from api2db.cli.here import Here, here
from api2db.errors import NotToldError

if TYPE_CHECKING:
    from api2db.tell.channels import Channel

TELLS_NOBODY = "this project tells nobody: set webhook or command in the table [notify] of api2db.toml"


@click.command()
@click.option("--test", is_flag=True, help="Send a message to each, as the daemon would.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@here
def notify(project: Here, test: bool, as_json: bool) -> int:
    """Say whom the daemon tells, what waits to be told; exit 1 if somebody isn't reached or nobody is named."""
    from api2db.tell.channels import channels
    from api2db.tell.memory import read_memory

    answers: list[dict[str, Any]] = []
    for channel in channels(project.settings.notify, project.folder):
        memory = read_memory(project.layout.told(channel.name))
        wrong = sorted(key for key, record in memory.records.items() if record.told)
        cause = _try(project, channel) if test else None
        answers.append({"channel": channel.name, "wrong": wrong, "waits": memory.outbox is not None, "cause": cause})
    if as_json:
        click.echo(json.dumps(answers, indent=2))
    elif not answers:
        click.echo(TELLS_NOBODY, err=True)
    for answer in answers if not as_json else ():
        result = answer["cause"] or ("was told" if test else f"knows of {len(answer['wrong'])} things that are wrong")
        click.echo(f"{answer['channel']}: {result}" + ("; a message waits for it" if answer["waits"] else ""))
    return 1 if not answers or any(answer["cause"] for answer in answers) else 0


def _try(project: Here, channel: Channel) -> str | None:
    """Why the message didn't arrive; None if it did."""
    from api2db.tell.message import compose
    from api2db.tell.record import Record

    record = Record("test", None, None, "sent by hand with api2db notify --test; nothing is wrong")
    message = compose([("test", record)], number=0, wrong=0, project=project.folder, id=secrets.token_hex(16))
    try:
        channel.send(message)
    except NotToldError as error:
        return str(error)
    return None
