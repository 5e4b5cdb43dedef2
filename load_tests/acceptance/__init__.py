"""This server, held to its promises."""
