/* The manifest's `learning:` (learning.h). Owns: what its schema can't check. */
#include "agent/learning.h"

#include "agent/internal.h"

#include <stdio.h>

static muga_status check_path(const manifest *m, const char *path, const char *pointer, muga_error *err) {
    const check_place at = {"agent.yaml", m->places};
    return path[0] == '/' || strstr(path, "..")
               ? check_fail(&at, MUGA_E_INPUT, pointer, err, "the tasks must lie in the agent's folder")
               : MUGA_OK;
}

static muga_status check_paths(const manifest *m, const json_t *list, const char *key, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(list); i++) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "/learning/gate/%s/%zu", key, i);
        st = check_path(m, json_string_value(json_array_get(list, i)), pointer, err);
    }
    return st;
}

muga_status learning_read_gate(const manifest *m, learning_gate *out, muga_error *err) {
    const json_t *gate = json_object_get(m->learning, "gate");
    const gate_levels levels = GATE_LEVELS_DEFAULT;
    if (!gate) {
        const check_place at = {"agent.yaml", m->places};
        return check_fail(&at, MUGA_E_INPUT, "/learning", err,
                          "key 'gate' is missing; it names the tasks that a candidate is measured on");
    }
    *out = (learning_gate){
        .held_out = json_get_string(gate, "held_out"),
        .regression = json_object_get(gate, "regression"),
        .safety = json_object_get(gate, "safety"),
        .others = json_object_get(gate, "others"),
        .levels = {json_get_number(gate, "rise", levels.rise), json_get_number(gate, "fall", levels.fall)}};
    muga_status st = check_path(m, out->held_out, "/learning/gate/held_out", err);
    st = st == MUGA_OK ? check_paths(m, out->regression, "regression", err) : st;
    return st == MUGA_OK ? check_paths(m, out->safety, "safety", err) : st;
}
