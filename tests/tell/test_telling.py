"""People are told: real daemons, real webhooks and programs, killed and hung for real."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from api2db.cli.main import main
from api2db.tell import channels
from tests.http_api import HANG, SERVER_ERROR, Answer, HttpApi
from tests.project_kit import Project, eventually

SECRET = "T0P/s3cr3t-hook"
FEED = """
    import pathlib
    from api2db import collector

    @collector(every=0.1, to=["database"])
    def feed():
        broken = pathlib.Path(__file__).parents[1] / "broken"
        if broken.exists():
            raise RuntimeError(broken.read_text())
        return [{"n": 1}]
"""


@pytest.fixture
def hook():
    with HttpApi() as api:
        yield api


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path / "shop", feed=FEED)
    yield project
    project.close()


def started(project, hook=None, *, every="300ms", command=None, port=None, **env):
    port = port or (hook.url.rpartition(":")[2].partition("/")[0] if hook is not None else None)
    if port:
        env["API2DB_NOTIFY_WEBHOOK"] = f"http://127.0.0.1:{port}/{SECRET}"
    if command:
        env["API2DB_NOTIFY_COMMAND"] = command
    process = project.start(env={"API2DB_NOTIFY_EVERY": every, **env})
    project.ready(process)
    return process


def messages(hook):
    return [json.loads(request.body) for request in hook.requests]


def told(hook):
    """(change, kind) of everything told, each message once however often it was sent."""
    once = {message["id"]: message for message in messages(hook)}
    return [(change["change"], change["kind"]) for message in once.values() for change in message["changes"]]


def breaks(project, cause="the API says <!channel> no"):
    (project.folder / "broken").write_text(cause)


def heals(project):
    (project.folder / "broken").unlink()


def no_secret(project):
    logs = project.console + "".join(path.read_text() for path in (project.folder / "LOGS").glob("*"))
    files = "".join(path.read_text() for path in (project.store / "notify").glob("*"))
    return SECRET not in logs + files + json.dumps(project.status()[1])


def test_a_failure_and_its_end_are_told_once_each(project, hook):
    process = started(project, hook)
    breaks(project)
    eventually(lambda: told(hook) == [("began", "failing")])
    heals(project)
    eventually(lambda: told(hook) == [("began", "failing"), ("over", "failing")])
    first, second = messages(hook)
    assert first["wrong"] == 1
    assert second["wrong"] == 0
    assert first["text"] == first["content"]
    assert "feed: failing: RuntimeError: the API says ‹!channel› no" in first["text"]
    assert "<!channel>" in first["changes"][0]["cause"]
    assert [request.path for request in hook.requests] == [f"/{SECRET}"] * 2
    assert project.stop(process) == 0
    assert no_secret(project)


def test_what_came_and_went_between_two_messages_is_told_too(project, hook):
    hook.script(HANG)
    process = started(project, hook)
    breaks(project)
    hook.wait_for_requests(1)
    heals(project)
    failures = "SELECT failures FROM collectors"
    eventually(lambda: project.journal("SELECT state FROM collectors") == [("ok",)])
    before = project.journal(failures)
    hook.release()
    eventually(lambda: told(hook) == [("began", "failing"), ("over", "failing")])
    assert project.journal(failures) == before
    assert project.stop(process) == 0


def test_a_webhook_that_refuses_fails_or_hangs_gets_the_message_in_the_end_and_holds_up_nobody(project):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    breaks(project)
    process = started(project, port=port)
    eventually(lambda: "the webhook wasn't reached: Connection refused" in project.console)
    heals(project)
    eventually(lambda: project.sqlite("SELECT count(*) > 3 FROM feed") == [(1,)])
    assert project.stop(process) == 0
    with HttpApi() as hook:
        hook.script(SERVER_ERROR)
        process = started(project, hook)
        eventually(lambda: told(hook) == [("began", "failing"), ("over", "failing")])
        assert hook.requests[0].body == hook.requests[1].body  # the same message, with its id, once more
        hook.hang()
        breaks(project)
        hook.wait_for_requests(4)
        rows = project.sqlite("SELECT count(*) FROM feed")
        heals(project)
        eventually(lambda: project.sqlite("SELECT count(*) FROM feed") > rows)
        assert project.stop(process) == 0
    assert "the webhook answered with status 500" in project.console
    assert no_secret(project)


def test_killed_between_a_change_and_its_message_it_is_told_after_the_restart(project, hook):
    hook.script(HANG)
    process = started(project, hook)
    breaks(project)
    (first,) = hook.wait_for_requests(1)
    process.kill()  # the message is on its way, nobody knows whether it arrived
    process.wait()
    hook.release()
    process = started(project, hook, every="1h")
    second = hook.wait_for_requests(2)[1]
    assert json.loads(second.body)["id"] == json.loads(first.body)["id"]
    heals(project)  # within the hour, so it isn't told yet
    eventually(lambda: project.journal("SELECT state FROM collectors") == [("ok",)])
    process.kill()
    process.wait()
    process = started(project, hook)
    eventually(lambda: told(hook) == [("began", "failing"), ("over", "failing")])
    assert len(hook.requests) == 3
    assert project.stop(process) == 0


def test_a_restart_repeats_nothing_but_one_after_a_long_absence_says_what_is_still_wrong(project, hook):
    process = started(project, hook)
    breaks(project)
    eventually(lambda: told(hook))
    process.kill()
    process.wait()
    process = started(project, hook)
    polls = project.journal("SELECT polls FROM collectors")[0][0]
    eventually(lambda: project.journal("SELECT polls FROM collectors")[0][0] > polls + 8)
    process.kill()
    process.wait()
    assert told(hook) == [("began", "failing")]
    with closing(sqlite3.connect(project.store / "journal.sqlite")) as db, db:
        db.execute("UPDATE daemon SET value = value - 7200000000000 WHERE key = 'heartbeat_ns'")
    process = started(project, hook)
    eventually(lambda: told(hook) == [("began", "failing"), ("still", "failing")])
    assert project.stop(process) == 0


COMMAND = """
import json, os, pathlib, sys
message = json.load(sys.stdin)
assert not any("NOTIFY" in name or "AUTH" in name for name in os.environ)
with open("told.txt", "a") as told:
    told.write(message["changes"][0]["change"] + "\\n")
if not pathlib.Path("works").exists():
    sys.stderr.write("no mail server\\n" * 100_000)
    sys.exit(3)
"""


def test_a_command_reads_the_message_and_is_run_again_until_it_succeeds(project):
    (project.folder / "tell it.py").write_text(COMMAND)
    breaks(project)
    process = started(project, command=f'{sys.executable} "tell it.py" $(touch shell)', API2DB_AUTH_X_PASSWORD="x")
    eventually(lambda: "ended with status 3: no mail server no mail" in project.console)
    (project.folder / "works").touch()
    path = project.folder / "told.txt"
    eventually(lambda: len(path.read_text().split()) >= 2 and "told channel=command" in project.console)
    assert set(path.read_text().split()) == {"began"}
    assert not (project.folder / "shell").exists()
    assert project.stop(process) == 0
    assert len(project.console) < 50_000


def notify(project, *arguments, **env):
    done = CliRunner().invoke(main, ["--project", str(project.folder), "notify", *arguments], env=env)
    return done.exit_code, done.output


def test_a_test_message_is_sent_by_hand_and_the_answer_is_told(project, hook):
    secret = {"API2DB_NOTIFY_WEBHOOK": hook.url + SECRET}
    assert notify(project, "--test", **secret) == (0, "webhook: was told\n")
    (message,) = messages(hook)
    assert message["changes"][0]["kind"] == "test"
    hook.script(Answer(302, b"", headers=(("Location", hook.url),)), Answer(404, b"no such hook"))
    assert notify(project, "--test", **secret)[0] == 1
    code, said = notify(project, "--test", "--json", **secret)
    assert code == 1
    assert "status 404; look at its URL" in json.loads(said)[0]["cause"]
    assert len(hook.requests) == 3
    assert SECRET not in said
    assert notify(project, **secret) == (0, "webhook: knows of 0 things that are wrong\n")


def test_without_a_receiver_the_command_says_where_to_name_one(project):
    code, said = notify(project, "--test")
    assert code == 1
    assert "[notify]" in said


@pytest.mark.parametrize(
    ("command", "words"),
    [("/nowhere/mail", "/nowhere/mail can't be run: No such file"), ("sh -c 'exit 9'", "sh ended with status 9")],
)
def test_a_command_that_fails_is_named_with_its_reason(project, command, words):
    code, said = notify(project, "--test", API2DB_NOTIFY_COMMAND=command)
    assert code == 1
    assert words in said


def test_a_command_that_hangs_is_ended_with_all_it_started(project, monkeypatch):
    monkeypatch.setattr(channels, "COMMAND_S", 0.5)
    code, said = notify(project, "--test", API2DB_NOTIFY_COMMAND="sh -c 'sleep 600 & echo $! > pid; wait'")
    assert code == 1
    assert "didn't end within 0.5 s" in said
    pid = int((project.folder / "pid").read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
