INSERT INTO outlast.level (queue, priority, at, starts)
SELECT :queue, * FROM unnest(:priorities::integer[], :ats::bigint[], :starts::bigint[])
ON CONFLICT (queue, priority) DO UPDATE SET at = excluded.at, starts = excluded.starts
