"""Decorators: TaskFlow functions that say what to make."""
