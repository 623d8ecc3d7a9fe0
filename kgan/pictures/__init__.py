"""Pictures of one's own: folders, arrays and zips of them, decoded once and mapped into memory."""
