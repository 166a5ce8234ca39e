from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from service.api.docs import add_docs
from service.guard.access import DOCS
from service.guard.chain import guarded
from service.guard.keys import KeySet, NamedKey, digest, write_keys
from service.settings import Settings


def asking(**settings: Any) -> TestClient:
    app = FastAPI(title="Candor", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    add_docs(app)
    return TestClient(guarded(app, Settings(**settings or {"allow_anonymous": True})))


def test_the_page_loads_from_this_service_alone() -> None:
    with asking() as client:
        page = client.get("/v1/docs")
        loads = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loads) == 3
        assert all(path.startswith("/v1/docs-files/") for path in loads)
        assert "http" not in re.sub(r"<!DOCTYPE html>", "", page.text)
        files = [client.get(path) for path in loads]
    assert [file.status_code for file in files] == [200] * 3
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"


def test_a_browser_opens_the_page_without_a_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(write_keys(KeySet(keys=(NamedKey(name="phone", role="api", sha256=digest(b"candor_phone")),))))
    keys.chmod(0o600)
    with asking(keys=keys) as client:
        loads = re.findall(r'(?:src|href)="([^"]+)"', client.get("/v1/docs").text)
        assert {"/v1/docs", "/v1/openapi.json", *loads} == DOCS
        assert [client.get(path).status_code for path in DOCS] == [200] * 5
        assert client.get("/v1/docs-files/redoc.standalone.js").status_code == 401


def test_the_root_leads_to_it() -> None:
    with asking() as client:
        found = client.get("/", follow_redirects=False)
    assert (found.status_code, found.headers["location"]) == (307, "/v1/docs")
