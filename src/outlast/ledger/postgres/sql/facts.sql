-- Of the transactions in this database, the one that keeps dead rows for the longest. Vacuum is off
-- when it is so for the server, or for any of our tables.
SELECT current_database(), current_setting('server_version'), pg_is_in_recovery(),
  (SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
   WHERE relnamespace = 'outlast'::regnamespace AND relkind = 'r'),
  (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8 FROM pg_stat_activity
   WHERE datname = current_database() AND backend_type = 'client backend'),
  current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'),
  (SELECT CASE WHEN coalesce(bool_or(option IN ('autovacuum_enabled=false', 'autovacuum_enabled=off')), false)
    THEN 'off' ELSE current_setting('autovacuum') END
   FROM pg_class, unnest(reloptions) AS option WHERE relnamespace = 'outlast'::regnamespace),
  current_setting('transaction_read_only')
