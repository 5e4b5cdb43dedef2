"""The page at `/docs`: Swagger UI over `/openapi.json`, with all its files from this server. They need an API key where
the document does."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter

from server.api.assets import POLICY, Asset

_SWAGGER = "fastapi_swagger"  # the package that has the files of Swagger UI
DOCS_FILES: Mapping[str, tuple[str, str, str]] = {
    "/docs": ("server", "ui/docs.html", "text/html; charset=utf-8"),
    "/docs/docs.js": ("server", "ui/docs.js", "text/javascript; charset=utf-8"),
    "/docs/swagger-ui.css": (_SWAGGER, "resources/swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/swagger-ui.js": (_SWAGGER, "resources/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "/docs/favicon.png": (_SWAGGER, "resources/favicon-32x32.png", "image/png"),
}


def docs_routes() -> APIRouter:
    """GET and HEAD of the files; they are not in the OpenAPI document."""
    router = APIRouter()
    for path, (package, name, media_type) in DOCS_FILES.items():
        asset = Asset.read(package, name, media_type, policy=POLICY)
        router.add_route(path, asset.endpoint(), methods=["GET"], include_in_schema=False)
    return router
