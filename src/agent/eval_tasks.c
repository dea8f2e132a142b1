/* Evaluation tasks as JSON lines (eval.h). Owns: their format. Refuses: what is not in it, by line. */
#include "agent/eval_internal.h"

#include <stdio.h>

static const char task_schema[] =
    "{\"type\": \"object\", \"required\": [\"id\", \"messages\", \"expect\"], \"properties\": {"
    " \"id\": {\"type\": \"string\"}, \"now\": {\"type\": \"string\"}, \"session\": {\"type\": \"object\"},"
    " \"messages\": {\"type\": \"array\", \"minItems\": 1, \"items\": {\"anyOf\": [{\"type\": \"string\"},"
    "   {\"type\": \"object\", \"minProperties\": 1, \"additionalProperties\": false, \"properties\": {"
    "    \"percept\": {\"type\": \"object\"}, \"restart\": {\"const\": true}, \"session\": {\"type\": \"object\"},"
    "    \"after_seconds\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 1000000000}}}]}},"
    " \"approver\": {\"enum\": [\"expected\", \"deny\", \"none\"]},"
    " \"expect\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
    "   \"outcome\": {\"anyOf\": [{\"enum\": [\"answer\", \"ask\", \"escalate\", \"refuse\"]},"
    "     {\"type\": \"array\", \"items\": {\"enum\": [\"answer\", \"ask\", \"escalate\", \"refuse\"]}}]},"
    "   \"outcomes\": {\"type\": \"array\", \"items\":"
    "     {\"enum\": [\"answer\", \"ask\", \"escalate\", \"refuse\", \"held\"]}},"
    "   \"knows\": {\"type\": \"object\"},"
    "   \"calls\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": [\"tool\"],"
    "     \"properties\": {\"tool\": {\"type\": \"string\"}, \"arguments\": {\"type\": \"object\"}}}},"
    "   \"state\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"required\": [\"sql\", \"rows\"],"
    "     \"properties\": {\"sql\": {\"type\": \"string\"}, \"rows\": {\"type\": \"array\"}}}},"
    "   \"answer_has\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}}}}}";

bool eval_read_time(const char *text, int64_t *ms) {
    int y, mo, d, h = 0, mi = 0, s = 0, used = 0, oh = 0, om = 0;
    char sign = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &y, &mo, &d, &used) != 3 || mo < 1 || mo > 12 || d < 1 || d > 31 || y < 1970) {
        return false;
    }
    const char *rest = text + used;
    if (*rest && (sscanf(rest, "%*1[T ]%2d:%2d%n", &h, &mi, &used) != 2 || h > 23 || mi > 59)) {
        return false;
    }
    rest += *rest ? used : 0;
    if (*rest == ':' && sscanf(rest, ":%2d%n", &s, &used) == 1) {
        rest += used;
    }
    if (*rest == '.') {
        rest += 1 + strspn(rest + 1, "0123456789");
    }
    if (*rest && strcmp(rest, "Z") != 0 && sscanf(rest, "%c%2d:%2d", &sign, &oh, &om) != 3) {
        return false;
    }
    int64_t yy = mo <= 2 ? y - 1 : y, era = yy / 400, yoe = yy - era * 400; /* days from civil, Gregorian */
    int64_t doy = (153 * (mo + (mo > 2 ? -3 : 9)) + 2) / 5 + d - 1,
            days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    int64_t offset = (sign == '-' ? -1 : 1) * (oh * 60 + om);
    *ms = (((days * 24 + h) * 60 + mi - offset) * 60 + s) * 1000;
    return true;
}

static muga_status read_task(const json_t *schema, const char *line, size_t n, json_t *out, muga_error *err) {
    json_t *task = NULL;
    int64_t ms;
    muga_status st = json_parse(line, n, "task", &task, err);
    st = st == MUGA_OK ? constrain_validate(schema, task, NULL, err) : st;
    const char *now = json_get_string(task, "now");
    if (st == MUGA_OK && now && !eval_read_time(now, &ms)) {
        st = error_set(err, MUGA_E_INPUT, "now: \"%.40s\" is not a time such as 2026-09-14T10:30:00Z", now);
    }
    if (st == MUGA_OK && json_array_append(out, task) != 0) {
        st = error_nomem(err, "tasks");
    }
    json_decref(task);
    return st == MUGA_E_NEGATIVE ? MUGA_E_INPUT : st;
}

muga_status eval_read_tasks(const char *text, size_t n, const char *what, json_t **out, muga_error *err) {
    json_t *schema = NULL, *list = json_array();
    muga_status st = list ? json_parse(task_schema, sizeof task_schema - 1, "the task schema", &schema, err)
                          : error_nomem(err, "tasks");
    size_t i_line = 1;
    for (size_t at = 0; st == MUGA_OK && at < n; i_line++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        if (strspn(text + at, " \t\r") < len) {
            st = read_task(schema, text + at, len, list, err);
            if (st != MUGA_OK) {
                st = error_prefix(err, st, "%s:%zu", what, i_line);
            }
        }
        at += len + 1;
    }
    if (st == MUGA_OK && json_array_size(list) == 0) {
        st = error_set(err, MUGA_E_INPUT, "%s holds no task", what);
    }
    json_decref(schema);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
    }
    return st;
}
