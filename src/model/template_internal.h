/* Private to the chat template: tokens, syntax tree, values, interpreter state.
 *
 * Life cycle: source -> lex (template_lex.c) -> parse (template_parse.c, template_statement.c) -> names to slots
 * (template_scope.c) -> tree in the template's arena. A render owns a second arena for every value it makes; nothing is
 * freed one by one. Failure is sticky: interp.status is set once, every function returns quickly afterwards, loops look
 * at it. */
#ifndef MUGA_MODEL_TEMPLATE_INTERNAL_H
#define MUGA_MODEL_TEMPLATE_INTERNAL_H

#include "base/mem.h"
#include "base/utf8.h"
#include "model/template.h"

#define TEMPLATE_MAX_SOURCE ((size_t)256 << 10) /* bytes; models' own have 30 KB at most */
#define TEMPLATE_STEPS_FLOAT 96                 /* that the shortest digits of a number cost */
#define TEMPLATE_STEPS_PRINTED 4                /* that an integer, or a character written as an escape costs */
#define TEMPLATE_STEPS_NAMED 4                  /* that finding a filter or test by its name costs */
#define TEMPLATE_STEP_FRAMES 8                  /* frames between a name and its value that cost a step */
#define TEMPLATE_STEP_NAMES 4                   /* names compared one by one that cost a step */
#define TEMPLATE_STEP_BYTES 32                  /* of memory taken, of text copied or compared that cost a step */
#define TEMPLATE_STEP_SCANNED 8                 /* of text gone through character by character */
#define TEMPLATE_STEP_MAPPED 2                  /* of text whose characters are looked up in Unicode's tables */

/* ---- values ---- */
typedef enum {
    TV_MISSING, /* a slot without a value yet; never leaves a frame */
    TV_UNDEFINED,
    TV_NONE,
    TV_BOOL,
    TV_INT,
    TV_FLOAT,
    TV_STRING,
    TV_LIST,
    TV_TUPLE,
    TV_DICT,
    TV_VIEW,  /* a dict's keys, values or items */
    TV_RANGE, /* from, from + step, ... */
    TV_ITERATOR,
    TV_NAMESPACE,
    TV_LOOP,
    TV_CYCLER,
    TV_JOINER,
    TV_MACRO,
    TV_FUNCTION,
    TV_METHOD
} tv_kind;

/* tv.form */
enum {
    FORM_PLAIN,
    FORM_SAFE,      /* TV_STRING: marked as markup; joined with plain text, that text is escaped */
    FORM_GROUP,     /* TV_TUPLE: of the filter groupby, whose parts also have names */
    FORM_KEYS,      /* TV_VIEW */
    FORM_VALUES,    /* TV_VIEW */
    FORM_ITEMS,     /* TV_VIEW */
    FORM_ATTRIBUTE, /* TV_UNDEFINED: u.s is an attribute that the value of kind n_str doesn't have */
    FORM_ELEMENT,   /* TV_UNDEFINED: u.i is an element that the value of kind n_str doesn't have */
    FORM_UNSAFE,    /* TV_UNDEFINED: u.s is an attribute that would change the value of kind n_str or reveal Python */
    FORM_HINT       /* TV_UNDEFINED: u.s is the whole message */
};

typedef struct tv tv;
typedef struct tv_list tv_list;
typedef struct tv_dict tv_dict;
typedef struct tv_range tv_range;
typedef struct tv_macro tv_macro;
typedef struct tv_method tv_method;
typedef struct tv_loop tv_loop;
typedef struct node node;
typedef struct frame frame;

struct tv {
    uint8_t kind, form;
    uint32_t n_str; /* TV_STRING: bytes; strings are below 4 GiB by the memory limit */
    union {
        bool b;
        int64_t i;
        double d;
        const char *s; /* TV_STRING; TV_UNDEFINED: a name or message, ends in NUL */
        tv_list *list; /* TV_LIST, TV_TUPLE; TV_ITERATOR: what is left; TV_CYCLER; TV_JOINER: separator, used */
        tv_dict *dict; /* TV_DICT, TV_VIEW, TV_NAMESPACE */
        tv_range *range;
        tv_macro *macro;
        tv_method *method;
        tv_loop *loop;
        int function; /* index of a global function */
    } u;
};
struct tv_list {
    size_t n, at; /* at: TV_CYCLER's place */
    tv *v;
};
struct tv_dict {
    size_t n, cap;
    tv *keys, *values;
}; /* insertion order */
struct tv_range {
    int64_t from, stop, step, n;
};
struct tv_macro {
    const node *def;
    frame *closure;
};
struct tv_method {
    tv self;
    int id; /* row of the kind's table in template_method.c */
};
struct tv_loop {
    int64_t i, n, depth; /* depth from 0; only recursive calls add to it */
    tv *items;
    const node *recursive; /* the loop's node, or NULL */
    frame *outer;          /* the frame around the loop */
    tv_list *changed;      /* arguments of the last call of loop.changed; NULL: none yet */
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
    N_NSREF,
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
    N_GENERATION,
    N_BREAK,
    N_CONTINUE,
    N_WITH
} node_kind;

/* How a slot begins when its frame is entered. */
typedef enum { LOAD_PARAMETER, LOAD_CONTEXT, LOAD_ALIAS, LOAD_MISSING } load_kind;
typedef struct slot_info {
    uint32_t name; /* index of the template's names */
    load_kind load;
    uint32_t up, slot; /* LOAD_ALIAS: frames outward, and the slot there */
} slot_info;
typedef struct frame_info {
    struct frame_info *parent;
    uint32_t id, n, cap;
    slot_info *slots;
} frame_info;

/* One shape for all nodes; which members a kind uses stands beside its parser.
 *   items/n_items   operands, elements, statements, positional arguments
 *   keys            N_DICT: keys; calls: keyword values; N_MACRO, N_CALL_BLOCK: defaults (NULL = none)
 *   names           calls: keyword names; N_MACRO: parameters; parallel to keys[] from 0 to n_keys
 *   star, star2     calls: *args and **kwargs, or NULL */
struct node {
    node_kind kind;
    int op;    /* N_BINARY: token type; N_TEST: 1 = "is not"; N_FILTER, N_TEST: see index; N_FOR: 1 = recursive */
    int index; /* N_FILTER, N_TEST: row of its table, -1 = none of that name */
    uint32_t line;
    const char *name;
    uint32_t name_id;  /* N_NAME, N_NSREF, N_MACRO, parameters: index of the template's names */
    uint32_t up, slot; /* where the name lies: frames outward, and the slot there */
    node *a, *b, *c, *d;
    node **items;
    size_t n_items;
    node **keys;
    const char **names;
    uint32_t *name_ids; /* parameters: parallel to names */
    int *ops;
    size_t n_keys;
    node *star, *star2;
    tv value;
    frame_info *frame, *test_frame, *else_frame;               /* of the body; N_FOR alone has the others */
    int32_t caller_slot, kwargs_slot, varargs_slot, loop_slot; /* -1: the body doesn't speak of it */
};

/* Names that the language itself gives a meaning: their indices in every template. */
enum { NAME_CALLER, NAME_KWARGS, NAME_VARARGS, NAME_LOOP };

struct template {
    arena mem;
    node *root;
    frame_info *frame;
    const char **names;
    uint32_t n_names;
};
struct template_expression {
    template t;
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
typedef struct template_tokens {
    token *v;
    size_t n, cap;
} template_tokens;

/* Tokens of a whole template, or (expression_only) of one bare expression. list->v is malloc'ed: caller frees. */
muga_status template_lex(const char *source, size_t n, bool expression_only, arena *mem, template_tokens *list,
                         muga_error *err);
muga_status template_parse(const template_tokens *tokens, bool expression_only, template *t, muga_error *err);
/* Gives every name its slot and every frame its list of them; looks filters and tests up. */
muga_status template_resolve(template *t, muga_error *err);
/* White space as Python's strip and \s know it. */
bool template_is_space(uint32_t cp);
/* The last character of p[0, n), n > 0: its length; an ill-formed byte is one. */
size_t template_last_char(const char *p, size_t n, uint32_t *cp);
static inline size_t template_first_char(const char *p, size_t n, uint32_t *cp) {
    *cp = (uint8_t)*p;
    size_t k = *cp < 0x80 ? 1 : utf8_decode(p, n, cp);
    return k ? k : 1;
}

/* ---- interpreter ---- */
struct frame {
    frame *parent;
    const frame_info *info;
    tv slots[];
};

typedef struct interp {
    arena mem;
    const template *t;
    const json_t *context;
    tv *context_values; /* [t->n_names] of the context or the global functions, TV_MISSING = not looked up yet */
    template_limits limits;
    uint64_t steps;
    uint32_t depth;
    int64_t now_ms;
    bool calls_allowed;
    str *out; /* current output: the caller's, or a capture */
    frame *frame;
    int loop_control; /* 0, N_BREAK or N_CONTINUE while unwinding to the loop */
    uint32_t line;
    str *raised; /* NULL, or where the message of raise_exception goes */
    muga_status status;
    muga_error *err;
} interp;

static inline bool interp_failed(const interp *in) {
    return in->status != MUGA_OK;
}
tv interp_fail(interp *in, muga_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What using an undefined value says; `what` names it where the value knows no name. */
tv interp_fail_undefined(interp *in, tv v);
/* Count n steps of work; false when the budget is gone (sticky). */
bool interp_charge(interp *in, uint64_t n);
static inline bool interp_charge_bytes(interp *in, size_t n) {
    return interp_charge(in, 1 + n / TEMPLATE_STEP_BYTES);
}
static inline bool interp_charge_scan(interp *in, size_t n) {
    return interp_charge(in, 1 + n / TEMPLATE_STEP_SCANNED);
}
static inline bool interp_charge_mapping(interp *in, size_t n) {
    return interp_charge(in, 1 + n / TEMPLATE_STEP_MAPPED);
}
/* n bytes looked through for a needle: memmem on one that nearly fits everywhere is as slow as a scan. */
static inline bool interp_charge_search(interp *in, size_t n, size_t n_needle) {
    return n_needle > 1 ? interp_charge_scan(in, n) : interp_charge_bytes(in, n);
}
void *interp_alloc(interp *in, size_t bytes);
/* What reading or writing d with so many digits behind the point costs: the more, the longer it is written out. */
bool interp_charge_real(interp *in, double d, int64_t n_digits);
/* A text that is being made: bounded like everything a render makes. */
void interp_str_init(const interp *in, str *s);
/* n more bytes fit into what a render may hold; else fails by name. For lengths that come from numbers. */
bool interp_has_room(interp *in, uint64_t n);

/* values (template_value.c, template_print.c, template_sequence.c) */
extern const tv TV_UNDEF, TV_NULL;
tv tv_bool(bool b);
tv tv_int(int64_t i);
tv tv_float(double d);
tv tv_borrow(const char *p, size_t n); /* the bytes outlive the render */
tv tv_literal(const char *s);
tv tv_text(interp *in, const char *p, size_t n); /* copied */
tv tv_from_str(interp *in, str *s);              /* copied; s released */
tv tv_undefined(const char *name);
tv tv_undefined_hint(const char *message);
tv tv_missing_of(interp *in, tv owner, tv key, uint8_t form); /* key: the attribute or element that isn't there */
tv tv_list_new(interp *in, tv_kind kind, size_t n);           /* elements undefined */
tv tv_pair(interp *in, tv a, tv b);                           /* a tuple */
tv tv_dict_new(interp *in, size_t cap);
void tv_dict_set(interp *in, tv_dict *d, tv key, tv value);
bool tv_dict_get(interp *in, const tv_dict *d, tv key, tv *out);
bool tv_dict_get_name(interp *in, const tv_dict *d, const char *name, tv *out);
tv tv_from_json(interp *in, const json_t *v);
bool tv_truth(interp *in, tv v);
bool tv_hashable(tv v);
bool tv_equal(interp *in, tv a, tv b);
int tv_compare(interp *in, tv a, tv b, const char *op); /* -1 0 1, 2 = unordered; fails on types without order */
bool tv_is_number(tv v);
bool tv_is_integer(tv v); /* int or bool */
double tv_number(tv v);
int64_t tv_integer(tv v);
const char *tv_kind_name(tv v); /* as Python names it */
bool tv_is_text(tv v, const char *s);
/* The elements of an iterable; an iterator is used up. */
bool tv_iterate(interp *in, tv v, tv_list *out);
bool tv_is_iterable(tv v);
bool tv_length(interp *in, tv v, int64_t *n); /* false: a kind without len() */
bool tv_contains(interp *in, tv container, tv item);
tv tv_range_at(const tv_range *r, int64_t i);

void tv_write(interp *in, tv v, str *out); /* str(v) */
void tv_write_repr(interp *in, tv v, str *out);
void tv_write_ascii(interp *in, tv v, str *out); /* repr without anything beyond ASCII */
void tv_write_float(double d, str *out);
void tv_append(interp *in, str *out, tv text); /* a string's bytes, charged */
/* n times `fill`, one character of k bytes: charged, and bounded like all that comes from a number */
void tv_append_fill(interp *in, str *out, const char *fill, size_t k, int64_t n);
tv tv_to_text(interp *in, tv v); /* str(v); a marked string stays marked */

size_t tv_text_length(tv v);                /* code points */
tv tv_text_at(interp *in, tv v, int64_t i); /* by code point; TV_MISSING outside */
tv tv_slice(interp *in, tv v, tv start, tv stop, tv step);
/* Bytes of the code points [from, to) of a string, as Python's optional start and end arguments cut it. *n_before:
 * code points before it. */
tv tv_text_window(interp *in, tv v, tv from, tv to, int64_t *n_before);
size_t tv_byte_offset(tv v, size_t i); /* of code point i, at most the length */

/* evaluation (template_eval.c, template_operator.c, template_exec.c) */
typedef struct call_args {
    const tv *v;
    size_t n;
    const char *const *names;
    const tv *named;
    size_t n_named;
} call_args;
tv interp_eval(interp *in, const node *n);
bool interp_eval_args(interp *in, const node *n, call_args *out);
tv interp_filters(interp *in, const node *n, tv innermost); /* a chain whose innermost input is NULL */
tv interp_call(interp *in, tv callee, const call_args *args);
tv interp_binary(interp *in, int op, tv a, tv b);
tv interp_sign(interp *in, bool negative, tv v);
bool interp_compare(interp *in, int op, tv a, tv b);
tv interp_get_attr(interp *in, tv object, const char *name);             /* object.name */
bool interp_find_attr(interp *in, tv object, const char *name, tv *out); /* without falling back on elements */
tv interp_get_item(interp *in, tv object, tv key);                       /* object[key] */
void interp_exec(interp *in, const node *n);
tv interp_call_macro(interp *in, const tv_macro *m, const call_args *args);
tv interp_call_loop(interp *in, const tv_loop *loop, tv items);
bool interp_enter(interp *in);
frame *interp_frame_new(interp *in, const frame_info *info, frame *parent);
tv interp_context_value(interp *in, uint32_t name);

/* Arguments by position and name into out[0, number of words in `parameters`): TV_MISSING where not given. The first
 * `required` must be. Fails by name on what is too much or unknown. */
bool template_bind(interp *in, const char *who, const char *parameters, size_t required, const call_args *args,
                   tv *out);
#define TEMPLATE_MAX_PARAMETERS 8

/* built-ins */
int template_function_find(const char *name); /* -1 when there is none */
const char *template_function_repr(int function);
tv template_function_call(interp *in, int function, const call_args *args);
int template_filter_find(const char *name);
tv template_filter(interp *in, int index, tv input, const call_args *args);
tv template_filter_by_name(interp *in, tv name, tv input, const call_args *args);
int template_test_find(const char *name);
bool template_test(interp *in, int index, tv input, const call_args *args);
bool template_test_by_name(interp *in, tv name, tv input, const call_args *args);
typedef struct filter_row {
    const char *name, *parameters; /* NULL: the filter looks at its arguments itself */
    size_t required;
    tv (*apply)(interp *, tv, const tv *, const call_args *);
} filter_row;
extern const filter_row template_text_filters[], template_sequence_filters[]; /* each ends with a NULL name */
tv template_get_path(interp *in, tv v, tv path, tv otherwise); /* "a.0.b"; otherwise: TV_MISSING or a default */

/* methods (template_method.c, template_text.c): find gives TV_METHOD, or an undefined one that would be unsafe */
bool template_method_find(interp *in, tv self, const char *name, tv *out);
tv template_method_call(interp *in, const tv_method *m, const call_args *args);
int template_text_method_find(const char *name);
const char *template_text_method_name(int id);
tv template_text_method_call(interp *in, tv self, int id, const call_args *args);
tv template_text_strip(interp *in, tv v, tv set, bool left, bool right);
tv template_text_replace(interp *in, tv v, tv from, tv to, int64_t max);
tv template_text_split(interp *in, tv v, tv separator, int64_t max, bool from_right);
tv template_text_lines(interp *in, tv v, bool keep_ends);
tv template_text_pad(interp *in, tv v, int64_t width, tv fill, int align); /* -1 left, 0 centre, 1 right */
typedef enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP, CASE_FOLD } letter_case;
tv template_text_case(interp *in, tv v, letter_case how);
bool template_text_is_cased(tv v, bool upper);    /* isupper, islower */
bool template_text_is_digits(tv v);               /* isdigit */
int template_digit_value(uint32_t cp);            /* 0-9 of any script's decimal digit, -1 */
bool template_text_class(tv v, const char *name); /* isalpha and its like, by name */
tv template_escape(interp *in, tv v);             /* HTML; a marked string stays as it is */

/* formatting (template_format.c, template_percent.c) */
tv template_percent(interp *in, tv format, tv args, bool named);  /* format % args */
tv template_format(interp *in, tv format, const call_args *args); /* format.format(...) */
/* An integer or float as %-formats and format specifications write it. */
typedef struct number_style {
    char type; /* d x X o b c e E f F g G %, 0 = none given */
    char sign; /* '-', '+' or ' ' */
    bool alternate, zero;
    int64_t width, precision; /* -1: none */
    char grouping;            /* ',' '_' or 0 */
} number_style;
void template_write_integer(interp *in, int64_t i, const number_style *s, str *out);
void template_write_real(interp *in, double d, const number_style *s, str *out);

typedef struct json_style {
    bool ascii, sort_keys;
    const char *indent;     /* one level, NULL = one line */
    const char *item, *key; /* separators */
} json_style;
void template_write_json(interp *in, tv v, const json_style *style, int level, str *out);
#endif
