SELECT version FROM outlast.doc WHERE kind = :kind AND key = :key
