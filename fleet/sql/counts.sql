-- name: counts
-- What operators watch, each as a kind, a label and a number: agents by status, live alerts by severity, and
-- deliveries that are due.
SELECT 'agents' AS kind, status AS label, count(*) AS number FROM agents GROUP BY status
UNION ALL
SELECT 'alerts', severity, count(*) FROM alerts WHERE status <> 'resolved' GROUP BY severity
UNION ALL
SELECT 'due', '', count(*) FROM webhook_deliveries WHERE status = 'pending' AND next_attempt_at <= now();
