SELECT queue, task, tenant, concurrency_key, count(*) FROM outlast.job
WHERE status = 'processing' GROUP BY 1, 2, 3, 4
