package org.kerasplm.reviews

import android.app.Activity
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import java.util.concurrent.Executors
import java.util.concurrent.Future

/** A field to type into, and what the model makes of it. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var classifier: ReviewClassifier? = null // of the worker alone
    private var waiting: Future<*>? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val field = EditText(this).apply { hint = "A quiet, lovely film." }
        val answer = TextView(this).apply { textSize = 18f }
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            setPadding(48, 96, 48, 48)
            addView(field)
            addView(answer)
        })
        field.addTextChangedListener(object : TextWatcher {
            override fun afterTextChanged(text: Editable) = classify(text.toString(), answer)
            override fun beforeTextChanged(text: CharSequence, start: Int, count: Int, after: Int) = Unit
            override fun onTextChanged(text: CharSequence, start: Int, before: Int, count: Int) = Unit
        })
        classify("", answer)
    }

    /** Only the last of the texts that wait is answered: people type faster than models answer. */
    private fun classify(text: String, answer: TextView) {
        waiting?.cancel(false)
        waiting = worker.submit {
            val shown = runCatching {
                val model = classifier ?: ReviewClassifier(this).also { classifier = it }
                model.classify(text).take(3).joinToString("\n") { "%s  %.1f %%".format(it.label, 100 * it.probability) }
            }.getOrElse { "no answer: ${it.message}" } // such as a package without model.tflite
            runOnUiThread { answer.text = shown }
        }
    }

    override fun onDestroy() {
        worker.submit { classifier?.close() }
        worker.shutdown()
        super.onDestroy()
    }
}
