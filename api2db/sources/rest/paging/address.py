"""The next page's address as a step: kept without credentials, asked with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote_plus, urljoin, urlsplit

from api2db.credentialname import is_credential, may_be_credential
from api2db.errors import SourceError
from api2db.secret import HIDDEN, folded, is_number_or_date, is_remembered
from api2db.sources.net.sessions import host_of, may_have_credentials
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.paging.convention import Answered, Step
from api2db.sources.tape.recorder import is_played

if TYPE_CHECKING:
    from requests import PreparedRequest

_WITH: Final = "with"
# What is shorter stands in other values too.
_KEY_CHARS: Final = 8

Pair = tuple[str, str]


def step_to(answered: Answered, address: str | None) -> Step | None:
    """The step that is an address, perhaps a relative one; None without one.

    A step is kept with the rows, so the credentials that an API repeats in its addresses aren't in it: those that
    ``auth`` or headers send are sent anyway, and of the declared parameters the names are enough. Nothing else is left
    out, since nobody would send it again. Raises SourceError for an address of another origin that has one in it.
    """
    if not address:
        return None
    try:
        parts = _without_user(urlsplit(urljoin(answered.answer.url, address)))
        at_home = may_have_credentials(parts.geturl(), of=answered.first.url)
    except ValueError:
        raise SourceError("the next page's address isn't one that can be read") from None
    own = _own(answered)
    kept: list[tuple[str, Pair]] = []
    named: set[str] = set()
    for pair in parts.query.split("&"):
        name, _, value = (unquote_plus(text) for text in pair.partition("="))
        value = folded(value)
        if own.is_declared(name, value):
            named.add(name)
        elif at_home and value in own.texts:
            named |= own.texts[value]
        elif not own.is_put_in(name, value):
            kept.append((pair, (name, value)))
    # A name stands for all that was declared for it.
    declared = {_folded(pair) for pair in answered.first.params}
    left = [pair for pair, said in kept if not (said[0] in named and said in declared)]
    parts = parts._replace(query="&".join(left))
    if not at_home and (own.is_in(parts.geturl()) or any(own.may_be_a_filter(name) for name in named)):
        raise SourceError(
            f"the next page's address is of another host, {host_of(parts.geturl())}, and has a credential in it: it"
            " isn't asked; if that host is to have it, declare it as an API of its own"
        )
    here = urlsplit(answered.first.url)
    if at_home and own.is_in(parts.path) and parts.path == here.path:
        parts = parts._replace(scheme="", netloc="", path="")  # relative to the first request, which has it in its path
    step: Step = {"url": parts.geturl()}
    return {**step, _WITH: sorted(named)} if named else step


def at_address(first: Ask, step: Step) -> Ask:
    """The request of a step that is an address: that holds the parameters, too.

    User and password that the first request's address has are for its own origin.
    """
    if "url" not in step:
        return first
    parts = _without_user(urlsplit(urljoin(first.url, step["url"])))
    if not may_have_credentials(parts.geturl(), of=first.url):
        return replace(first, url=parts.geturl(), params=())
    user, at, _ = urlsplit(first.url).netloc.rpartition("@")
    again = tuple(pair for pair in first.params if pair[0] in step.get(_WITH, ()))
    return replace(first, url=parts._replace(netloc=f"{user}{at}{parts.netloc}").geturl(), params=again)


@dataclass(frozen=True)
class _Own:
    """What of a request is sent with the next one, too. All values and texts are ``folded``.

    declared   the credentials among the declared parameters
    put        what ``auth`` puts into the address
    texts      credentials, wherever they stand -> the names of the declared parameters that they are sent as
    """

    declared: frozenset[Pair]
    put: frozenset[Pair]
    texts: dict[str, set[str]]

    def is_declared(self, name: str, value: str) -> bool:
        # On a tape no credential's value is left.
        is_taped = value == HIDDEN and is_played()
        return (name, value) in self.declared or (is_taped and any(name == each for each, _ in self.declared))

    def is_put_in(self, name: str, value: str) -> bool:
        return (name, value) in self.put or (value == HIDDEN and is_played())

    def may_be_a_filter(self, name: str) -> bool:
        """Is it but the value that is a credential, perhaps by chance? Without it other records would come."""
        return any(
            name == each and not may_be_credential(name) and value not in self.texts for each, value in self.declared
        )

    def is_in(self, url: str) -> bool:
        read = unquote_plus(url)
        spellings = {folded(spelled) for spelled in (url, read, unquote_plus(read))}
        return any(text in spelled for text in self.texts for spelled in spellings)


def _own(answered: Answered) -> _Own:
    # With requests, which is loaded once one is sent.
    from api2db.sources.noticed import credentials_in, put_in, secrets_in

    # A redirect's next request doesn't say any more what auth put into the first.
    requests = [each.request for each in (answered.answer, *answered.answer.history) if each.request is not None]
    texts: dict[str, set[str]] = {folded(text): set() for request in requests for text in credentials_in(request)}
    for request in requests:
        headers = _headers(request)
        for name, value in headers:
            if is_credential(name):
                texts |= {folded(value): set(), folded(value.rpartition(" ")[2]): set()}
        sent = [unquote_plus(str(request.url)), str(request.body or ""), *(value for _, value in headers)]
        sent = list(map(folded, sent))
        texts |= {text: set() for text in map(folded, secrets_in(request)) if any(text in each for each in sent)}
    declared = frozenset(
        _folded((name, value))
        for name, value in answered.first.params
        if value and (may_be_credential(name) or folded(value) in texts or is_remembered(value))
    )
    for name, value in declared:
        if value in texts or is_credential(name):
            texts.setdefault(value, set()).add(name)
    long = {text: names for text, names in texts.items() if len(text) >= _KEY_CHARS and not is_number_or_date(text)}
    return _Own(declared, frozenset(_folded(pair) for request in requests for pair in put_in(request)), long)


def _folded(pair: Pair) -> Pair:
    return pair[0], folded(pair[1])


def _headers(request: PreparedRequest) -> list[Pair]:
    return [
        (name, value.decode("latin-1") if isinstance(value, bytes) else str(value))
        for name, value in request.headers.items()
    ]


def _without_user(parts: SplitResult) -> SplitResult:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])
