"""ASGI middleware, outermost first in `server.app`."""
