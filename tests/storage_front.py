"""What stands before the emulator's Storage Write API in tests: calls are counted, cut off, and their answers lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

_SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/"
APPEND, CREATE, FINALIZE = "AppendRows", "CreateWriteStream", "FinalizeWriteStream"


@dataclass(frozen=True)
class Cut:
    """A call that ends with UNAVAILABLE.

    passes  it is passed on all the same: what it asks for is done, and nobody hears of it
    also    called then: after it was passed on, if it is, and before it ends
    """

    passes: bool = False
    also: Callable[[], object] | None = None


class StorageFront(grpc.GenericRpcHandler):
    """A gRPC server before ``upstream``, which is ``host:port``. Any thread; messages are passed on unread.

    seen  calls, by name, since ``calm``
    """

    def __init__(self, upstream: str) -> None:
        self.seen: Counter[str] = Counter()
        self._cuts: list[tuple[str, Cut]] = []
        self._forgotten: list[bytes] = []
        self._lock = threading.Lock()
        # One that is started again on its port is reached at once, not after growing pauses.
        self._channel = grpc.insecure_channel(upstream, options=[("grpc.max_reconnect_backoff_ms", 200)])
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self])
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def cut(self, name: str, cut: Cut) -> None:
        """The next call of that name meets it, or the one after those that do already."""
        with self._lock:
            self._cuts.append((name, cut))

    def forget(self, stream: str) -> None:
        """Google keeps no stream for ever."""
        with self._lock:
            self._forgotten.append(stream.encode())

    def calm(self) -> None:
        """Nothing is cut any more, and nothing was seen."""
        with self._lock:
            self._cuts.clear()
            self.seen.clear()

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        name = method.removeprefix(_SERVICE)
        if name == APPEND:
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._appends(requests, context))
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._call(method, request, context))

    def _appends(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        call = self._channel.stream_stream(_SERVICE + APPEND)
        for request in requests:
            yield self._meet(APPEND, request, context, lambda request=request: next(call(iter([request]))))

    def _call(self, method: str, request: bytes, context: Any) -> bytes:
        call = self._channel.unary_unary(method)
        return self._meet(method.removeprefix(_SERVICE), request, context, lambda: call(request))

    def _meet(self, name: str, request: bytes, context: Any, pass_on: Callable[[], bytes]) -> bytes:
        with self._lock:
            self.seen[name] += 1
            if any(stream in request for stream in self._forgotten):
                context.abort(grpc.StatusCode.NOT_FOUND, "Requested entity was not found.")
            met = next((each for each in self._cuts if each[0] == name), None)
            if met is not None:
                self._cuts.remove(met)
        try:
            answer = pass_on() if met is None or met[1].passes else b""
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
            raise
        if met is not None:
            if met[1].also is not None:
                met[1].also()
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
        return answer
