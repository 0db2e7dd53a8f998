"""One task, thousands of jobs: what the batch operator and its trigger are made of."""
