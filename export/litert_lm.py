"""Text generator → `.litertlm`, the bundle of LiteRT-LM: model, tokenizer and settings in one file."""

import tempfile
from pathlib import Path
from typing import Any

from keras_plm.checkpoints.tokenizer_writer import write_tokenizer
from keras_plm.models import check_free, whole_file
from keras_plm.tasks import TextGenerator, task_of

from .artifact_files import artifact_path
from .loaded_model import load_artifact
from .optional_imports import import_extra
from .tflite.converter import to_tflite
from .verify import ExportError

_PROMPTS = ("The house", "a", "Once upon a time, there was")
_NEW_TOKENS = 16


def to_litert_lm(
    model: TextGenerator,
    path: str | Path,
    quantization: str = "dynamic_int8",
    max_length: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a `.litertlm` for LiteRT-LM on Android, iOS and desktops, and verify it in LiteRT-LM itself.

    The model inside is the one of `to_tflite`, which is verified against the Keras model first. Then LiteRT-LM has to
    write the same greedy texts as the `.tflite`. LiteRT-LM puts the token that begins texts before every prompt, even
    if the model's tokenizer does not.

    Args:
        model: a `TextGenerator` with its tokenizer.
        path: a file that ends in `.litertlm`, or a folder for `model.litertlm`.
        quantization: the quantization scheme, as in `to_tflite`.
        max_length: maximum number of tokens of a prompt and its continuation together, rounded down to a multiple of
            8; None means the model's limit.
        overwrite: replace an existing file.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ImportError: the extra `litert-lm` is not installed.
        TypeError: the model is not a `TextGenerator`.
        ValueError: as in `to_tflite`; or the tokenizer has no token that begins or ends texts.
        ExportError: as in `to_tflite`; or LiteRT-LM splits a text into other tokens, or writes another text.

    Example:
        >>> to_litert_lm(writer, "saved_models/phone")  # doctest: +SKIP
        PosixPath('saved_models/phone/model.litertlm')
    """
    builder = import_extra("litert_lm_builder.litertlm_builder", "litert-lm")
    if not task_of(model, keras=True).generates or not model.continues_prompts:
        raise TypeError(f"LiteRT-LM generates text; give a TextGenerator, not a {type(model).__name__}")
    path = artifact_path(path, ".litertlm")
    check_free(path, overwrite)
    # with an odd length, LiteRT-LM 0.18 ends texts early: 97 positions had room for 63 tokens
    max_length = (max_length or model.longest_row) // 8 * 8
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tflite = to_tflite(model, folder / "model.tflite", quantization, max_length)
        generator = load_artifact(tflite)
        write_tokenizer(model.tokenizer, folder, generator.longest_row)
        (folder / "metadata.pb").write_bytes(_metadata(model, generator.longest_row).SerializeToString())
        bundle = builder.LitertLmFileBuilder()
        made_by = builder.Metadata(key="author", value="keras_plm", dtype=builder.DType.STRING)
        bundle.add_system_metadata(made_by)  # the format needs at least one such entry
        bundle.add_llm_metadata(str(folder / "metadata.pb"))
        bundle.add_hf_tokenizer(str(folder / "tokenizer.json"))
        bundle.add_tflite_model(str(tflite), builder.TfLiteModelType.PREFILL_DECODE)
        made = folder / path.name
        with open(made, "wb") as file:
            bundle.build(file)
        _verify(made, generator)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as written:
            written.write_bytes(made.read_bytes())
    return path


def _metadata(model: TextGenerator, length: int) -> Any:
    metadata = import_extra("litert_lm_builder.runtime.proto.llm_metadata_pb2", "litert-lm").LlmMetadata()
    begin = model.texts_to_ids([""])[0]  # LiteRT-LM ends the process if there is none
    if not begin:
        raise ValueError("LiteRT-LM needs a token that begins texts, but the tokenizer has neither bos nor eos")
    metadata.start_token.token_ids.ids.extend(begin)
    for token_id in model.end_ids:
        metadata.stop_tokens.add().token_ids.ids.append(token_id)
    metadata.max_num_tokens = length
    metadata.llm_model_type.generic_model.SetInParent()
    metadata.supports_thinking = False
    metadata.supports_function_calling = False
    return metadata


def _verify(bundle: Path, generator: Any) -> None:
    """Raise ExportError unless LiteRT-LM splits texts into the same tokens, and writes the same texts."""
    runtime = import_extra("litert_lm", "litert-lm")
    runtime.set_min_log_severity(runtime.LogSeverity.ERROR)
    greedy = runtime.SamplerConfig(top_k=1, temperature=1.0)
    options = {"max_num_tokens": generator.longest_row, "cache_dir": ":nocache"}
    count = min(_NEW_TOKENS, generator.longest_row // 2)
    # the token that LiteRT-LM puts before every prompt, unless the tokenizer does so too
    begin = "".join(generator.needs_tokenizer().vocabulary[i] for i in generator.texts_to_ids([""])[0])
    if generator.needs_tokenizer().template.num_before("A", pair=False):
        begin = ""
    with runtime.Engine(str(bundle), backend=runtime.Backend.CPU(), **options) as engine:
        for prompt in _PROMPTS:
            found, wanted = engine.tokenize(prompt), generator.needs_tokenizer().encode(prompt).token_ids
            if list(found) != list(wanted):
                raise ExportError(f"LiteRT-LM splits {prompt!r} into the tokens {found}, not {wanted}")
            with engine.create_session(
                apply_prompt_template=False, sampler_config=greedy, max_output_tokens=count
            ) as session:
                session.run_prefill([prompt])
                text = session.run_decode().texts[0]
            expected = generator.generate([f"{begin}{prompt}"], max_new_tokens=count)[0]
            expected, _, _ = expected.partition("\0")  # LiteRT-LM's texts are C strings
            if text.strip() != expected.strip():
                raise ExportError(f"LiteRT-LM continues {prompt!r} with {text!r}, not with {expected!r}")
