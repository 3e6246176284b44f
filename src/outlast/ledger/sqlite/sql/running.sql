-- In the order of the index, which needs no sorting: many workers may each hold many.
SELECT queue, task, tenant, concurrency_key, count(*) FROM job
WHERE status = 'processing' GROUP BY holder, queue, task, tenant, concurrency_key
