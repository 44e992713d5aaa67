"""Answers of MediaPipe Tasks, in an environment that has nothing else: mediapipe_client.py KIND MODEL < texts.json"""

import json
import sys

from mediapipe.tasks.python import text

kind, model = sys.argv[1:]
texts = json.load(sys.stdin)
if kind == "Classifier":
    with text.TextClassifier.create_from_model_path(model) as classifier:
        rows = [classifier.classify(one).classifications[0].categories for one in texts]
    answers = [{category.category_name: float(category.score) for category in row} for row in rows]
else:
    with text.TextEmbedder.create_from_model_path(model) as embedder:
        answers = [[float(x) for x in embedder.embed(one).embeddings[0].embedding] for one in texts]
json.dump(answers, sys.stdout)
