/* A whole text from one pattern. Owns nothing. Refuses what the patterns of schemas refuse. */
#include "constrain/front.h"

muga_status constrain_compile_regex(const char *pattern, constrain_grammar **out, muga_error *err) {
    uint64_t work = FRONT_MAX_WORK;
    graph g = {0};
    dfa *d = NULL;
    *out = NULL;
    muga_status st = regex_compile(pattern, strlen(pattern), REGEX_WHOLE, &work, &d, err);
    if (st != MUGA_OK)
        return st;
    g.root = graph_rule(&g);
    if (!g.nomem)
        graph_dfa(&g, g.rules[g.root].start, d, g.rules[g.root].end);
    dfa_free(d);
    return grammar_new(&g, NULL, out, err);
}
