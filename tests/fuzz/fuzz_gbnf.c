/* Grammars: parse, and read the rest of the input as text; nothing may crash, leak or run on. The grammar ends at the
 * first NUL. */
#include "base/mem.h"
#include "constrain/constrain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    size_t n = end ? (size_t)(end - data) : size;
    constrain_grammar *g = NULL;
    constrain_state *s = NULL;
    muga_error err = {0};
    if (constrain_compile_gbnf((const char *)data, n, &g, &err) == MUGA_OK &&
        constrain_state_new(g, &s, &err) == MUGA_OK) {
        for (size_t i = n + 1; i < size; i++) {
            bool accepted = false;
            if (constrain_advance(s, (const char *)data + i, 1, &accepted, &err) != MUGA_OK)
                break;
        }
        str forced = STR_INIT;
        constrain_forced(s, 64, &forced);
        str_release(&forced);
    }
    constrain_state_free(s);
    constrain_grammar_free(g);
    return 0;
}
