/* Modelfiles: what is read can be written, and reads back as the same; every parameter is a valid one; a refusal has
 * the line. The same bytes as a request to make a model, where they are JSON. */
#include "base/utf8.h"
#include "fuzz.h"
#include "hub/hub.h"
#include "hub/modelfile.h"

#include <ctype.h>

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static bool same_text(const char *a, const char *b) {
    return (!a || !*a) ? (!b || !*b) : b && strcmp(a, b) == 0;
}

static bool same_json(const json_t *a, const json_t *b) {
    return (!a || (json_is_array(a) && json_array_size(a) == 0)) ? !b : b && json_equal(a, b);
}

static void check_parts(const modelfile *m) {
    const char *name;
    json_t *v;
    size_t i;
    fuzz_need(m->from && *m->from && m->n_adapters <= 1);
    json_object_foreach(m->parameters, name, v) {
        fuzz_need(hub_parameter_check(name, v, NULL) == MUGA_OK);
    }
    json_array_foreach(m->messages, i, v) {
        fuzz_need(json_get_string(v, "role") && json_get_string(v, "content"));
    }
    fuzz_need(json_array_size(m->license) <= MODELFILE_MAX_LICENSES);
}

/* The stored model that would be made of it, without blobs. */
static void write_and_read(const modelfile *m) {
    hub_adapter adapter = {.sha256 = SHA, .scale = m->n_adapters ? m->adapters[0].scale : 1};
    json_t *none = json_object();
    hub_model stored = {.name = (char *)(uintptr_t) "x:latest",
                        .sha256 = SHA,
                        .adapters = &adapter,
                        .n_adapters = m->n_adapters,
                        .parameters = m->parameters ? m->parameters : none,
                        .system = m->system && *m->system ? m->system : NULL,
                        .template = m->template && *m->template ? m->template : NULL,
                        .license = m->license,
                        .messages = m->messages,
                        .requires = m->requires};
    modelfile back;
    str text = STR_INIT;
    bool whole;
    muga_error err = {0};
    modelfile_write(&stored, &text, &whole);
    fuzz_need(!text.failed);
    muga_status st = modelfile_parse(str_get(&text), text.len, "f", &back, &err);
    if (st)
        fprintf(stderr, "%s in:\n%s\n", err.message, str_get(&text));
    fuzz_need(st == MUGA_OK && strcmp(back.from, "sha256:" SHA) == 0);
    if (whole) {
        fuzz_need(same_text(m->system, back.system) && same_text(m->template, back.template));
        fuzz_need(same_text(m->requires, back.requires) && back.n_adapters == m->n_adapters);
        fuzz_need(m->n_adapters == 0 || back.adapters[0].scale == m->adapters[0].scale);
        fuzz_need(same_json(m->license, back.license) && same_json(m->messages, back.messages));
        fuzz_need(json_object_size(m->parameters) == 0 || json_equal(m->parameters, back.parameters));
    }
    modelfile_release(&back);
    str_release(&text);
    json_decref(none);
}

static void check_request(const char *text, size_t size) {
    json_t *body = NULL;
    modelfile m;
    muga_error err = {0};
    if (json_parse(text, size, "body", &body, &err))
        return;
    muga_status st = modelfile_of_json(body, &m, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_INPUT, &err);
    } else {
        check_parts(&m);
        write_and_read(&m);
    }
    modelfile_release(&m);
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    modelfile m;
    muga_error err = {0};
    char *text = fuzz_copy(data, size);
    muga_status st = modelfile_parse(text, size, "f", &m, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_INPUT, &err);
        fuzz_need(strncmp(err.message, "f:", 2) == 0 && (isdigit((unsigned char)err.message[2]) || size > 4096));
    } else {
        check_parts(&m);
        write_and_read(&m);
    }
    modelfile_release(&m);
    check_request(text, size);
    free(text);
    return 0;
}
