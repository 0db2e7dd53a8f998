"""The tab *Media*: the pictures and sounds of a task instance, read from its result and its storage."""

#: Below this, the api-server answers from our app.
URL_PREFIX = "/falinvoke"
#: The last part of the tab's address on Airflow's pages.
URL_ROUTE = "falinvoke-media"
