"""Images of requests: decoded and encoded in processes of their own, fetched, kept."""
