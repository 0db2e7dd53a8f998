"""Long speech: texts split into parts that a model takes, and their sounds and timings joined again."""
