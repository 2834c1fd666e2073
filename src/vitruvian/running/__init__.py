"""A network under guard: batches that are as large as is fast, memory that runs out, numbers that overflow."""
