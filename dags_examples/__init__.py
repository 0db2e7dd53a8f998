"""Example DAGs: one idea a file; each runs as it stands against the emulator and against the real API."""
