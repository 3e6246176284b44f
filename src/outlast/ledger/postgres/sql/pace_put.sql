INSERT INTO outlast.pace (subject, due, at)
SELECT * FROM unnest(:subjects::text[], :dues::bigint[], :ats::bigint[])
ON CONFLICT (subject) DO UPDATE SET due = excluded.due, at = excluded.at
