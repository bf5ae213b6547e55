"""The faults, and which tests must notice each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One mistake somebody could make.

    path   the module it is made in
    old    what stands there, exactly once
    new    what the mistake makes of it
    tests  arguments of pytest: at least one of these must fail with it, and all pass without
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


ACCEPTS = "api2db/spool/collector.py"
RECOVERY = "api2db/spool/recovery.py"
DELIVERY = "api2db/runtime/delivery.py"
SQL = "api2db/sinks/sql.py"
FAMILY = "api2db/sinks/family.py"
SHARD_SINK = "api2db/sinks/local/shard.py"

FAULTS = (
    Fault(
        "the shard isn't flushed before it is accepted",
        ACCEPTS,
        "write_durable(temporary, data, flush=self._spool.durable)\n            reach(",
        "write_durable(temporary, data, flush=False)\n            reach(",
        ("tests/test_spool.py", "-k", "flushes"),
    ),
    Fault(
        "the directory isn't flushed after the accepting rename",
        ACCEPTS,
        "            self._spool.flush(self._accepted)\n            self._fan_out(name, streams)",
        "            self._fan_out(name, streams)",
        ("tests/test_spool.py", "-k", "flushes"),
    ),
    Fault(
        "the cursor's file isn't flushed",
        "api2db/state.py",
        "indent=1).encode(), flush=flush)",
        "indent=1).encode(), flush=False)",
        ("tests/test_spool.py", "-k", "flushes"),
    ),
    Fault(
        "the cursor moves before the shard has its name",
        ACCEPTS,
        "        try:\n            write_durable(temporary, data,",
        "        self._state = after_batch(self._state, cursor, batch.created_ns, types)\n"
        "        write_state(self._state_path, self._state, flush=self._spool.durable)\n"
        "        try:\n            write_durable(temporary, data,",
        ("tests/test_spool.py", "-k", "Machine or full_disk"),
    ),
    Fault(
        "accepted names go before the shard is in its streams' directories",
        ACCEPTS,
        "                for name, streams in unlinked:\n                    self._fan_out(name, streams)\n",
        "",
        ("tests/test_spool.py", "-k", "link_failed"),
    ),
    Fault(
        "recovery doesn't repeat the fan-out",
        ACCEPTS,
        "        self._fan_out(path.name, header.streams)\n",
        "",
        ("tests/test_spool.py", "-k", "Machine"),
    ),
    Fault(
        "recovery forgets the cursor of what it finds",
        ACCEPTS,
        "            if header.created_ns > self._state.last_ns:",
        "            if False:",
        ("tests/test_spool.py", "-k", "Machine"),
    ),
    Fault(
        "names begin again after the clock has stepped back",
        RECOVERY,
        "spool.clock.raise_to(read_state(path).last_ns)",
        "read_state(path)",
        ("tests/test_spool.py", "-k", "clock"),
    ),
    Fault(
        "a full disk leaves its half-written shard",
        "api2db/files.py",
        "            path.unlink(missing_ok=True)\n        raise",
        "            pass\n        raise",
        ("tests/test_spool.py", "tests/sinks/test_local.py", "-k", "full_disk"),
    ),
    Fault(
        "a shard's bytes aren't compared with its digest",
        "api2db/shard.py",
        "if digest.hexdigest().encode() != data[at : at + 64]:",
        "if False:",
        ("tests/test_shard.py",),
    ),
    Fault(
        "a shard is dropped before its receipt",
        DELIVERY,
        "        receipts = self.sink.load(taken.batches, self.quarantine)\n        if taken.superseded:",
        "        self.queue.drop(taken.shards, parked=lane.parked)\n"
        "        receipts = self.sink.load(taken.batches, self.quarantine)\n        if taken.superseded:",
        ("tests/runtime/test_delivery.py", "-k", "repeated_until"),
    ),
    Fault(
        "a failed load counts as delivered",
        DELIVERY,
        "            self.failed(error, lane)\n        except Exception as error:",
        "            self._succeeded(lane)\n"
        "            lane.shards.drop(len(shards))\n"
        "        except Exception as error:",
        ("tests/runtime/test_delivery.py",),
    ),
    Fault(
        "a young batch passes a parked one where order matters",
        DELIVERY,
        "        if self._parked.shards and self.sink.ordered:\n            return [self._parked]\n",
        "",
        ("tests/runtime/test_delivery.py", "-k", "order_matters"),
    ),
    Fault(
        "files are published before their shards are gone",
        DELIVERY,
        "        self.journal.delivered(self.collector, self.stream, taken.shards, receipts)\n",
        "        self.sink.publish(taken.batches)\n"
        "        self.journal.delivered(self.collector, self.stream, taken.shards, receipts)\n",
        ("tests/faults/test_kills.py", "-k", "journal.delivered or local.published"),
    ),
    Fault(
        "what was prepared is published at a start although its shard is there",
        SHARD_SINK,
        "            if self._is_there(ready.stem):\n                ready.unlink()\n            else:",
        "            if True:",
        ("tests/sinks/test_local.py",),
    ),
    Fault(
        "what was prepared is forgotten at a start",
        SHARD_SINK,
        "                self._publish_leftovers()\n",
        "",
        ("tests/sinks/test_local.py",),
    ),
    Fault(
        "the ledger is written outside the load's transaction",
        SQL,
        "        work = Family(connection, self._dialect, self._goal)\n        if self._dialect.ddl_commits:",
        "        with connection.begin():\n            new = ledger.claim(connection, self.stream, batches)\n"
        "        work = Family(connection, self._dialect, self._goal)\n        if self._dialect.ddl_commits:",
        ("tests/contract/test_faults.py", "-k", "killed_during"),
    ),
    Fault(
        "a row that loses a merge brings its children",
        FAMILY,
        "return pc.and_not(loaded, lost)",
        "return loaded",
        ("tests/contract/test_children.py", "-k", "newer_version and sqlite"),
    ),
    Fault(
        "the ledger isn't asked",
        SQL,
        "if batch.batch_id in new}",
        "}",
        ("tests/contract/test_load.py", "-k", "loaded_once or duplicate"),
    ),
    Fault(
        "rows the database refuses aren't kept",
        SQL,
        "            quarantine(batch, came.take(pa.array(rows, pa.int64())), reasons, rows)\n",
        "",
        ("tests/contract/test_load.py", "-k", "bad_row or refuses"),
    ),
    Fault(
        "a merge takes any version for the newest",
        "api2db/sinks/sqlite.py",
        'return f"{sql} WHERE {stored} IS NULL OR excluded.{version} >= {stored} COLLATE {by}"',
        "return sql",
        ("tests/contract/test_merge.py", "-k", "newest_version or dict"),
    ),
    Fault(
        "half a poll replaces a table",
        "api2db/runtime/replacement.py",
        "        if not ends or first < 0 or any(",
        "        if not ends:\n            return last\n        if first < 0 or any(",
        ("tests/runtime/test_replacement.py",),
    ),
    Fault(
        "the late result of an abandoned poll is accepted",
        "api2db/runtime/job.py",
        "        with run.lock:\n"
        "            if run.abandoned:\n"
        "                raise Abandoned\n"
        "            self._accept(",
        "        with run.lock:\n            self._accept(",
        ("tests/runtime/test_job.py", "-k", "abandoned"),
    ),
    Fault(
        "limits on the disk aren't looked at",
        ACCEPTS,
        "        if refusal:\n            raise StoreFullError",
        "        if False:\n            raise StoreFullError",
        ("tests/test_spool.py", "-k", "limit or free_space"),
    ),
    Fault(
        "two daemons may share a STORE",
        "api2db/layout.py",
        "fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        ("tests/test_spool.py", "-k", "second_daemon"),
    ),
    Fault(
        "rows that aren't accepted are dropped",
        "api2db/runtime/job.py",
        "            if shaped.held:\n                self._hold(shaped.held)\n",
        "",
        ("tests/runtime/test_inference.py",),
    ),
    Fault(
        "the log drops shards that still wait",
        "api2db/shardlog.py",
        "            if about.st_nlink > 1 or (cutoff_ns is not None and",
        "            if (cutoff_ns is not None and",
        ("tests/test_shardlog.py",),
    ),
    Fault(
        "a replayed file of quarantine goes before its batch is accepted",
        ACCEPTS,
        "                self._origins.check(origin)\n",
        "                self._origins.check(origin)\n            (self._layout.root / origin).unlink()\n",
        ("tests/runtime/test_mend.py",),
    ),
    Fault(
        "a file of quarantine can be replayed twice at once",
        "api2db/spool/origins.py",
        '            raise StoreError(f"{origin} is being replayed already',
        '            print(f"{origin} is being replayed already',
        ("tests/test_spool.py", "-k", "replayed_once"),
    ),
    Fault(
        "a shard of before the ledger's memory is loaded",
        DELIVERY,
        "if shard < self.horizon_ns]",
        "if shard < 0]",
        ("tests/runtime/test_retention.py",),
    ),
    Fault(
        "the ledger forgets what it doesn't agree about",
        "api2db/runtime/retention.py",
        "agreed = _before(lines, contradicts)",
        "agreed = lines",
        ("tests/runtime/test_retention.py",),
    ),
    Fault(
        "history is summed up although shards wait",
        "api2db/runtime/retention.py",
        "            until_ns = min(until_ns, oldest)\n",
        "            pass\n",
        ("tests/audit",),
    ),
    Fault(
        "the audit takes the journal's word",
        "api2db/audit/compare.py",
        'return Verdict(waiting=accepted, late=True) if found.shard else Verdict(wrong="not_in_place")',
        "return Verdict(loaded=rows, quarantined=quarantined)",
        ("tests/audit",),
    ),
    Fault(
        "a credential that was read isn't hidden where somebody quotes it",
        "api2db/secret.py",
        "    found += _known.spans(text, found)\n",
        "",
        ("tests/security/test_canaries.py",),
    ),
    Fault(
        "a BigQuery stream isn't on disk before rows go into it",
        "api2db/sinks/bigquery/appends.py",
        "            manifest = saved(self._begun(manifest))\n",
        "            manifest = self._begun(manifest)\n",
        ("tests/sinks/test_bigquery_fresh.py", "-k", "cut_off_is_in_once"),
    ),
    Fault(
        "an offset of a BigQuery stream that is taken is thought to be ours",
        "api2db/sinks/bigquery/appends.py",
        "(code == _ALREADY_EXISTS and in_doubt)",
        "code == _ALREADY_EXISTS",
        ("tests/sinks/test_bigquery_fresh.py", "-k", "end_is_elsewhere"),
    ),
    Fault(
        "SQLite goes on writing to a file that was deleted",
        "api2db/sinks/sqlite.py",
        "    if identity(path) != opened:\n",
        "    if False:\n",
        ("tests/contract/test_servers_in_trouble.py", "-k", "set_back_or_deleted"),
    ),
    Fault(
        "what may come again counts though its page was never accepted",
        "api2db/sources/incremental/seen.py",
        "while count < self._count:",
        "while file.peek(1):",
        ("tests/sources/incremental/test_simulated.py",),
    ),
    Fault(
        "rows from ahead of the clock count as reached",
        "api2db/sources/incremental/taking.py",
        " and (at is None or rank <= at)]",
        "]",
        ("tests/sources/incremental/test_values.py",),
    ),
)
