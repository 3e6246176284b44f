SELECT key FROM doc WHERE kind = 'queue' AND json_extract(doc, '$.paused')
