/* Rows as training data. docs/data.md.
 *
 *   chat     {"messages": [...], "tools": [...]} a line, as `muga train` reads it: of each session, every stretch of
 *            turns that were chosen and follow each other. Calls that a person corrected stand in the place of those
 *            that were made, and end the stretch, since nobody knows what they would have given.
 *   labels   {"text": message, "labels": [...]} a line, as the manifest's intent: examples are */
#ifndef MUGA_AGENT_INTERACTIONS_EXPORT_H
#define MUGA_AGENT_INTERACTIONS_EXPORT_H

#include "agent/interactions.h"

typedef enum { EXPORT_CHAT, EXPORT_LABELS } export_form;
typedef struct export_report {
    int64_t n_rows, n_lines;
    int64_t n_left_out;      /* rows that say nothing in this form: no answer, or no label */
    char sha256[SHA256_HEX]; /* of the text */
} export_report;
/* Appends the lines to `out`. m: whose rows and tools. The reading is audited as "exported" before, the text's digest
 * as "exported_text" after; `system` (NULL without) begins each chat. */
MUGA_MUST_USE muga_status interactions_export(const agent_env *env, store *s, const manifest *m,
                                              const interaction_filter *f, export_form form, const char *system,
                                              str *out, export_report *report, muga_error *err);
#endif
