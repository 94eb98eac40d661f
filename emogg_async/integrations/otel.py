"""Spans and metrics of a client, for OpenTelemetry; needs the extra `otel`.

::

    async with instrument(AsyncEmoggClient()) as client:
        ...

Each call that sends a request has one client span, retries included. The span is named
after method and template, is current while the call is under way, and is a child of the
caller's span. Its context travels in the headers that the configured propagators
inject. A call has no span if the cache answers it or if it joins another call's load.
Spans of a cache backend are children of the caller's span as well.

===================================== =================================================
attribute of the span                 value
===================================== =================================================
`http.request.method`                 the method
`url.template`, `url.full`            the path, with `{id}` for each ID; the address,
                                      without its query
`server.address`, `server.port`       host and port of the service
`http.response.status_code`           status of the last answer, if there was one
`http.request.resend_count`           number of requests beyond the first, if any
`error.type`                          status, or class of the error, if it failed
`emogg.session.id`                    the session that it concerns, if any
===================================== =================================================

Each request sent is recorded in the histogram `http.client.request.duration` and, while
it is under way, in `http.client.active_requests`. Neither spans nor metrics hold the
token, a header or a body.

Live channels have metrics only: the counters `emogg.live.events`, `emogg.live.dropped`
and `emogg.live.reconnects`, as in `Stats`.

Source: https://opentelemetry.io/docs/specs/semconv/http/.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from emogg_async import AsyncEmoggClient, __version__
from emogg_async.errors import StatusError

try:
    from opentelemetry import context as otel
    from opentelemetry import metrics, propagate, trace
except ModuleNotFoundError as _missing:
    raise ImportError(
        "emogg_async.integrations.otel needs the extra otel: "
        "python -m pip install 'emogg-async[otel]'"
    ) from _missing

if TYPE_CHECKING:
    from emogg_async._wire.protocol import Request

__all__ = ["instrument", "uninstrument"]

C = TypeVar("C", bound=AsyncEmoggClient)

SCHEMA: Final = "https://opentelemetry.io/schemas/1.27.0"

BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5),
    *(0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
"""Seconds, as the conventions advise."""

LIVE: Final = (
    ("events", "{event}", "Live events received."),
    ("dropped", "{event}", "Live events lost because their reader was slow."),
    ("reconnects", "{connection}", "Live connections made again."),
)
"""Name, unit and description of each counter of live channels."""


def instrument(
    client: C,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> C:
    """Trace each call of *client* from now on, and measure its requests.

    Args:
        client: A client, open or not.
        tracer_provider: Provider of the spans; None is the global one.
        meter_provider: Provider of the metrics; None is the global one.

    Returns:
        The same client.
    """
    tracer = trace.get_tracer("emogg_async", __version__, tracer_provider, SCHEMA)
    meter = metrics.get_meter("emogg_async", __version__, meter_provider, SCHEMA)
    # This module is the only user of that hook.
    client._instrument(lambda base_url: _Instrument(base_url, tracer, meter))
    return client


def uninstrument(client: AsyncEmoggClient) -> None:
    """Stop tracing the calls of *client* and measuring its requests."""
    client._instrument(None)


class _Instrument:
    def __init__(
        self, base_url: str, tracer: trace.Tracer, meter: metrics.Meter
    ) -> None:
        parts = urlsplit(base_url)
        self.base_url = base_url
        self.tracer = tracer
        self.server: dict[str, str | int] = {
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }
        self.duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self.active = meter.create_up_down_counter(
            "http.client.active_requests",
            unit="{request}",
            description="Number of active HTTP requests.",
        )
        self.live = {
            what: meter.create_counter(
                f"emogg.live.{what}", unit=unit, description=description
            )
            for what, unit, description in LIVE
        }

    def count(self, what: str) -> None:
        self.live[what].add(1, self.server)

    def __call__(self, request: "Request") -> "_Trace":
        return _Trace(self, request)


class _Trace:
    """The span of one call, and the metrics of its requests."""

    def __init__(self, instrument: _Instrument, request: "Request") -> None:
        self._instrument = instrument
        self._resends = -1
        self._sent_at = 0.0
        self._about = {
            "http.request.method": request.method,
            "url.template": request.template,
            **instrument.server,
        }
        attributes = self._about | {"url.full": instrument.base_url + request.path}
        if request.session_id:
            attributes["emogg.session.id"] = request.session_id
        self._span = instrument.tracer.start_span(
            f"{request.method} {request.template}",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
        )
        self._context = trace.set_span_in_context(self._span)
        self._token = otel.attach(self._context)

    def departs(self) -> Mapping[str, str]:
        headers: dict[str, str] = {}
        propagate.inject(headers, self._context)
        self._resends += 1
        self._sent_at = time.perf_counter()
        self._instrument.active.add(1, self._about)
        return headers

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        facts: dict[str, str | int] = {"http.response.status_code": status}
        if status >= 400:
            facts["error.type"] = str(status)
        self._returned(facts)

    def failed(self, error: BaseException) -> None:
        self._returned({"error.type": _type_of(error)})

    def _returned(self, facts: dict[str, str | int]) -> None:
        seconds = time.perf_counter() - self._sent_at
        self._instrument.active.add(-1, self._about)
        self._instrument.duration.record(seconds, self._about | facts)

    def ends(self, error: BaseException | None) -> None:
        otel.detach(self._token)
        if self._resends > 0:
            self._span.set_attribute("http.request.resend_count", self._resends)
        if error is not None:
            self._span.set_attribute("error.type", _type_of(error))
        if isinstance(error, Exception):  # a cancellation is no failure
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


def _type_of(error: BaseException) -> str:
    """Return the status, or the full name of the error's class if there is none."""
    if isinstance(error, StatusError):
        return str(error.status)
    return f"{type(error).__module__}.{type(error).__qualname__}"
