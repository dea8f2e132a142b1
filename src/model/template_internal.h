/* Private to the chat template: tokens, syntax tree, values, interpreter state.
 *
 * Life cycle: source -> lex (template_lex.c) -> parse (template_parse.c) -> tree in the template's arena.
 * A render owns a second arena for every value it makes (template_value.c); nothing is freed one by one.
 * Failure is sticky: interp.status is set once, every function returns quickly afterwards, loops look at it.
 */
#ifndef MUGA_TEMPLATE_INTERNAL_H
#define MUGA_TEMPLATE_INTERNAL_H

#include "base/mem.h"
#include "model/template.h"

#define TEMPLATE_MAX_SOURCE ((size_t)1 << 20) /* bytes */

/* ---- values ---- */
typedef enum {
    TV_UNDEFINED,
    TV_NONE,
    TV_BOOL,
    TV_INT,
    TV_FLOAT,
    TV_STRING,
    TV_LIST,
    TV_TUPLE,
    TV_DICT,
    TV_NAMESPACE,
    TV_MACRO,
    TV_FUNCTION,
    TV_METHOD,
    TV_LOOP,
    TV_GENERATOR
} tv_kind;

typedef struct tv tv;
typedef struct tv_list tv_list;
typedef struct tv_dict tv_dict;
typedef struct tv_macro tv_macro;
typedef struct tv_method tv_method;
typedef struct tv_loop tv_loop;
typedef struct node node;
typedef struct scope scope;

struct tv {
    tv_kind kind;
    uint32_t n_str; /* TV_STRING: bytes; strings are below 4 GiB by the memory limit */
    union {
        bool b;
        int64_t i;
        double d;
        const char *s; /* TV_STRING; TV_UNDEFINED: the missing name, or NULL */
        tv_list *list; /* TV_LIST, TV_TUPLE, TV_GENERATOR */
        tv_dict *dict; /* TV_DICT, TV_NAMESPACE */
        tv_macro *macro;
        tv_method *method;
        tv_loop *loop;
        int function; /* index of a global function */
    } u;
};
struct tv_list {
    size_t n;
    tv *v;
};
struct tv_dict {
    size_t n, cap;
    tv *keys, *values;
}; /* insertion order */
struct tv_macro {
    const node *def;
    scope *closure;
    bool has_caller;
    tv caller;
};
struct tv_method {
    tv self;
    const char *name;
};
struct tv_loop {
    int64_t i, n, depth;
    const tv *items;
};

/* ---- syntax tree ---- */
typedef enum {
    N_CONST,
    N_NAME,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_FILTER,
    N_TEST,
    N_LIST,
    N_TUPLE,
    N_DICT,
    N_NOT,
    N_NEG,
    N_POS,
    N_BINARY,
    N_COMPARE,
    N_AND,
    N_OR,
    N_CONCAT,
    N_COND,
    N_DATA,
    N_OUTPUT,
    N_BODY,
    N_IF,
    N_FOR,
    N_SET,
    N_SET_BLOCK,
    N_MACRO,
    N_CALL_BLOCK,
    N_FILTER_BLOCK,
    N_BREAK,
    N_CONTINUE,
    N_WITH
} node_kind;

/* One shape for all nodes; which members a kind uses stands beside its parser.
 *   items/n_items   operands, elements, statements, positional arguments, macro parameters
 *   keys            N_DICT: keys; N_COMPARE: unused; calls: keyword values; N_MACRO: defaults (NULL = none)
 *   names           calls: keyword names, parallel to keys[] from 0 to n_keys */
struct node {
    node_kind kind;
    int op; /* N_BINARY: token type; N_COMPARE: unused (ops[]); N_TEST: 1 = "is not" */
    uint32_t line;
    const char *name;
    node *a, *b, *c, *d;
    node **items;
    size_t n_items;
    node **keys;
    const char **names;
    int *ops;
    size_t n_keys;
    tv value;
};

struct template {
    arena mem;
    node *root;
};
struct template_expression {
    arena mem;
    node *root;
};

/* ---- tokens ---- */
typedef enum {
    T_EOF,
    T_DATA,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VAR_BEGIN,
    T_VAR_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_LBRACKET,
    T_RBRACKET,
    T_LPAREN,
    T_RPAREN,
    T_LBRACE,
    T_RBRACE,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
    T_IN,
    T_NOT_IN /* made by the parser for N_COMPARE */
} token_type;
typedef struct token {
    token_type type;
    uint32_t line;
    span text; /* T_DATA, T_NAME, T_STRING (unescaped): in the arena */
    int64_t i;
    double d;
} token;
typedef struct token_list {
    token *v;
    size_t n, cap;
} token_list;

/* Tokens of a whole template, or (expression_only) of one bare expression. list->v is malloc'ed: caller frees. */
muga_status template_lex(const char *source, size_t n, bool expression_only, arena *mem, token_list *list,
                         muga_error *err);
muga_status template_parse(const token_list *tokens, arena *mem, uint32_t max_depth, node **root, muga_error *err);
muga_status template_parse_expression(const token_list *tokens, arena *mem, uint32_t max_depth, node **root,
                                      muga_error *err);

/* ---- interpreter ---- */
typedef struct var {
    const char *name;
    tv value;
    struct var *next;
} var;
struct scope {
    var *vars;
    scope *parent;
};

typedef struct interp {
    arena mem;
    template_limits limits;
    uint64_t steps;
    uint32_t depth;
    int64_t now_ms;
    bool calls_allowed;
    str *out; /* current output: the caller's, or a capture */
    scope *scope;
    int loop_control; /* 0, N_BREAK or N_CONTINUE while unwinding to the loop */
    int64_t loop_depth;
    uint32_t line;
    muga_status status;
    muga_error *err;
} interp;

static inline bool interp_failed(const interp *in) {
    return in->status != MUGA_OK;
}
tv interp_fail(interp *in, muga_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Count n steps of work; false when the budget is gone (sticky). */
bool interp_charge(interp *in, uint64_t n);
void *interp_alloc(interp *in, size_t bytes);

/* values (template_value.c) */
extern const tv TV_UNDEF, TV_NULL;
tv tv_bool(bool b);
tv tv_int(int64_t i);
tv tv_float(double d);
tv tv_borrow(const char *p, size_t n);           /* the bytes outlive the render */
tv tv_text(interp *in, const char *p, size_t n); /* copied */
tv tv_from_str(interp *in, str *s);              /* copied; s released */
tv tv_undefined(const char *name);
tv tv_list_new(interp *in, tv_kind kind, size_t n); /* elements undefined */
tv tv_dict_new(interp *in, size_t cap);
void tv_dict_set(interp *in, tv_dict *d, tv key, tv value);
bool tv_dict_get(interp *in, const tv_dict *d, tv key, tv *out);
bool tv_dict_get_name(interp *in, const tv_dict *d, const char *name, tv *out);
tv tv_from_json(interp *in, const json_t *v);
bool tv_truth(tv v);
bool tv_equal(interp *in, tv a, tv b);
int tv_compare(interp *in, tv a, tv b); /* -1 0 1; fails on types without order */
bool tv_is_number(tv v);
double tv_number(tv v);
const char *tv_kind_name(tv v);            /* as Python names it */
void tv_write(interp *in, tv v, str *out); /* str(v) */
void tv_write_repr(interp *in, tv v, str *out);
tv tv_to_text(interp *in, tv v);
size_t tv_text_length(tv v);                /* code points */
tv tv_text_at(interp *in, tv v, int64_t i); /* by code point; undefined outside */
tv tv_slice(interp *in, tv v, tv start, tv stop, tv step);
bool tv_is_text(tv v, const char *s);
/* The elements of an iterable: list, tuple, dict (keys), string (characters), undefined (none). */
bool tv_iterate(interp *in, tv v, tv_list *out);
bool tv_contains(interp *in, tv container, tv item);

/* evaluation (template_eval.c) */
tv interp_eval(interp *in, const node *n);
void interp_exec(interp *in, const node *n);
tv interp_get_attr(interp *in, tv object, const char *name);
tv interp_get_item(interp *in, tv object, tv key);
typedef struct call_args {
    const tv *v;
    size_t n;
    const char **names;
    const tv *named;
    size_t n_named;
} call_args;
tv interp_call(interp *in, tv callee, const call_args *args);

/* built-ins (template_builtin.c, template_method.c, template_json.c) */
int template_function_find(const char *name); /* -1 when there is none */
tv template_function_call(interp *in, int function, const call_args *args);
tv template_filter(interp *in, const char *name, tv input, const call_args *args);
bool template_test(interp *in, const char *name, tv input, const call_args *args);
bool template_has_method(tv v, const char *name);
tv template_method_call(interp *in, const tv_method *m, const call_args *args);
void template_write_json(interp *in, tv v, bool ascii, int indent, bool sort_keys, const char *item_separator,
                         const char *key_separator, str *out);
tv call_arg(const call_args *a, size_t i, const char *name, tv otherwise);
bool call_has(const call_args *a, size_t i, const char *name);
#endif
