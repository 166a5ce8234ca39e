"""The model behind its pool and its batcher gives what the backbone gives, whoever else asks; models share threads."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.images import decode_image
from service.batching.model import Model
from service.batching.workers import Workers, cores, process_workers
from service.classifier import Classifier
from service.errors import ApiError
from service.settings import Settings

SETTINGS = Settings(threads=1, max_batch=5)


@pytest.fixture
def workers() -> Workers:
    return Workers(1, 512)


def pngs(number: int) -> list[bytes]:
    rng, files = np.random.default_rng(0), []
    for _ in range(number):
        buffer = BytesIO()
        Image.fromarray(rng.integers(0, 256, (40 + rng.integers(60), 70, 3), np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


async def features(model: Model, *files: bytes) -> Tensor:
    pixels = await asyncio.gather(*(model.pixels(data, "image") for data in files))
    return await model.image_features(pixels)


def test_many_at_once_get_what_each_gets_alone(glyph_clip: Backbone, workers: Workers) -> None:
    model, files = Model(Classifier(glyph_clip), SETTINGS, workers), pngs(40)
    alone = torch.cat([glyph_clip.encode_image(glyph_clip.preprocess(decode_image(data))[None]) for data in files])

    async def main() -> Tensor:
        ones = [features(model, data) for data in files[:30]]
        return torch.cat(await asyncio.gather(*ones, features(model, *files[30:])))

    torch.testing.assert_close(asyncio.run(main()), alone, atol=1e-5, rtol=0)
    spread = torch.pdist(alone).min()
    assert spread > 1e-3  # so nobody was given another's


def test_a_bad_file_is_its_senders_alone(tiny_clip: Backbone, workers: Workers) -> None:
    model, (good,) = Model(Classifier(tiny_clip), SETTINGS, workers), pngs(1)

    async def main() -> list[object]:
        return await asyncio.gather(*(features(model, d) for d in (good, b"hello", good)), return_exceptions=True)

    first, bad, second = asyncio.run(main())
    assert isinstance(bad, ApiError)
    assert (bad.status, bad.field) == (415, "image")
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_time_is_up_for_what_waits(tiny_clip: Backbone, workers: Workers) -> None:
    model, (file,) = Model(Classifier(tiny_clip), Settings(threads=1, timeout_seconds=0.05), workers), pngs(1)

    async def main() -> float:
        pixels = await model.pixels(file, "image")
        busy = asyncio.create_task(model.run(time.sleep, 0.3))
        await asyncio.sleep(0)
        first = asyncio.create_task(model.image_features([pixels]))  # begins, behind the other work
        await asyncio.sleep(0.01)
        started = time.perf_counter()
        with pytest.raises(ApiError, match="too long") as caught:
            await model.image_features([pixels])
        assert caught.value.status == 503
        waited = time.perf_counter() - started
        await asyncio.gather(busy, first)
        return waited

    assert 0.04 < asyncio.run(main()) < 0.25


def test_chunks_of_other_work_and_batches_take_turns(tiny_clip: Backbone, workers: Workers) -> None:
    model, (file,) = Model(Classifier(tiny_clip), SETTINGS, workers), pngs(1)

    async def main() -> tuple[float, int]:
        pixels, done = await model.pixels(file, "image"), 0

        async def chunks() -> None:
            nonlocal done
            for done in range(1, 31):  # noqa: B007
                await model.run(time.sleep, 0.02)

        task = asyncio.create_task(chunks())
        await asyncio.sleep(0.01)
        before = done
        await model.image_features([pixels])
        passed = done - before
        task.cancel()
        return 0.0, passed

    assert asyncio.run(main())[1] <= 2  # of thirty


def test_models_of_one_tower_share_it(tiny_clip: Backbone, glyph_clip: Backbone, workers: Workers) -> None:
    class Tuned(Classifier):
        def encode_images(self, pixels: Tensor) -> Tensor:
            return -super().encode_images(pixels)

    kinds = [Classifier(tiny_clip), Classifier(tiny_clip), Tuned(tiny_clip), Classifier(glyph_clip)]
    one, same, tuned, other = (Model(classifier, SETTINGS, workers) for classifier in kinds)
    files, sizes = pngs(4), []

    class Watch:
        def image_batch(self, size: int) -> None:
            sizes.append(size)

        def stage(self, stage: str, seconds: float) -> None:
            pass

    same.watch(Watch())

    async def main() -> list[Tensor]:
        busy = asyncio.create_task(one.run(time.sleep, 0.1))
        found = await asyncio.gather(*(features(model, files[0]) for model in (one, same, tuned, other)), busy)
        return list(found[:4])

    a, b, negative, c = asyncio.run(main())
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    torch.testing.assert_close(a, -negative, atol=1e-6, rtol=0)
    assert float((a - c).abs().max()) > 1e-2
    assert sum(sizes) == 2  # what `one` and `same` were asked


def test_a_process_has_one_pair_of_pools(tiny_clip: Backbone) -> None:
    assert process_workers(1, 7) is process_workers(1, 7)
    assert process_workers(1, 7) is not process_workers(1, 8)


def test_the_models_thread_counts_its_own_threads() -> None:
    here, workers = torch.get_num_threads(), Workers(3, 1)
    try:
        assert workers.model.submit(torch.get_num_threads).result() == 3
        torch.set_num_threads(1)
        assert workers.model.submit(torch.get_num_threads).result() == 3
        workers.use_threads(2)
        assert (workers.model.submit(torch.get_num_threads).result(), workers.threads) == (2, 2)
    finally:
        torch.set_num_threads(here)


def test_cores_are_those_that_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    for wish, expected in (("", 6), ("2", 2), ("64", 6), ("0", 6), ("4,2", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", wish)
        assert cores() == expected


@pytest.mark.parametrize(("processes", "share"), [(1, 6), (2, 3), (4, 1), (7, 1)])
def test_worker_processes_measure_with_their_share_of_the_cores(
    tiny_clip: Backbone, workers: Workers, monkeypatch: pytest.MonkeyPatch, processes: int, share: int
) -> None:
    monkeypatch.setattr("service.batching.model.cores", lambda: 6)
    monkeypatch.setattr(
        "service.batching.limits.choose_threads",
        lambda _, most: tried.append(most) or most,  # type: ignore[func-returns-value]
    )
    tried: list[int] = []
    settings = Settings(workers=processes, max_batch=4)
    assert Model(Classifier(tiny_clip), settings, workers).measure().threads == (share if share > 1 else workers.threads)
    assert tried == ([share] if share > 1 else [])


def test_limits_are_measured_once_a_tower_and_printed(
    tiny_clip: Backbone, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(threads=1)
    model = Model(Classifier(tiny_clip), settings, workers)
    with caplog.at_level(logging.INFO, "candor.service"):
        found = model.measure()
    assert found.threads == 1
    assert found.max_batch in (1, 2, 4, 8, 16, 32, 64)
    assert found.images_per_second > 1
    assert model.max_batch == found.max_batch
    assert 1 <= model.text_chunk <= 256
    assert f"1 threads, batches of up to {found.max_batch} images" in caplog.text
    assert f"{model.text_chunk} labels at a time" in caplog.text
    assert Model(Classifier(tiny_clip), settings, workers).measure() is found


def test_settings_go_before_measurements(tiny_clip: Backbone, workers: Workers) -> None:
    model = Model(Classifier(tiny_clip), SETTINGS, workers)
    assert (model.measure().threads, model.max_batch) == (1, 5)


def test_measuring_while_requests_are_answered(tiny_clip: Backbone, workers: Workers) -> None:
    model, (file,) = Model(Classifier(tiny_clip), Settings(threads=1), workers), pngs(1)

    async def main() -> int:
        with ThreadPoolExecutor(1) as loader:
            measuring, answered = loader.submit(model.measure), 0
            while not measuring.done():
                await features(model, file)
                answered += 1
            return answered

    assert asyncio.run(main()) > 3


@pytest.mark.parametrize(("given", "threads"), [("auto", "auto"), ("3", 3)])
def test_threads_and_batches_are_numbers_or_auto(monkeypatch: pytest.MonkeyPatch, given: str, threads: object) -> None:
    monkeypatch.setenv("CANDOR_THREADS", given)
    monkeypatch.setenv("CANDOR_MAX_BATCH", given)
    assert (Settings().threads, Settings().max_batch) == (threads, threads)


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5"])
def test_other_threads_are_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CANDOR_THREADS", given)
    with pytest.raises(ValueError, match="threads"):
        Settings()
