"""The HTTP server in front of the engine. It uses only the public names of `flashu_core` and never imports torch; the
entry point is `server.app.create_app`."""

__version__ = "0.2.0"
