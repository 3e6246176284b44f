-- What was set for a subject, what the code declares for it, its own record if it is a queue.
SELECT kind, key, doc FROM doc WHERE kind IN ('declared', 'limit') AND key = :subject
UNION ALL
SELECT kind, key, doc FROM doc WHERE kind = 'queue' AND :subject = 'queue:' || key AND key = substr(:subject, 7)
