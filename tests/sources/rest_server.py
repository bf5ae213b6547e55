"""One list of records, handed out by an HTTP server in every convention that REST APIs have, faults included."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from tests.http_api import OK, Answer, HttpApi, Record, Request

SIZE = 100


class RestServer(HttpApi):
    """``<root>/<convention>`` answers ``records`` in pages of ``size``, or of as many as are asked for, up to it.

    A page is told by ``at``, the index of its first record, in whatever form the convention has for it.

    leaves_out  a parameter that leaves out all records that are older than it says: they all are
    """

    def __init__(self, records: list[Record], *, size: int = SIZE) -> None:
        self.size = size
        self.leaves_out: str | None = None
        self.only = ""  # the convention of all paths, if one is set
        self._routes: dict[str, Callable[[Request], Answer]] = {
            f"/{name.removeprefix('_at_')}": getattr(self, name) for name in dir(self) if name.startswith("_at_")
        }
        super().__init__(records)
        self.root = self.url.removesuffix("/records")

    @property
    def paths(self) -> list[str]:
        """What was asked for, with its parameters."""
        return [f"{request.path}{request.params or ''}" for request in self.requests]

    def answer_to(self, request: Request) -> tuple[Answer, list[Record]]:
        answer, _ = super().answer_to(request)
        if answer is OK:
            route = self._routes.get("/" + (self.only or request.path.split("/")[1]))
            answer = Answer(404, b'{"error": "no such convention"}') if route is None else route(request)
        return answer, []

    def page(self, at: int, size: int | None = None) -> list[Record]:
        with self._changed:
            return self._records[at : at + min(size or self.size, self.size)]

    def _next(self, at: int) -> int | None:
        return at + self.size if at + self.size < self.count() else None

    def _at_link(self, request: Request) -> Answer:
        at = int(request.params.get("at", 0))
        further = self._next(at)
        links = [f'<{self.root}/link?at=0>; rel="first"']
        links += [f'</link?at={further}>; rel="next"'] if further else []
        return _json(self.page(at), Link=", ".join(links))

    def _at_url(self, request: Request) -> Answer:
        at = int(request.params.get("at", 0))
        further = self._next(at)
        url = f"{self.root}/url?at={further}" if further else None
        return _json({"links": {"next": url, "self": f"{self.root}/url"}, "data": {"items": self.page(at)}})

    def _at_cursor(self, request: Request) -> Answer:
        at = int(request.params.get("cursor", "c0")[1:])
        further = self._next(at)
        return _json({"items": self.page(at), "meta": {"next_cursor": f"c{further}" if further else None}})

    def _at_header_cursor(self, request: Request) -> Answer:
        at = int(request.params.get("continue", "c0")[1:])
        further = self._next(at)
        return _json(self.page(at), **({"X-Next": f"c{further}"} if further else {}))

    def _at_body_cursor(self, request: Request) -> Answer:
        """As Notion and Elasticsearch do: the cursor is sent in the body."""
        asked = json.loads(request.body)
        at = int(asked.get("page", {}).get("start_cursor", "c0")[1:])
        further = self._next(at)
        body = {"results": self.page(at), "has_more": further is not None, "next_cursor": f"c{further}"}
        return _json(body | {"filter": asked["filter"]})

    def _at_sort_keys(self, request: Request) -> Answer:
        """As Elasticsearch does: go on after the sort keys of the last one."""
        asked = json.loads(request.body)
        at = asked["search_after"][0] + 1 if "search_after" in asked else 0
        hits = [{"_source": record, "sort": [at + n, record["id"]]} for n, record in enumerate(self.page(at))]
        return _json({"hits": {"total": {"value": self.count(), "relation": "eq"}, "hits": hits}})

    def _at_feed(self, request: Request) -> Answer:
        """As Atom does: links, each with its relation."""
        at = int(request.params.get("at", 0))
        links = '<link rel="self" href="/feed"/>'
        links += f'<link rel="next" href="/feed?at={self._next(at)}"/>' * (self._next(at) is not None)
        entries = "".join(f"<entry><id>{one['id']}</id><total>{one['total']}</total></entry>" for one in self.page(at))
        return Answer(body=f"<feed>{links}{entries}</feed>".encode(), content_type="application/atom+xml")

    def _at_delta(self, request: Request) -> Answer:
        """As Microsoft Graph does: at the end the address of what changes from now on."""
        at = int(request.params.get("at", 0))
        further = self._next(at)
        link = (
            {"@odata.nextLink": f"/delta?at={further}"}
            if further
            else {"@odata.deltaLink": f"/delta?at={self.count()}"}
        )
        return _json({"value": self.page(at), **link})

    def _at_stream_url(self, request: Request) -> Answer:
        """As Zendesk does: the address of the last page is its own."""
        at = int(request.params.get("at", 0))
        further = self._next(at) or at
        return _json({"items": self.page(at), "next_page": f"/stream_url?at={further}", "end_of_stream": further == at})

    def _at_resumption(self, request: Request) -> Answer:
        """As OAI-PMH does: the token is refused beside anything but the verb."""
        token = request.params.get("resumptionToken")
        if token is not None and set(request.params) != {"verb", "resumptionToken"}:
            return Answer(400, b'{"error": "badArgument"}')
        at = int(token or 0)
        return _json({"ListRecords": {"record": self.page(at), "token": str(self._next(at) or "")}})

    def _at_last_id(self, request: Request) -> Answer:
        """As Stripe does: go on after an id."""
        with self._changed:
            ids = [record["id"] for record in self._records]
        after = request.params.get("starting_after")
        at = ids.index(after) + 1 if after else 0
        return _json({"data": self.page(at), "has_more": self._next(at) is not None})

    def _at_offset(self, request: Request) -> Answer:
        at = int(request.params.get("offset", 0))
        return _json({"total": self.count(), "rows": self.page(at, int(request.params.get("limit", self.size)))})

    def _at_named_offset(self, request: Request) -> Answer:
        """As Socrata does; only an empty page says that it was the last."""
        return _json(self.page(int(request.params.get("$offset", 0)), int(request.params.get("$limit", 1))))

    def _at_total_by_number(self, request: Request) -> Answer:
        """Its total makes it look like offsets."""
        at = (int(request.params.get("page", 1)) - 1) * int(request.params["limit"])
        return _json({"data": self.page(at, int(request.params["limit"])), "total": self.count()})

    def _at_silent_offset(self, request: Request) -> Answer:
        """Only an empty page says that it was the last."""
        return _json(self.page(int(request.params.get("offset", 0)), int(request.params.get("limit", self.size))))

    def _at_number(self, request: Request) -> Answer:
        number, size = int(request.params.get("page", 1)), min(int(request.params.get("per_page", 10)), self.size)
        pages = -(-self.count() // size)
        return _json({"page": number, "total_pages": pages, "results": self.page((number - 1) * size, size)})

    def _at_changes(self, request: Request) -> Answer:
        """Pages by number of those changed since a time: from then on, as ``updatedAt`` (ms) says, in their order."""
        since = dt.datetime.fromisoformat(request.params.get("updated_since", "1970-01-01T00:00:00Z"))
        with self._changed:
            left = [record for record in self._records if record["updatedAt"] >= since.timestamp() * 1000]
        number = int(request.params.get("page", 1))
        page = left[(number - 1) * self.size : number * self.size]
        return _json({"page": number, "total_pages": max(1, -(-len(left) // self.size)), "results": page})

    def _at_silent_number(self, request: Request) -> Answer:
        return _json(self.page((int(request.params.get("page", 1)) - 1) * self.size))

    def _at_last_again(self, request: Request) -> Answer:
        """Past the end the last page comes again."""
        last = max(self.count() - 1, 0) // self.size
        return _json(self.page(min(int(request.params.get("page", 1)) - 1, last) * self.size))

    def _at_graphql(self, request: Request) -> Answer:
        variables = json.loads(request.body)["variables"]
        at = int((variables.get("after") or "c0")[1:])
        further = self._next(at)
        nodes: dict[str, Any] = {"nodes": self.page(at)}
        if variables.get("edges"):
            nodes = {"edges": [{"node": record, "cursor": "x"} for record in self.page(at)]}
        info = {"pageInfo": {"hasNextPage": further is not None, "endCursor": f"c{further}"}}
        return _json({"data": {"feed": {"events": nodes | info}}})

    def _at_by_hand(self, request: Request) -> Answer:
        """The page is asked for inside an XML body."""
        number = int(request.body.split(b"<page>")[1].split(b"<")[0])
        rows = [f'<order id="{one["id"]}"><total>{one["total"]}</total></order>' for one in self.page((number - 1) * 3)]
        return Answer(body=f"<orders>{''.join(rows)}</orders>".encode(), content_type="text/xml")

    def _at_nested(self, request: Request) -> Answer:
        """Records, and the lines of one: ``<id>-0`` to ``<id>-<id - 1>``."""
        asked = json.loads(request.body)
        at, within = int((asked["variables"].get("after") or "c0")[1:]), asked["variables"].get("id")
        with self._changed:
            ids = [record["id"] for record in self._records]
        lines = [{"sku": f"{within}-{number}"} for number in range(int(within or 0))]
        every = [{"id": one} for one in ids] if within is None else lines
        info = {"hasNextPage": at + self.size < len(every), "endCursor": f"c{at + self.size}"}
        found = {"nodes": every[at : at + self.size], "pageInfo": info}
        return _json({"data": {"orders": found} if within is None else {"order": {"lines": found}}})

    def _at_whole(self, request: Request) -> Answer:
        with self._changed:
            left = [] if self.leaves_out in request.params else self._records
            return _json({"type": "FeatureCollection", "features": left})

    def _at_map(self, request: Request) -> Answer:
        return _json({"data": {record["id"]: {"total": record["total"]} for record in self.page(0)}})

    def _at_beside(self, request: Request) -> Answer:
        return _json({"currency": "EUR", "orders": self.page(0)})

    def _at_values(self, request: Request) -> Answer:
        return _json({"totals": {record["id"]: record["total"] for record in self.page(0)}})

    def _at_nameless(self, request: Request) -> Answer:
        return _json({"rows": [[record["id"], record["total"], "x"] for record in self.page(0)]})

    def _at_table(self, request: Request) -> Answer:
        names = list(self.page(0)[0])
        return _json([names, *([record[name] for name in names] for record in self.page(0))])

    def _at_parallel(self, request: Request) -> Answer:
        records = self.page(0)
        return _json({"hourly": {name: [record[name] for record in records] for name in records[0]}})

    def _at_lines(self, request: Request) -> Answer:
        at = int(request.params.get("at", 0))
        body = b"".join(json.dumps(record).encode() + b"\n" for record in self.page(at))
        links = tuple(self._link("/lines", at, self.count()).items())
        return Answer(body=body, content_type="application/x-ndjson", headers=links)

    def _at_comma(self, request: Request) -> Answer:
        """Only a page without rows says that the one before was the last."""
        records = self.page(int(request.params.get("offset", 0)), int(request.params.get("limit", self.size)))
        rows = ["id;total", *(f"{record['id']};{record['total']}" for record in records)]
        return Answer(body="\n".join(rows).encode(), content_type="text/csv")

    def _at_headless(self, request: Request) -> Answer:
        rows = [f"{record['id']},{record['total']}" for record in self.page(0)]
        return Answer(body="\n".join(rows).encode(), content_type="text/csv")

    def _at_elements(self, request: Request) -> Answer:
        records = self.page((int(request.params.get("page", 1)) - 1) * self.size)
        items = "".join(f'<order id="{record["id"]}"><total>{record["total"]}</total></order>' for record in records)
        return Answer(body=f"<orders>{items}</orders>".encode(), content_type="application/xml")

    def _at_prefixed(self, request: Request) -> Answer:
        """What a query in XML is answered: elements of several namespaces."""
        if b"<soap:Body/>" not in request.body:
            return Answer(400, b"<error/>", content_type="text/xml")
        items = "".join(
            f'<m:Order id="{one["id"]}"><m:Total currency="EUR">{one["total"]}</m:Total></m:Order>'
            for one in self.page(0)
        )
        spaces = 'xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="urn:orders"'
        inner = f"<soap:Body><m:Orders>{items}</m:Orders></soap:Body>"
        return Answer(body=f"<soap:Envelope {spaces}>{inner}</soap:Envelope>".encode(), content_type="text/plain")

    def _at_accounts(self, request: Request) -> Answer:
        """``/accounts`` lists parents, ``/accounts/<id>/orders`` the children of one."""
        parts = request.path.strip("/").split("/")
        at = int(request.params.get("at", 0))
        if len(parts) == 1:
            return _json(self.page(at), **self._link("/accounts", at, self.count()))
        orders = [{"order": f"{parts[1]}-{number}"} for number in range(int(parts[1]))]
        return _json(orders[at : at + self.size], **self._link(request.path, at, len(orders)))

    def _link(self, path: str, at: int, count: int) -> dict[str, str]:
        return {"Link": f'<{path}?at={at + self.size}>; rel="next"'} if at + self.size < count else {}


def _json(value: object, **headers: str) -> Answer:
    named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    return Answer(body=json.dumps(value).encode(), headers=named)
