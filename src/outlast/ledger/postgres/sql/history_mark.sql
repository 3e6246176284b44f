-- The newest position that is seen, and after that the number of a transaction: each that drew a position
-- up to this one has a lower number, because it changed a job before it wrote the event.
SELECT newest.position, pg_current_xact_id()::text
FROM (SELECT coalesce(max(position), 0) AS position FROM outlast.event) AS newest
