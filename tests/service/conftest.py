from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from candor.clip.backbone import Backbone
from service.app import create_app
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.guard.chain import guarded
from service.metrics import ServiceMetrics
from service.settings import Settings
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app(tiny_clip: Backbone, registry: CollectorRegistry) -> FastAPI:
    settings = Settings(max_body_bytes=200_000, max_pixels=1_000_000, max_images=3, max_labels=50)
    words = collect("x", ["cat", "dog", "sun", "anchor", "moon", "tree"])
    index = VocabularyIndex.build(tiny_clip, replace(words, metadata=[{"gloss": f"a {word}"} for word in words.words]))
    return serving(Classifier(tiny_clip, index=index), settings, registry)


def serving(classifier: Classifier, settings: Settings, registry: CollectorRegistry) -> FastAPI:
    app = create_app(settings)
    metrics = ServiceMetrics(registry)
    app.state.engine = Engine(settings, serve_classifier(classifier, settings), metrics)
    return app


@pytest.fixture
def without_vocabulary(tiny_clip: Backbone, registry: CollectorRegistry) -> Iterator[TestClient]:
    with TestClient(serving(Classifier(tiny_clip), Settings(), registry), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    settings = Settings(max_body_bytes=200_000, allow_anonymous=True)
    with TestClient(guarded(app, settings), raise_server_exceptions=False) as client:
        yield client
