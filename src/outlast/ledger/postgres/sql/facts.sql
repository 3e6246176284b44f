-- Of the transactions in this database, the one that keeps dead rows for the longest.
SELECT current_database(), current_setting('server_version'), pg_is_in_recovery(),
  (SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
   WHERE relnamespace = 'outlast'::regnamespace AND relkind = 'r'),
  (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8 FROM pg_stat_activity
   WHERE datname = current_database() AND backend_type = 'client backend')
