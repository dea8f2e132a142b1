/* Private to llm/: compiled constraints, kept for the next request that asks for the same.
 *
 * A grammar is known by what it was compiled from; whoever took one gives it back. Those that nobody uses are kept as
 * long as all together stay within a limit, the one used longest ago goes first. From any number of threads. */
#ifndef MUGA_LLM_GRAMMARS_H
#define MUGA_LLM_GRAMMARS_H

#include "base/hash.h"
#include "constrain/constrain.h"

#define GRAMMARS_MAX 32u
#define GRAMMARS_BYTES ((size_t)48 << 20)

typedef struct grammars grammars;
/* max_bytes: of all that are kept. */
MUGA_MUST_USE muga_status grammars_new(size_t max_bytes, grammars **out, muga_error *err);
void grammars_free(grammars *c); /* none may be in use; NULL is fine */

/* What a grammar is compiled from, part by part. Order counts; parts don't run into one another. */
typedef struct grammars_key {
    sha256 hash;
    bool nomem;
    bool once; /* it depends on texts that another request won't have */
} grammars_key;
void grammars_key_init(grammars_key *k);
void grammars_key_text(grammars_key *k, const char *s); /* NULL is a part of its own */
void grammars_key_number(grammars_key *k, uint64_t v);
/* A schema, or NULL. Where it has grounded values and there are sources, the grammar is for one request. */
void grammars_key_schema(grammars_key *k, const json_t *schema, const constrain_options *o);

typedef muga_status (*grammars_compile)(void *ctx, constrain_grammar **out, muga_error *err);
/* The grammar of that key, compiled where it isn't there. c NULL: always compiled. Give it back. */
MUGA_MUST_USE muga_status grammars_take(grammars *c, grammars_key *k, grammars_compile compile, void *ctx,
                                        constrain_grammar **out, muga_error *err);
void grammars_give_back(grammars *c, constrain_grammar *g); /* NULL is fine */

typedef struct grammars_counts {
    uint64_t n_compiled, n_found; /* since the start */
    uint32_t n;                   /* there are */
    size_t bytes;                 /* they have, as far as they were given back */
} grammars_counts;
grammars_counts grammars_get_counts(grammars *c);

#endif
