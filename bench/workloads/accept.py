"""How much of the pipeline's time is spent in accepting: two flushes and a rename for each page."""

from __future__ import annotations

from bench.context import Context, say
from bench.table import Line
from bench.workloads import pipeline


def run(context: Context) -> list[Line]:
    shares = []
    for number in range(context.runs):
        ran = pipeline.ours_once(context, context.rows, measured=True)
        shares.append(100 * ran.measured["accept_s"] / ran.seconds)
        say(f"accept {number + 1}: {shares[-1]:.1f} % of {ran.seconds:.1f} s")
    return [Line("time inside accept, of the pipeline's", shares, "%", 20)]
