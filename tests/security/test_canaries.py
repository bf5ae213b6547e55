"""No secret is written anywhere but where its owner put it: distinct canaries everywhere, then everything is read."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from sqlalchemy import make_url

from tests.http_api import Answer, HttpApi
from tests.project_kit import REPOSITORY, Project, eventually

# As long as keys are; each in one place, so that a leak says where it is from.
CANARIES = {
    name: f"{name}-cAnArY0123456789"
    for name in ("authfile", "place", "placeurl", "environ", "header", "bearer", "query", "path", "basic", "token")
} | {"source": "source-cAnArY0123456789", "syntax": "syntax-cAnArY0123456789", "ownlog": "ownlog-cAnArY0123456789"}

POLLS = """
    import logging
    import os
    import requests
    from api2db import Http, collector
    from api2db.app.auth_manager import auth_manage
    from api2db.app.log import get_logger

    URL = os.environ["URL"]

    def asked(get, **more):
        return get(URL, params={{"appid": "{query}", "n": 1}}, headers={{"X-Key": "{header}"}}, timeout=10, **more)

    @collector(every=0.1, to=["authfile", "place", "environ", "database", "files"])
    def fine():
        get_logger("fine").warning("logged in with %s", "{environ}")
        return asked(requests.get, auth=("me", "{basic}")).json()

    @collector(every=0.1)
    def limited():
        with Http(headers={{"Authorization": "Bearer {bearer}"}}, secrets=("{path}",)) as http:
            return http.get(URL + "/broken/{path}", params={{"k": "{query}"}}, headers={{"X-Key": "{header}"}}).json()

    @collector(every=0.1)
    def plain():
        answer = requests.get(URL + "/broken", params={{"appid": "{query}"}}, headers={{"X-Key": "{header}"}})
        answer.raise_for_status()

    @collector(every=0.1)
    def unreachable():
        requests.get("https://{token}@127.0.0.1:1/", params={{"k": "{query}"}}, headers={{"X-Key": "{header}"}})

    @collector(every=0.1)
    def says():
        password = auth_manage("AUTH/authfile.json")["password"]
        raise RuntimeError(f"no login for {{password}} nor {{os.environ['SERVICE_TOKEN']}}\\nreally")

    @collector(every=0.1)
    def rubbish():
        logging.getLogger("urllib3.connectionpool").warning("odd headers (url=%s?key={query})", URL)
        raise KeyError("Bearer {bearer}")
"""
BROKEN = """
    import os

    def connect(password):
        raise ValueError("no login with " + os.environ["SERVICE_TOKEN"])

    connect(password="{source}")
"""
SYNTAX = 'password = ("{syntax}" "\n'


def files_of(project: Project) -> dict[str, bytes]:
    """Everything the daemon wrote: what its owner gave it aside."""
    own = ("AUTH", "collectors", "api2db.toml")
    paths = [path for path in project.folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths if path.relative_to(project.folder).parts[0] not in own}


def test_no_secret_is_in_anything_the_daemon_writes_or_says(tmp_path, postgres, database, monkeypatch):
    c = CANARIES
    right = make_url(postgres.url(database))
    with HttpApi([{"id": 1}]) as api, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # Every answer quotes what it was asked with, as some services do in their errors.
        quoted = " ".join(c[name] for name in ("header", "bearer", "query", "path")).encode()
        api.failing["/records/broken"] = Answer(500, quoted, headers=(("X-Echo", c["header"]),))
        api.failing["/records/broken/" + c["path"]] = api.failing["/records/broken"]
        project = Project(
            tmp_path,
            toml=f"""
                [places.place]
                dialect = "mysql"
                host = "127.0.0.1"
                port = 1
                db_name = "d"
                username = "me"
                password = "{c["place"]}"

                [places.unused]
                url = "postgresql://me:{c["placeurl"]}@127.0.0.1:1/d?sslpassword={c["placeurl"]}"
            """,
            polls=POLLS.format(**c),
            broken=BROKEN.format(**c),
            syntax=SYNTAX.format(**c),
        )
        (tmp_path / "AUTH").mkdir()
        auth = {"dialect": "postgresql", "username": "me", "password": c["authfile"], "db_name": database}
        auth |= {"host": right.query.get("host") or right.host, "port": right.port}
        (tmp_path / "AUTH" / "authfile.json").write_text(json.dumps(auth))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("API2DB_TEST_COLD", "1")  # its command line is looked at
        manager.bind("notify.sock")
        env = {
            "URL": api.url,
            "NOTIFY_SOCKET": str(tmp_path / "notify.sock"),
            "SERVICE_TOKEN": c["token"],
            "WEATHER_API_KEY": c["environ"],
            "API2DB_AUTH_ENVIRON_URL": f"postgresql://me:{c['environ']}@127.0.0.1:1/d",
            "API2DB_AUTH_ENVIRON_PASSWORD": c["environ"],
        }
        try:
            process = project.start(env=env)
            project.ready(process)
            done = "SELECT collector FROM collectors WHERE failures > 1 ORDER BY collector"
            names = ["limited", "plain", "rubbish", "says", "unreachable"]
            eventually(lambda: [name for (name,) in project.journal(done)] == names, what=str(names))
            troubled = "SELECT count(*) FROM streams WHERE state IN ('stopped', 'down', 'retrying') AND cause <> ''"
            eventually(lambda: project.journal(troubled) == [(3,)], what="three places that can't be reached")
            cmdline = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            written = {"command line": cmdline, "status, running": json.dumps(project.status()).encode()}
            assert project.stop(process) == 0
        finally:
            project.close()
        text = subprocess.run(
            [sys.executable, "main.py", "--status"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, capture_output=True, check=False,
        )  # fmt: skip
        written |= {"status": text.stdout + text.stderr, "notified": manager.recv(65536)}
        manager.setblocking(False)
        while True:
            try:
                written["notified"] += manager.recv(65536)
            except BlockingIOError:
                break
    written |= files_of(project)
    assert any(b"answered 500" in data for data in written.values())
    assert any(path.endswith("journal.sqlite") for path in written)
    leaks = {
        (name, where, data[max(0, data.index(canary.encode()) - 100) :][:200])
        for name, canary in c.items()
        for where, data in written.items()
        if canary.encode() in data
    }
    assert not leaks
