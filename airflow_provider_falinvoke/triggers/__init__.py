"""Triggers: wait for jobs without a worker slot."""
