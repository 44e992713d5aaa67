package org.kerasplm.reviews

import android.content.Context
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier

/** A label and how likely it is, in [0, 1]. */
data class Guess(val label: String, val probability: Float)

/**
 * The classifier that `to_tflite(…, metadata=True)` wrote: vocabulary and labels are inside the file.
 *
 * Not for several threads at once, and not for the main one: a text takes some milliseconds.
 */
class ReviewClassifier(context: Context, model: String = "model.tflite") : AutoCloseable {
    private val classifier = TextClassifier.createFromOptions(
        context,
        TextClassifier.TextClassifierOptions.builder()
            .setBaseOptions(BaseOptions.builder().setModelAssetPath(model).build())
            .build(),
    )

    /** All labels, the likeliest first. */
    fun classify(text: String): List<Guess> =
        classifier.classify(text).classificationResult().classifications().first().categories()
            .map { Guess(it.categoryName(), it.score()) }
            .sortedByDescending { it.probability }

    override fun close() = classifier.close()
}
