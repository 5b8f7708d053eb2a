"""Argos Translate, the engine of LibreTranslate: exports Transformers as a package, which runs in CTranslate2."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

from nmt.corpus.languages import code_of, language_name
from nmt.errors import ConfigError
from nmt.export.ctranslate2 import export_ctranslate2
from nmt.runtime.atomic import atomic_write
from nmt.storage.bundle import LoadedModel


def export_argos(loaded: LoadedModel, file: Path, quantization: str | None = None) -> None:
    """Writes an `.argosmodel`: a zip archive of the model for CTranslate2, its tokenizer and what it translates.

    Argos Translate splits texts into sentences before it translates them. It gets what it needs for that by itself.

    Args:
        loaded: a Transformer of one direction with one vocabulary of subwords, for text as it is written.
        file: is written complete or not at all.
        quantization: as in `nmt.export.ctranslate2.export_ctranslate2`.

    Raises:
        ConfigError: the model cannot be exported.
    """
    data, tokenizers = loaded.recipe.data, loaded.tokenizers
    if tokenizers.source is not tokenizers.target:
        raise ConfigError("Argos Translate has one vocabulary for both sides: train with tokenizer.joint = true")
    if data.tag_target or data.lowercase:
        key = "tag_target" if data.tag_target else "lowercase"
        raise ConfigError(f"Argos Translate has no counterpart of data.{key} = true")
    if data.normalise != "none":
        raise ConfigError(f"Argos Translate has no counterpart of data.normalise = {data.normalise!r}")
    if loaded.recipe.tokenizer.kind == "word":
        raise ConfigError("Argos Translate makes one token of unknown words in a row: tokenizer.kind = 'word' differs")
    if loaded.recipe.tokenizer.kind == "byte":
        raise ConfigError(
            "Argos Translate writes the codes of bytes instead of the text: tokenizer.kind = 'byte' differs"
        )
    source, target = code_of(data.source), code_of(data.target)
    told = {
        "package_version": "1.0",
        "argos_version": "1.0",
        "from_code": source,
        "from_name": language_name(source),
        "to_code": target,
        "to_name": language_name(target),
    }
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        export_ctranslate2(loaded, Path(folder) / "model", quantization)
        root = f"translate-{source}_{target}"
        archive.writestr(f"{root}/metadata.json", json.dumps(told, indent=1))
        archive.writestr(f"{root}/sentencepiece.model", tokenizers.source.model)
        for path in sorted((Path(folder) / "model").iterdir()):
            if path.suffix != ".spm":
                archive.write(path, f"{root}/model/{path.name}")
    atomic_write(file, packed.getvalue())
