"""Operators: submit jobs and bring their results home."""
