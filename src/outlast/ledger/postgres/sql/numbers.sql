-- The numbers that so many jobs will have, and when they were submitted.
SELECT outlast.instant(:now), ARRAY(
  SELECT nextval(pg_get_serial_sequence('outlast.job', 'number')) FROM generate_series(1, :count::bigint))
