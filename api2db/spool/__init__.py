"""The durable queue: accepting a batch is one rename, everything after it can be repeated.

``CollectorSpool.accept`` writes a shard under a temporary name, flushes it, renames it into ``accepted/`` and flushes
that directory: two flushes, and batch and cursor are safe. The shard is then linked into the directory of each of
its streams and, unless told otherwise, into the log, where it stays for a time. The name in ``accepted/`` goes away
when the batch is *settled*: links and cursor file flushed, for all batches accepted since the last time at once, and
always before the first stream drops its link. A name found in ``accepted/`` at start is therefore a batch that no
stream has dropped, and its fan-out is repeated.

``collector`` accepts and settles, ``queue`` is what waits for one stream, ``recovery`` is the start; ``store`` is what
they share, ``origins`` the files in quarantine that batches are made of.
"""
