/* What the verbs that work on token ids share: options, parsing of ids, opening the engine. */
#ifndef MUGA_CMD_DEBUG_ENGINE_H
#define MUGA_CMD_DEBUG_ENGINE_H

#include "cmd/cmd.h"
#include "engine/engine.h"

typedef struct debug_engine {
    const char *ids_text, *kv, *isa, *adapter_text; /* as given */
    uint32_t ctx, threads;
    bool exact;
    cmd_values overrides;
    token_list ids;
    engine *engine;
    engine_session *session;
    engine_adapter *adapter; /* NULL = none was asked for */
    float adapter_scale;
} debug_engine;

/* The options all of them take; targets are in *d. */
#define DEBUG_ENGINE_OPTIONS(d)                                                                                        \
    {"--ids", 0, CMD_STRING, &(d)->ids_text, "LIST", "token ids, comma-separated"},                                    \
        {"--ctx", 0, CMD_U32, &(d)->ctx, "N", "context in tokens (default: the model's, at most 8192)"},               \
        KV_OPTION(&(d)->kv), {"--exact", 0, CMD_FLAG, &(d)->exact, NULL, "float activations instead of int8"},         \
        OVERRIDE_OPTION(&(d)->overrides), ADAPTER_OPTION(&(d)->adapter_text),                                          \
        {"--threads", 't', CMD_U32, &(d)->threads, "N", "threads (default: the cores there are)"}, {                   \
        "--isa", 0, CMD_STRING, &(d)->isa, "NAME", "ref, avx2, avx-vnni, avx512 or neon (default: the best there is)"  \
    }

/* Checks the options, opens model and session. -1 to go on, or the exit code; debug_engine_close in both cases. */
int debug_engine_open(debug_engine *d, const char *verb, const char *name, bool with_ids);
void debug_engine_close(debug_engine *d);
/* The options that are the engine's: kv, isa, exact, threads. -1 to go on, or the exit code. */
int debug_engine_settings(const debug_engine *d, engine_options *o);
/* The adapter that was asked for, for d->engine. -1 to go on, or the exit code. */
int debug_engine_load_adapter(debug_engine *d);

#endif
