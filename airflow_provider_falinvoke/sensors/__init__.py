"""Sensors: wait for jobs that something else submitted."""
