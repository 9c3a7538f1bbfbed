"""What a server counts, as Prometheus text over HTTP; for an operator's own machine (extra ``metrics``).

Nothing is counted twice: the collector reads what the server keeps anyway, when it is asked.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import h11
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from securechat import limits
from securechat.server.gate import Gate
from securechat.server.repeats import OnceAMinute
from securechat.server.session import Services
from securechat.server.sink import Sink
from securechat.transport.certificates import Leaf

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_READ_BYTES = 4096
_logger = logging.getLogger("securechat.server")


class ServerCollector(Collector):
    """Reads a running server.

    Args:
        services: What its sessions share.
        gate: Counts its connections.
        shown: Returns the certificate that new connections are shown.
        sinks: Where its logs go.
    """

    def __init__(self, services: Services, gate: Gate, shown: Callable[[], Leaf], sinks: Sequence[Sink] = ()) -> None:
        self._services = services
        self._gate = gate
        self._shown = shown
        self._sinks = sinks

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        services, committer, leaf = self._services, self._services.committer, self._shown()
        gauges = {
            "connections": ("Connections, unfinished ones too.", self._gate.total),
            "rooms": ("Rooms with members or messages in flight.", services.rooms.count),
            "members": ("Members of all rooms.", services.rooms.members),
            "laggards": ("Connections whose reader is behind.", services.laggards.count),
            "outbox_bytes": ("Bytes that wait for readers.", services.laggards.backlog),
            "in_flight_bytes": ("Bytes received and not yet stored.", committer.in_flight_bytes),
            "certificate_not_before": (
                "The certificate is valid from then on (Unix time).",
                leaf.not_before.timestamp(),
            ),
            "certificate_not_after": ("The certificate is valid until then (Unix time).", leaf.not_after.timestamp()),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"securechat_{name}", text, value)
        yield CounterMetricFamily("securechat_messages", "Messages stored.", committer.stored)
        yield CounterMetricFamily("securechat_deliveries", "Copies delivered.", committer.delivered)
        yield _by("reason", "refused", "Requests refused.", services.refused)
        yield _by("reason", "ended", "Connections ended.", services.closed)
        yield _by("change", "changes", "Rooms created, joined and left, logged or not.", services.access.changes)
        text = "Log lines left out because one address caused many."
        yield CounterMetricFamily("securechat_log_left_out", text, services.access.left_out)
        yield from self._collect_logs()
        seconds = committer.append_seconds
        yield HistogramMetricFamily("securechat_append_seconds", "A durable append.", seconds.buckets(), seconds.total)

    def _collect_logs(self) -> Iterator[Metric]:
        sinks = self._sinks
        dropped = {sink.label: sink.dropped for sink in sinks}
        yield _by("sink", "log_dropped", "Log records dropped because they could not be written.", dropped)
        failures = {sink.label: sink.failures for sink in sinks}
        yield _by("sink", "log_failures", "Attempts to write a log that failed.", failures)
        waiting = GaugeMetricFamily("securechat_log_waiting", "Log records that wait.", labels=["sink"])
        for sink in sinks:
            waiting.add_metric([sink.label], sink.waiting)
        yield waiting


def _by(label: str, name: str, text: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"securechat_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


async def serve_metrics(
    listeners: list[trio.SocketListener],
    services: Services,
    gate: Gate,
    shown: Callable[[], Leaf],
    sinks: Sequence[Sink],
) -> None:
    """Answer ``GET /metrics`` until cancelled."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(services, gate, shown, sinks))
    ProcessCollector(registry=registry)
    await trio.serve_listeners(partial(_answer, registry, deque(), OnceAMinute()), listeners)


async def _answer(
    registry: CollectorRegistry, readers: deque[trio.CancelScope], faults: OnceAMinute, stream: trio.SocketStream
) -> None:
    """Answer one request; whatever goes wrong ends that connection alone.

    A reader that stalls does not keep others out: the oldest of too many makes way.
    """
    if len(readers) >= limits.METRICS_READERS:
        readers.popleft().cancel()
    async with stream:
        with trio.move_on_after(limits.METRICS_TIMEOUT) as scope:
            readers.append(scope)
            try:
                await _answer_one(registry, stream)
            except (h11.RemoteProtocolError, trio.BrokenResourceError):
                return
            except Exception:
                if faults.is_due():
                    _logger.exception("a fault of this server kept its metrics from a reader; please report it")
            finally:
                with suppress(ValueError):  # it made way
                    readers.remove(scope)


async def _answer_one(registry: CollectorRegistry, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(_READ_BYTES))
    if not isinstance(event, h11.Request):
        return
    is_found = event.method in {b"GET", b"HEAD"} and event.target.partition(b"?")[0] == b"/metrics"
    body = generate_latest(registry) if is_found else b"Nothing here but /metrics.\n"
    headers = [("Content-Type", _CONTENT_TYPE), ("Content-Length", str(len(body))), ("Connection", "close")]
    response = h11.Response(status_code=200 if is_found else 404, headers=headers)
    parts = (response, h11.Data(data=b"" if event.method == b"HEAD" else body), h11.EndOfMessage())
    await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))
