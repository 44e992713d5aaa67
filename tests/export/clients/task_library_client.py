"""Answers of the TFLite Task Library, in an environment of its own: task_library_client.py KIND MODEL < rows.json"""

import json
import sys

from tflite_support.task import text

kind, model = sys.argv[1:]
rows = json.load(sys.stdin)
if kind == "Classifier":
    classifier = text.BertNLClassifier.create_from_file(model)
    found = [classifier.classify(row).classifications[0].categories for row in rows]
    answers = [{category.category_name: category.score for category in row} for row in found]
else:
    answerer = text.BertQuestionAnswerer.create_from_file(model)
    found = [answerer.answer(context, question).answers for question, context in rows]
    answers = [answer[0].text if answer else "" for answer in found]
json.dump(answers, sys.stdout)
