"""STORE/journal.sqlite: every batch's acceptance and outcome per stream, every run, and how things are now.

Never needed for safety: batches are safe in the spool and counted once by the ledgers. It is what people and
``--status`` read. Writes are single transactions without a flush (WAL, synchronous=NORMAL): a killed process
loses none of them, a power cut may lose the newest.

``journal`` is what is told to it, ``sums`` what it adds up, ``file`` how it is opened, written and read.
"""
