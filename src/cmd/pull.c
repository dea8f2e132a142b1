/* muga pull, muga push: what Ollama's users try first, and where models come from until there is a registry. */
#include "cmd/cmd.h"

static int later(const char *verb, int argc, char **argv) {
    cmd_positional p = {.min = 1, .max = 1};
    int code = cmd_parse(verb, NULL, 0, argc, argv, &p);
    if (code >= 0)
        return code;
    return cmd_error(
        MUGA_E_ENV,
        "%s comes with the registry and isn't there yet; `muga create NAME --from FILE` makes a model of a "
        "GGUF file or a Hugging Face folder, scripts/setup --model fetches one",
        verb);
}

int cmd_pull(int argc, char **argv) {
    return later("pull", argc, argv);
}

int cmd_push(int argc, char **argv) {
    return later("push", argc, argv);
}
