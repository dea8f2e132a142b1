/* `muga agent test`: what agent_test.c measures and agent_test_print.c shows. */
#ifndef MUGA_CMD_AGENT_TEST_H
#define MUGA_CMD_AGENT_TEST_H

#include "base/json.h"

/* The documents are those of --json (docs/evaluation.md). */
void test_print_row(const char *who, const json_t *document);
void test_print_not_done(const json_t *document);
void test_print_numbers(const json_t *document);
/* How many tasks it handles alone, and how many of those rightly: where it is as sure as `sure`, and by shares. Nothing
 * where no expert decided. */
MUGA_MUST_USE muga_status test_print_risk(const json_t *document, double sure, muga_error *err);
void test_print_comparison(const char *a, const char *b, const json_t *comparison);
#endif
