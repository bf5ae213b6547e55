"""The audit: what was accepted against what is where, batch by batch.

``audit`` reads the journal, the folders of STORE and the sinks' ledgers, and changes nothing.
"""

from api2db.audit.project import audit
from api2db.audit.report import Audit, CollectorAudit, Finding, StreamAudit

__all__ = ["Audit", "CollectorAudit", "Finding", "StreamAudit", "audit"]
