import numpy as np
from keras import ops

from keras_plm.layers.masks import in_window, text_positions, visible_tokens

PADDING = np.array([[0, 1, 1, 2, 2, 2], [1, 1, 1, 1, 0, 0]], "int32")


def by_hand(mask):
    """Token t sees token s: s ≤ t, the same text, no padding."""
    return np.array(
        [[[int(s <= t and row[s] == row[t] > 0) for s in range(len(row))] for t in range(len(row))] for row in mask]
    )


def test_a_token_sees_its_own_text_up_to_itself():
    np.testing.assert_array_equal(visible_tokens(PADDING), by_hand(PADDING))


def test_positions_count_from_the_first_token_of_the_text():
    positions = text_positions(visible_tokens(PADDING))
    np.testing.assert_array_equal(positions, [[0, 0, 1, 0, 1, 2], [0, 1, 2, 3, 0, 0]])


def test_some_queries_of_a_row():
    whole = by_hand(PADDING)
    for first in range(4):
        index = ops.convert_to_tensor(first, "int32")
        np.testing.assert_array_equal(visible_tokens(PADDING, index, 3), whole[:, first : first + 3])
        window = in_window(visible_tokens(PADDING, index, 3), 2, index)
        near = np.tri(6, dtype=int) - np.tri(6, k=-2, dtype=int)
        np.testing.assert_array_equal(window, (whole * near)[:, first : first + 3])
