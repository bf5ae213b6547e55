"""Break it on purpose: a seeded schedule of faults against the real daemon, then every row counted."""
