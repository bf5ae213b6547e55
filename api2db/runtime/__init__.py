"""The daemon: who runs when. ``daemon`` owns a ``poller`` (sources) and a ``pool`` of deliveries (sinks)."""
