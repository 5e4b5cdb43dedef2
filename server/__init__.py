"""The HTTP server in front of the engine. It knows FastAPI, queues and metrics, and of `flashu_core` only the public
names; it never imports torch. `server.app.create_app` is the way in."""

__version__ = "0.1.0"
