-- What somebody should look at. Of one kind there is one living row per subject, by index and not by habit: raising it
-- again only counts.
CREATE TABLE alerts (
    id UUID PRIMARY KEY,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    subject_type TEXT NOT NULL
        CHECK (subject_type IN ('agent', 'license', 'server', 'webhook', 'release', 'cluster')),
    subject_id TEXT NOT NULL,
    title TEXT NOT NULL,
    detail JSONB NOT NULL DEFAULT '{}',
    status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'acknowledged', 'resolved')),
    occurrences INTEGER NOT NULL DEFAULT 1,
    raised_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_seen_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    acknowledged_at TIMESTAMPTZ,
    acknowledged_by TEXT,
    note TEXT,
    resolved_at TIMESTAMPTZ,
    resolved_by TEXT
);
CREATE UNIQUE INDEX alerts_live_key ON alerts (kind, subject_type, subject_id) WHERE status <> 'resolved';
CREATE INDEX alerts_page_idx ON alerts (raised_at DESC, id DESC);
-- What one agent has had: its page, and how often it came back lately.
CREATE INDEX alerts_subject_idx ON alerts (subject_id, kind);
