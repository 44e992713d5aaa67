/* A SavedModel asked in plain C, on the C API in TensorFlow's wheel: no Python, and none of this package.
 *
 *   T=<site-packages>/tensorflow
 *   gcc saved_model_client.c -I$T/include -o client -L$T -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 \
 *       -Wl,-rpath,$T
 *   ./client FOLDER INPUT_OPERATION OUTPUT_OPERATION INDEX CLASSES [OPERATOR_LIBRARY ...] < texts
 *
 * One text a line; one line of CLASSES numbers for each. The libraries are TensorFlow Text's python/ops/_*.so. The names
 * of the operations are those of the signature, see `saved_model_cli show`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

#define MOST_TEXTS 4096
#define LONGEST 65536

static TF_Status* status;

static void check(const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: error %d %.500s\n", what, TF_GetCode(status), TF_Message(status));
  exit(1);
}

static TF_Output operation(TF_Graph* graph, const char* name, int index) {
  TF_Output out = {TF_GraphOperationByName(graph, name), index};
  if (out.oper) return out;
  fprintf(stderr, "no operation %s\n", name);
  exit(1);
}

/* (number,) strings of the lines of standard input. */
static TF_Tensor* read_texts(void) {
  static char* lines[MOST_TEXTS];
  static char line[LONGEST];
  int64_t number = 0;
  while (number < MOST_TEXTS && fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    lines[number++] = strdup(line);
  }
  TF_Tensor* texts = TF_AllocateTensor(TF_STRING, &number, 1, number * sizeof(TF_TString));
  TF_TString* strings = TF_TensorData(texts);
  for (int64_t i = 0; i < number; i++) {
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], lines[i], strlen(lines[i]));
    free(lines[i]);
  }
  return texts;
}

int main(int argc, char** argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: client FOLDER INPUT_OPERATION OUTPUT_OPERATION INDEX CLASSES [OPERATOR_LIBRARY ...]\n");
    return 2;
  }
  status = TF_NewStatus();
  for (int i = 6; i < argc; i++) { /* operators must be known before the model is loaded */
    TF_LoadLibrary(argv[i], status);
    check(argv[i]);
  }
  TF_Graph* graph = TF_NewGraph();
  const char* tags[] = {"serve"};
  TF_Session* session =
      TF_LoadSessionFromSavedModel(TF_NewSessionOptions(), NULL, argv[1], tags, 1, graph, NULL, status);
  check("load");

  TF_Output in = operation(graph, argv[2], 0), out = operation(graph, argv[3], atoi(argv[4]));
  TF_Tensor *texts = read_texts(), *found = NULL;
  TF_SessionRun(session, NULL, &in, &texts, 1, &out, &found, 1, NULL, 0, NULL, status);
  check("run");
  const float* numbers = TF_TensorData(found);
  const int classes = atoi(argv[5]);
  for (int64_t row = 0; row < TF_Dim(found, 0); row++)
    for (int i = 0; i < classes; i++) printf("%.7g%c", numbers[row * classes + i], i + 1 < classes ? ' ' : '\n');
  TF_CloseSession(session, status);
  check("close");
  return 0;
}
