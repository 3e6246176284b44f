SELECT EXISTS (SELECT FROM outlast.job WHERE status = 'pending')
    OR EXISTS (SELECT FROM outlast.job WHERE status = 'processing')
