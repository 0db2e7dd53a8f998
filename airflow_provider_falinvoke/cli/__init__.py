"""``airflow falinvoke``: what the commands take (``definition``), and what they do (the other modules)."""
