"""Pages made of code, one module a page: `python -m docs.reference [--check]`."""
