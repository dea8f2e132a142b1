/* Constraint engine: JSON Schema, regex and GBNF become one byte-level automaton, the automaton becomes a token mask.
 *
 *   grammar   compiled, immutable, shared between threads
 *   trie      the vocabulary as a byte trie, once per model, immutable, shared
 *   state     where one generation stands; cheap to copy; one thread at a time
 *
 * What can't be enforced while decoding is either enforced by re-validation (constrain_recheck) or refused by name at
 * compile time (MUGA_E_INPUT): never "accepted and unconstrained".
 * Annotations and keys the drafts don't define are ignored. Budgets: nesting, states, patterns, alternatives
 * (MUGA_E_LIMIT).
 */
#ifndef MUGA_CONSTRAIN_H
#define MUGA_CONSTRAIN_H

#include "base/json.h"
#include "base/str.h"

/* What counts where a schema has no $schema. AUTO: 2020-12, and draft 7's array form of `items` and `dependencies` too.
 */
typedef enum { CONSTRAIN_DRAFT_AUTO, CONSTRAIN_DRAFT_7, CONSTRAIN_DRAFT_2020_12 } constrain_draft;
/* "draft7" or "draft2020-12"; NULL gives AUTO; anything else is MUGA_E_INPUT. */
MUGA_MUST_USE muga_status constrain_parse_draft(const json_t *name, constrain_draft *out, muga_error *err);

/* Grounded values: a (sub)schema with "from": "conversation" or "tools" can only take a value that matches the
 * schema and occurs in one of that source's texts, bounded by non-alphanumerics. The set is computed at compile time.
 * "fold": "case", "space" or both in an array: letters count in any case, any run of white space as one space; the
 * value is then as the schema spells it (enum, const), or as it stands in the text, in small or in capital letters,
 * whichever the pattern takes. An optional parameter for which no value exists is left out; a required one makes the
 * compile fail with MUGA_E_NEGATIVE and a message that names the parameter. */
typedef struct constrain_source {
    const char *name; /* "conversation" or "tools" */
    const span *texts;
    size_t n_texts;
} constrain_source;

typedef struct constrain_options {
    constrain_draft draft;
    const constrain_source *sources; /* a "from" without its source given here: no value exists */
    size_t n_sources;
    bool free_whitespace;    /* false: compact */
    bool plain_integers;     /* 9 is written "9"; false: "9.0", too, which is the same number */
    bool note_formats;       /* `format` only annotates, but where $vocabulary asserts it; false: it is enforced */
    const json_t *documents; /* what $ref may lead to beside the schema itself: an object, address -> schema; or NULL */
} constrain_options;

/* ---- a whole answer: reasoning, then content, then calls ----
 *   answer  ::= [reasoning] ( content [calls] | calls )
 *   calls   ::= trigger start call (separator call)* end           of one form
 *   call    ::= before NAME middle ARGUMENTS after                  of one tool, ARGUMENTS by its schema
 * Content is text that can't hold a trigger: where one is complete, a call has begun. Literals are plain bytes; a
 * control token stands in them as its name between two bytes CONSTRAIN_CONTROL, which no text holds. */
#define CONSTRAIN_CONTROL '\xFF'
#define CONSTRAIN_BLANK '\x01' /* in a trigger at the start: any white space or none */

typedef struct constrain_form {
    const char *trigger;
    bool at_start; /* only as the first of the content, white space aside; it is then the beginning of start, before */
    const char *start; /* behind the trigger; of one at the start, which is its beginning, what is left */
    const char *before, *middle, *after;
    const char *separator; /* NULL: one call only */
    const char *end;
} constrain_form;

typedef struct constrain_call {
    const char *name;
    const json_t *schema; /* of its arguments. Where a grounded one has no value, the call can't be made */
} constrain_call;

typedef struct constrain_answer {
    const constrain_form *forms;
    size_t n_forms;
    const constrain_call *calls; /* [n_calls]; none: the triggers can't be written */
    size_t n_calls;
    bool must_call; /* no content: a call begins at once, after reasoning */
    bool parallel;
    const json_t *value;     /* content is a value of this schema; NULL: any text */
    const char *think_open;  /* the content may begin with reasoning behind this; NULL: not */
    const char *think_close; /* NULL: no reasoning */
    bool thinking;           /* the prompt has opened it */
    bool no_thinking;        /* think_open can't be written at the start */
    uint32_t think_tokens;   /* most tokens of reasoning, its close included; 0: no limit. A call of constrain_advance
                              * counts as one token */
    const constrain_options *options; /* of all schemas; may be NULL */
} constrain_answer;

typedef struct constrain_grammar constrain_grammar;
/* MUGA_E_INPUT names the tool whose schema can't be enforced; E_NEGATIVE as with grounded values, where no answer is
 * left. */
MUGA_MUST_USE muga_status constrain_compile_answer(const constrain_answer *a, constrain_grammar **out, muga_error *err);
MUGA_MUST_USE muga_status constrain_compile_schema(const json_t *schema, const constrain_options *options,
                                                   constrain_grammar **out, muga_error *err);
MUGA_MUST_USE muga_status constrain_compile_regex(const char *pattern, constrain_grammar **out,
                                                  muga_error *err); /* whole match */
MUGA_MUST_USE muga_status constrain_compile_gbnf(const char *text, size_t n, constrain_grammar **out, muga_error *err);
void constrain_grammar_free(constrain_grammar *g);
/* Memory that it takes now; it grows with the texts that are written under it. */
size_t constrain_grammar_bytes(const constrain_grammar *g);

/* Some keywords no mask can enforce (docs/constraint.md has the table). Then the grammar takes more texts than the
 * schema, and who decodes under it keeps the answer back until constrain_recheck has found it valid.
 * NULL: the mask says it all. Else which keyword it was, and where; borrowed. */
const char *constrain_rechecks(const constrain_grammar *g);
/* MUGA_OK: the whole text may leave. MUGA_E_NEGATIVE: it may not; err says why. Without constrain_rechecks: MUGA_OK.
 * Of a whole answer (below): its arguments, and its value, are to be validated by their own schemas (MUGA_E_USAGE). */
MUGA_MUST_USE muga_status constrain_recheck(const constrain_grammar *g, const char *text, size_t n, muga_error *err);

/* Values a grounded subschema could take right now (for messages, and for scoring instead of decoding).
 * Appends strings to the JSON array `out`, in order of first occurrence, without duplicates. */
MUGA_MUST_USE muga_status constrain_grounded_values(const json_t *subschema, const constrain_source *sources,
                                                    size_t n_sources, json_t *out, muga_error *err);

/* Where a value that the subschema takes from its source stands first, for the record. */
typedef struct constrain_place {
    size_t source, text; /* of the sources, and of its texts */
    size_t from, to;     /* bytes of that text */
} constrain_place;
/* MUGA_E_NEGATIVE: the subschema doesn't take it now. */
MUGA_MUST_USE muga_status constrain_grounded_place(const json_t *subschema, const json_t *value,
                                                   const constrain_source *sources, size_t n_sources,
                                                   constrain_place *out, muga_error *err);

/* ---- vocabulary ---- */
typedef struct constrain_vocab {
    uint32_t n;
    const span *pieces; /* [n] bytes the token appends; n == 0 bytes: never admitted */
    /* [n] names of control tokens, empty for all others; NULL: none. Such a token is admitted where the grammar of an
     * answer asks for it, and nowhere else; constrain_advance takes it as its name between two CONSTRAIN_CONTROL. */
    const span *controls;
} constrain_vocab;
typedef struct constrain_trie constrain_trie;
MUGA_MUST_USE muga_status constrain_trie_new(const constrain_vocab *v, constrain_trie **out, muga_error *err);
void constrain_trie_free(constrain_trie *t);

/* ---- state ---- */
typedef struct constrain_state constrain_state;
MUGA_MUST_USE muga_status constrain_state_new(const constrain_grammar *g, constrain_state **out, muga_error *err);
MUGA_MUST_USE muga_status constrain_state_copy(const constrain_state *s, constrain_state **out, muga_error *err);
void constrain_state_free(constrain_state *s);
/* Advance over bytes. *accepted false: the bytes do not fit and the state is unchanged. */
MUGA_MUST_USE muga_status constrain_advance(constrain_state *s, const char *p, size_t n, bool *accepted,
                                            muga_error *err);
bool constrain_is_complete(const constrain_state *s);  /* the text so far is a whole value */
bool constrain_can_continue(const constrain_state *s); /* some byte can follow */
/* Of a whole answer: in content that is any text. It may end anywhere there, and has no end of its own. */
bool constrain_in_text(const constrain_state *s);

/* Bit i of mask (n/64 words, rounded up) = token i may come next, and after it the value can still be closed with
 * `tokens_left - 1` further tokens (the shortest completion in tokens is bounded from above by greedy longest pieces,
 * so a bit that is set is safe). *may_end: the value is complete, so generation may stop here. No bit set and not
 * *may_end: MUGA_E_LIMIT (budget below the shortest valid value) named as such. */
MUGA_MUST_USE muga_status constrain_mask(constrain_state *s, const constrain_trie *t, uint32_t tokens_left,
                                         uint64_t *mask, bool *may_end, muga_error *err);
/* Whether the mask of this place has the bit of a token of the vocabulary that appends these bytes: less work than the
 * mask, where one token is asked about. Only of grammars that constrain_tells_tokens; of the others, which have objects
 * with keys that they don't list, the mask alone can tell. */
MUGA_MUST_USE muga_status constrain_admits(constrain_state *s, const constrain_trie *t, uint32_t tokens_left,
                                           span piece, bool *admits, muga_error *err);
bool constrain_tells_tokens(const constrain_state *s);
/* The bytes that must follow (one possible next byte after another), at most max bytes. Appends. */
void constrain_forced(const constrain_state *s, size_t max, str *out);
/* An upper bound of the tokens needed to complete from here (0 when complete). */
uint32_t constrain_tokens_to_close(constrain_state *s, const constrain_trie *t);

/* ---- validator ---- */
typedef struct constrain_validate_options {
    constrain_draft draft;
    bool formats;
    const json_t *documents; /* as in constrain_options */
} constrain_validate_options;
/* MUGA_OK: valid. MUGA_E_NEGATIVE: not; err names the JSON pointer and the keyword. MUGA_E_INPUT: the schema itself is
 * unusable. */
MUGA_MUST_USE muga_status constrain_validate(const json_t *schema, const json_t *data,
                                             const constrain_validate_options *options, muga_error *err);
#endif
