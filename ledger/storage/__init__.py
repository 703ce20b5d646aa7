"""The ledger's file: connections, tables, the writer, the hash chain."""
