"""Processes beside the front end: how they are started, and how messages travel."""
