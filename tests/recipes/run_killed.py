"""A whole path that a test kills: read, train, save, export. Started again it goes on; at the end it prints a hash.

python run_killed.py FOLDER ENCODER TRAIN
"""

import hashlib
import sys
from pathlib import Path

from keras_plm.commands.quiet import quiet_start

with quiet_start():
    import keras_plm as plm
    from keras_plm import export
    from keras_plm.recipes import Classify

folder, encoder, train = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print("ready", flush=True)
if not (folder / "model").exists():
    Classify(
        start_from=encoder, train=train, validation_split=0.2, epochs=3, batch_size=8, max_length=16, load_best=True,
        learning_rate=3e-3, save_to=str(folder / "model"), verbose=0, precision="float32",
    ).run()  # fmt: skip
model = plm.load(folder / "model")  # there is a whole one, or none
phone = folder / "phone.onnx"
if not phone.exists():
    export.to_onnx(model, phone, overwrite=True)
answers = export.load_artifact(phone).predict_labels(["the cat sees", "a dog"])
weights = hashlib.sha256(b"".join(value.tobytes() for value in model.get_weights())).hexdigest()
print("done", weights, *answers, flush=True)
