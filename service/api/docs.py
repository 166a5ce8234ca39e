"""GET /v1/docs: Swagger UI, from files of this machine; FastAPI's own page takes them from another site."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

PAGE = "/v1/docs"
FILES = "/v1/docs-files"


def add_docs(app: FastAPI) -> None:
    """Add the page and its files, and lead "/" to it: BentoML's page there asks another site too.

    Args:
        app: whose OpenAPI document is shown.
    """
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url or "",
        title=app.title,
        swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES}/swagger-ui.css",
        swagger_favicon_url=f"{FILES}/favicon.png",
    )
    text = bytes(page.body).decode()
    headers = {"Content-Security-Policy": _policy(text)}
    app.mount(FILES, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs-files")

    @app.get(PAGE, include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(text, headers=headers)

    @app.get("/", include_in_schema=False)
    def index() -> RedirectResponse:
        return RedirectResponse(PAGE)


def _policy(page: str) -> str:
    """What the page may load: this service's files, and the script that stands in it."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
