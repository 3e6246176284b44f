DELETE FROM outlast.doc WHERE kind = 'supervisor' AND key = :name
