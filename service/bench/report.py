"""The whole of `candor bench serve`: a large model with random weights, then the embedded small one.

Method. One service, one machine: services, the model alone, the pipeline and the load generator each have a process of
their own, and all share the cores. Only one of them is at work at a time, except that the load generator works beside the
service; its own CPU time is in the table. Ours and each baseline have their turns one behind the other in the same run.
A cell's rate is the median of its turns, its latencies are those of all turns together. CPU time is that of the process
that holds the model, user and system, by the requests that it answered. Every answer in a measured cell is compared with
the answer that the same request gets alone; the first of these are compared with transformers'.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import glyph_world
from candor.clip.backbone import load_backbone
from candor.clip.templates import DEFAULT_TEMPLATE
from glyph_world.vocabulary import phrases
from service.bench import ratios
from service.bench.answers import TOLERANCE
from service.bench.cells import Cell, alternate
from service.bench.counting import counting
from service.bench.hugging_face import classify, pipeline_turn
from service.bench.processes import Helper
from service.bench.raw import Weights
from service.bench.section import Aims, Section, middle
from service.bench.setting import Findings, ServeFigures, Setting
from service.bench.target import Starter
from service.bench.traffic import form_body, json_body, labels
from service.bench.weights import write_random_weights
from vocab_index.bench.figures import Figure, parity
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import load_words

EMPTY = "service.bench.empty_service:Empty"
LARGE, SMALL = Aims(raw=True, labels=True), Aims(raw=False, labels=False)


def bench_serve(setting: Setting, start: Starter, on_done: Callable[[str], None]) -> ServeFigures:
    """Measure.

    Args:
        setting: what.
        start: runs services.
        on_done: called behind each of `count_parts(setting)` parts with its description.
    """
    findings = Findings(on_done)
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder, Helper() as generator, Helper() as beside:
        section = partial(Section, setting=setting, findings=findings, start=start, generator=generator, beside=beside)
        if setting.model:
            path = Path(folder) / "random.safetensors"
            beside.call(write_random_weights, setting.model, path)
            weights = Weights(setting.model, str(path), setting.threads)
            with section(f"{setting.model}, random weights", weights) as large:
                large.grid(LARGE, None)
                large.cold()
                against_pipeline(large)
        with section("glyph-clip", Weights(glyph_world.MODEL_NAME, None, setting.threads)) as small:
            small.grid(SMALL, small.serve("empty route", {}, EMPTY))
            small.cold()
            small.beside_model()
            other_requests(small, Path(folder) / "index")
    findings.figures += counting()
    findings.on_done("metrics")
    return ServeFigures.of(setting, findings)


def count_parts(setting: Setting) -> int:
    """How often `bench_serve` calls `on_done`."""
    shared = 2 + len(setting.clients)
    return (2 * shared + 4) if setting.model else shared + 3


def against_pipeline(section: Section) -> None:
    """The same images and labels through transformers, with the same weights: what it answers, and how fast."""
    names = labels(section.setting.pipeline_labels)
    load = f"{len(names)} labels"
    section.findings.figures.append(probability_parity(section, names))
    traffic = section.ours.prepare(load, section.bodies(names))
    seconds = section.setting.seconds
    call = partial(section.beside.call, pipeline_turn, section.weights, section.images, names, DEFAULT_TEMPLATE, seconds)
    few, many = min(section.setting.clients), max(section.setting.clients)
    turns = alternate(
        {str(count): partial(section.ours.turn, traffic, count, seconds) for count in (few, many)} | {"pipeline": call},
        section.setting.turns,
    )
    ours = [Cell(section.ours.name, load, count, turns[str(count)]) for count in (few, many)]
    pipeline = Cell("transformers pipeline", load, 1, turns["pipeline"])
    section.findings.cells += [*ours, pipeline]
    for cell in ours:
        aim = cell.clients == many
        section.findings.figures.append(ratios.against_pipeline(section.name, cell, pipeline, aim))
    section.findings.on_done(f"{section.name}: pipeline")


def probability_parity(section: Section, names: tuple[str, ...]) -> Figure:
    """The largest difference of a probability between the service and the pipeline, for the same template."""
    bodies = [form_body(image, names, template=DEFAULT_TEMPLATE) for image in section.images]
    ours = section.ours.prepare("parity", bodies).references or {}
    theirs = [section.beside.call(classify, section.weights, image, names, DEFAULT_TEMPLATE) for image in section.images]
    difference = max(abs(ours[i].scores[name] - theirs[i][name]) for i in range(len(theirs)) for name in names)
    return parity(section.name, "probabilities differ from transformers' by", difference, TOLERANCE)


def other_requests(section: Section, index: Path) -> None:
    """The same labels as JSON, with few scores, and with a vocabulary that open-set answers look into.

    Args:
        section: with the model that the vocabulary is encoded with.
        index: directory to write the vocabulary into.
    """
    count, clients = middle(section.setting.labels), middle(section.setting.clients)
    names = labels(count)
    section.beside.call(write_index, index, section.setting.words)
    indexed = section.serve("candor with a vocabulary", {"CANDOR_INDEX": str(index)})
    many = labels(max(section.setting.labels))
    sent = {
        "form": section.ours.prepare(f"{count} labels", section.bodies(names)),
        "json": section.ours.prepare(f"{count} labels, JSON", [json_body(image, names) for image in section.images]),
        "closed": section.ours.prepare(
            f"{count} labels, no open set", [form_body(image, names, open_set="false") for image in section.images]
        ),
        "top": section.ours.prepare(
            f"{len(many)} labels, top_k 5", [form_body(image, many, top_k="5") for image in section.images]
        ),
    }
    loads = {name: (section.ours, traffic) for name, traffic in sent.items()}
    loads["indexed"] = (indexed, indexed.prepare(f"{count} labels", section.bodies(names)))
    cells = section.measure(loads, clients)
    for name, other in cells.items():
        if name != "form":
            figure = f"CPU of a request, {other.service.partition(', ')[0]}, {other.load} · a form, {cells['form'].load}"
            section.findings.figures.append(Figure(section.name, figure, other.cpu, baseline=cells["form"].cpu))
    section.findings.on_done(f"{section.name}: other requests")


def write_index(path: Path, words: int) -> None:
    """An index of the embedded world's first phrases.

    Args:
        path: directory to write.
        words: at most.
    """
    glyph_world.register()
    backbone = load_backbone(glyph_world.MODEL_NAME)
    vocabulary = load_words("glyphs", known={"glyphs": phrases()[:words]})
    template = glyph_world.default_template(glyph_world.MODEL_NAME) or DEFAULT_TEMPLATE
    VocabularyIndex.build(backbone, vocabulary, template).save(path)
