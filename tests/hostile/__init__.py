"""A server that answers in every wrong way we could think of, and clients that have to live with it."""
