from typing import Any, get_args

from keras_plm.evaluation import Evaluation
from keras_plm.text import Examples

from .registry import task_of


def evaluate(model: Any, examples: Examples, batch_size: int = 32) -> Evaluation:
    """Run the model on all examples and compute the standard metrics of its task.

    | model | examples | scores |
    |---|---|---|
    | classifier | `LabeledTexts` | accuracy, macro-F1, Matthews; several labels: micro-F1, macro-F1, exact match |
    | classifier without labels | `LabeledTexts` | Pearson, Spearman, root mean squared error |
    | tagger | `TaggedSentences` | F1, precision and recall of entities, accuracy of tags |
    | question answerer | `Questions` | F1, exact match |
    | embedder | `LabeledTexts` of pairs with a score | Spearman and Pearson of the cosine |
    | text generator | `Completions`, `Conversations` | token accuracy, perplexity |
    | encoder-decoder | `Completions` | chrF, BLEU and ROUGE of greedy texts; token accuracy, perplexity |

    Args:
        model: a task model, or an exported artifact opened by `keras_plm.export.load_artifact`.
        examples: examples for the model's task.
        batch_size: examples per batch.

    Raises:
        TypeError: the model has no task, or the examples are for another task.
        ValueError: a label is unknown to the model; the message names the row.
    """
    task = task_of(model)
    if not isinstance(examples, task.examples):
        kinds = " or ".join(kind.__name__ for kind in get_args(task.examples) or [task.examples])
        raise TypeError(f"a {type(model).__name__} is evaluated on {kinds}, not {type(examples).__name__}")
    return task.evaluate(model, examples, batch_size)
