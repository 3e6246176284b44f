UPDATE outlast.job SET status = 'completed', holder = NULL, finished_at = $2, result = '1'
WHERE number = ANY ($1::bigint[]) AND status = 'processing' AND token = 1
