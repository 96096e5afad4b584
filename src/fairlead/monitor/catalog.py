"""Where traces can be sent: name -> class, imported on first use."""

from __future__ import annotations

from fairlead.core.catalog import Catalog, Variant

TRACE_SINKS = Catalog("trace sink", "fairlead.trace_sinks", {"otlp": Variant("fairlead.monitor.otlp_sink:OtlpSink", "otel")})
