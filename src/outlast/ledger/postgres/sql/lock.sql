-- Whoever judges the same things waits here for the other; all at once and in one order, so that nobody
-- waits in a circle.
SELECT pg_advisory_xact_lock(name)
FROM (SELECT DISTINCT hashtextextended('outlast ' || name, 0) AS name
      FROM unnest(:names::text[]) AS given (name) ORDER BY 1) AS ordered
