INSERT INTO event (job, seq, type, at, data)
SELECT value ->> 0, value ->> 1, value ->> 2, :now, value ->> 3 FROM json_each(:batch)
