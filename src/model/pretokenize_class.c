/* Classes of characters. Owns the table of ASCII and the map from Unicode's categories; the categories are utf8proc's.
 */
#include "model/pretokenize_class.h"

#include <utf8proc.h>

#include <stdbool.h>

static bool is_space(uint32_t cp) {
    return (cp >= 0x09 && cp <= 0x0D) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
           cp == 0x3000;
}

/* One row a general category, in the order of utf8proc's enumeration, which is Unicode's. */
static const uint16_t by_category[] = {[UTF8PROC_CATEGORY_LU] = CLASS_LETTER | CLASS_UPPER,
                                       [UTF8PROC_CATEGORY_LT] = CLASS_LETTER | CLASS_UPPER,
                                       [UTF8PROC_CATEGORY_LL] = CLASS_LETTER | CLASS_LOWER,
                                       [UTF8PROC_CATEGORY_LM] = CLASS_LETTER,
                                       [UTF8PROC_CATEGORY_LO] = CLASS_LETTER,
                                       [UTF8PROC_CATEGORY_MN] = CLASS_MARK,
                                       [UTF8PROC_CATEGORY_MC] = CLASS_MARK,
                                       [UTF8PROC_CATEGORY_ME] = CLASS_MARK,
                                       [UTF8PROC_CATEGORY_ND] = CLASS_NUMBER,
                                       [UTF8PROC_CATEGORY_NL] = CLASS_NUMBER,
                                       [UTF8PROC_CATEGORY_NO] = CLASS_NUMBER,
                                       [UTF8PROC_CATEGORY_PC] = CLASS_PUNCT,
                                       [UTF8PROC_CATEGORY_PD] = CLASS_PUNCT,
                                       [UTF8PROC_CATEGORY_PS] = CLASS_PUNCT,
                                       [UTF8PROC_CATEGORY_PE] = CLASS_PUNCT,
                                       [UTF8PROC_CATEGORY_PI] = CLASS_PUNCT,
                                       [UTF8PROC_CATEGORY_PF] = CLASS_PUNCT,
                                       [UTF8PROC_CATEGORY_PO] = CLASS_PUNCT,
                                       [UTF8PROC_CATEGORY_SM] = CLASS_SYMBOL,
                                       [UTF8PROC_CATEGORY_SC] = CLASS_SYMBOL,
                                       [UTF8PROC_CATEGORY_SK] = CLASS_SYMBOL,
                                       [UTF8PROC_CATEGORY_SO] = CLASS_SYMBOL,
                                       [UTF8PROC_CATEGORY_CC] = CLASS_CONTROL,
                                       [UTF8PROC_CATEGORY_CF] = CLASS_CONTROL,
                                       [UTF8PROC_CATEGORY_CO] = CLASS_CONTROL,
                                       [UTF8PROC_CATEGORY_CS] = CLASS_CONTROL};

enum {
    C = CLASS_CONTROL,
    L = CLASS_LETTER | CLASS_LOWER,
    N = CLASS_NUMBER,
    P = CLASS_PUNCT,
    R = CLASS_NEWLINE,
    S = CLASS_SYMBOL,
    U = CLASS_LETTER | CLASS_UPPER,
    W = CLASS_SPACE
};
/* clang-format off */
const uint16_t class_of_ascii[128] = {
    C, C, C, C, C, C, C, C, C, W, W | R, W, W, W | R, C, C,
    C, C, C, C, C, C, C, C, C, C, C, C, C, C, C, C,
    W, P, P, P, S, P, P, P, P, P, P, S, P, P, P, P,
    N, N, N, N, N, N, N, N, N, N, P, P, S, S, S, P,
    P, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U,
    U, U, U, U, U, U, U, U, U, U, U, P, P, P, S, P,
    S, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    L, L, L, L, L, L, L, L, L, L, L, P, S, P, S, C};
/* clang-format on */

uint16_t class_of(uint32_t cp) {
    if (cp < 128)
        return class_of_ascii[cp];
    if (is_space(cp))
        return CLASS_SPACE;
    unsigned category = (unsigned)utf8proc_category((utf8proc_int32_t)cp);
    return category < sizeof by_category / sizeof by_category[0] ? by_category[category] : 0;
}
