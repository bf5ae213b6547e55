"""An answer's body as records: unpacked, its charset known, cut into records, within limits."""
