"""What an editor knows of the package after the README's install: checked by mypy on a user's script."""

import subprocess
import sys

SCRIPT = """
import keras_plm as plm
from keras_plm import export, recipes

encoder = recipes.Pretrain(corpus="books/*.txt", config=plm.MINI, save_to="mini").run()
reviews = recipes.Classify(start_from="mini", train="train.tsv", epochs=3, save_to="reviews").run()
labels = reviews.predict_labels(["A quiet, lovely film."])
tagger = recipes.Tag(start_from="mini", train="train.conll", save_to="tagger").run()
for row in tagger.tag(["Ada lived in London."]):
    for span in row:
        print(span.label, span.start + 1)
reader = recipes.AnswerQuestions(start_from="mini", train="train.json", save_to="reader").run()
print(plm.shrink(reviews, plm.TINY).predict_labels(["a"]))
print(reader.answer("Who?", "Ada.").text.upper())
vectors = recipes.Embed(start_from="mini", train="pairs.tsv", save_to="vectors").run().embed(["a"])
print(vectors.shape, labels)
path = export.to_tflite(reviews, "phone", quantization="dynamic_int8")
print(path.name, export.compare(reviews, path, "test.tsv").agreement)
rows = plm.text.LabeledTexts.read("train.tsv", "text", None, "label")
print(plm.evaluate(reviews, rows).scores["accuracy"] + 1.0)
config = plm.EncoderConfig(num_layers=2)
block = plm.EncoderBlock(num_heads=8, intermediate_dim=2048)
"""
WRONG = """
recipes.Classify(encodr="mini", train="train.tsv", save_to="reviews")
reviews.predict_labels(7)
plm.EncoderConfig(num_layer=2)
export.to_tflite(reviews, "phone", quantizaton="int4")
span.labl
plm.prune(tagger, "2:4").predict_label(["a"])
reveal_type(reviews)
"""


def mypy(script, *flags):
    command = [sys.executable, "-m", "mypy", *flags, "--no-error-summary", "--hide-error-context", str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=script.parent).stdout


def test_a_script_of_a_user(tmp_path):
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\n[mypy-keras.*,tensorflow.*,tensorflow_text.*]\nignore_missing_imports=True\n"
    )
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert mypy(script, "--strict") == ""
    script.write_text(SCRIPT + WRONG)
    found = mypy(script, "--strict")
    for words in (
        'Unexpected keyword argument "encodr"', 'incompatible type "int"',
        'Unexpected keyword argument "num_layer"', 'Unexpected keyword argument "quantizaton"',
        '"TaggedSpan" has no attribute "labl"', "Classifier",
    ):  # fmt: skip
        assert words in found, (words, found)
