"""Everything a library stores: the catalog (SQLite, the truth) and the index generations (FAISS, derived)."""
