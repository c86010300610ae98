"""Pictures whose labels, numbers or masks are named by a table, a CSV file."""
