/* JSON numbers compared and divided exactly: a number is the shortest decimal that reads back as it. */
#ifndef MUGA_CONSTRAIN_NUMBER_H
#define MUGA_CONSTRAIN_NUMBER_H

#include "base/json.h"

int number_compare(const json_t *a, const json_t *b);       /* <0, 0, >0 */
bool number_is_integer(const json_t *v);                    /* 1.0 is one */
bool number_is_multiple(const json_t *v, const json_t *of); /* of > 0 */

/* sign * digits * 10^exponent; digits without zeros at either end (0: "", exponent 0). */
typedef struct decimal {
    bool negative;
    char digits[24];
    int n, exponent;
} decimal;
void decimal_from_json(const json_t *v, decimal *out);

/* Deep equality as JSON Schema has it: 1 equals 1.0, the order of keys says nothing. */
bool json_same(const json_t *a, const json_t *b);
/* The same, with *work counted down once a value looked at; false when it is used up. */
bool json_same_within(const json_t *a, const json_t *b, uint64_t *work);
#endif
