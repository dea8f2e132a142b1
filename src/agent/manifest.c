/* agent.yaml as a manifest. Owns: reading, checking and freeing it. Refuses, by line: what the schema does not allow, a
 * schema that can't be enforced, a tool that could not run, a class or a feature this version does not have.
 *
 * Idea: everything that can be known before the first message is checked here (statements are prepared, expressions
 * and schemas compiled, programs hashed), so that a running agent meets only the world's faults, not its own. */
#include "agent/guard.h"
#include "agent/manifest_rules.h"
#include "agent/rules.h"

#include <stdio.h>

#define MANIFEST_FILE "agent.yaml"
#define MANIFEST_MAX_BYTES ((size_t)1 << 20)
#define TIMEOUT_MS_DEFAULT 10000
#define RESULT_BYTES_DEFAULT 16384
#define SCOPE_MARGIN_DEFAULT 4.0 /* nats: docs/guards.md has what was stopped with it */
#define STEPS_DEFAULT 8
#define TOKENS_DEFAULT 4096
#define SECONDS_DEFAULT 120
#define APPROVAL_SECONDS_DEFAULT 86400
#define REPEATS_DEFAULT 3
#define KEEP_DAYS_DEFAULT 180

typedef struct loader {
    const agent_env *env;
    manifest *m;
    check_place at;
    muga_error *err;
} loader;

static muga_status fail_at(loader *l, const char *pointer, const char *what) {
    return check_fail(&l->at, MUGA_E_INPUT, pointer, l->err, "%s", what);
}

/* Put the place before a message that a lower part has written. */
static muga_status place_at(loader *l, muga_status st, const char *pointer) {
    if (st == MUGA_OK || st == MUGA_E_NOMEM || !l->err) {
        return st;
    }
    char text[256];
    snprintf(text, sizeof text, "%s", l->err->message);
    return check_fail(&l->at, st == MUGA_E_NEGATIVE ? MUGA_E_INPUT : st, pointer, l->err, "%s", text);
}

/* ---- schemas of parameters, session and state ---- */

/* Take "from" out of the subschema, and remember that one was there. It may only stand on a property, reached through
 * properties and items: anywhere else nobody would look for it. */
static muga_status strip_from(loader *l, json_t *schema, const char *pointer, bool allowed, int depth, bool *found) {
    if (!json_is_object(schema) || depth > JSON_MAX_DEPTH) {
        return MUGA_OK;
    }
    const json_t *from = json_object_get(schema, "from");
    if (from) {
        const char *name = json_string_value(from);
        if (!name || (strcmp(name, "conversation") != 0 && strcmp(name, "tools") != 0)) {
            return fail_at(l, pointer, "from must be conversation or tools");
        }
        if (!allowed) {
            return fail_at(l, pointer, "from is enforced on properties and items only; move it there");
        }
        *found = true;
        json_object_del(schema, "from");
    }
    const char *key;
    json_t *v;
    muga_status st = MUGA_OK;
    json_object_foreach(schema, key, v) {
        if (strcmp(key, "properties") == 0 || strcmp(key, "$defs") == 0 || strcmp(key, "definitions") == 0) {
            const char *name;
            json_t *sub;
            json_object_foreach(v, name, sub) {
                st = st == MUGA_OK ? strip_from(l, sub, pointer, allowed && key[0] == 'p', depth + 1, found) : st;
            }
        } else if (json_is_array(v) && strcmp(key, "enum") != 0) {
            for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
                st = strip_from(l, json_array_get(v, i), pointer, false, depth + 1, found);
            }
        } else if (strcmp(key, "const") != 0 && strcmp(key, "default") != 0) {
            st = st == MUGA_OK ? strip_from(l, v, pointer, allowed && strcmp(key, "items") == 0, depth + 1, found) : st;
        }
    }
    return st;
}

/* Can the constraint engine enforce it? Grounded values need their sources only when a call is made. */
static muga_status check_enforceable(loader *l, const json_t *schema, const char *pointer, bool grounded_allowed) {
    json_t *plain = json_clone(schema);
    if (!plain) {
        return error_nomem(l->err, "a schema");
    }
    bool found = false;
    muga_status st = check_keywords(&l->at, schema, pointer, l->err);
    st = st == MUGA_OK ? strip_from(l, plain, pointer, true, 0, &found) : st;
    if (st == MUGA_OK && found && !grounded_allowed) {
        st = fail_at(l, pointer, "from belongs to a tool's parameters");
    }
    if (st == MUGA_OK) {
        constrain_options options = {.draft = CONSTRAIN_DRAFT_AUTO};
        constrain_grammar *g = NULL;
        st = constrain_compile_schema(plain, &options, &g, l->err);
        constrain_grammar_free(g);
        st = place_at(l, st, pointer);
    }
    json_decref(plain);
    return st;
}

/* {name: schema} as the schema of an object that has them all. `defaults` (may be NULL) receives name: default. */
static muga_status build_object_schema(loader *l, const char *section, json_t **out, json_t *defaults) {
    json_t *members = json_object_get(l->m->json, section), *properties = json_object(), *required = json_array();
    muga_status st = properties && required ? MUGA_OK : error_nomem(l->err, section);
    const char *name;
    json_t *written;
    json_object_foreach(members, name, written) {
        char pointer[256];
        json_t *schema = json_incref(written);
        snprintf(pointer, sizeof pointer, "/%s/%s", section, name);
        if (st == MUGA_OK && defaults) {
            json_decref(schema);
            st = manifest_take_scope(&l->at, l->m, name, written, &schema, l->err);
        }
        if (st == MUGA_OK && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")]) {
            st = fail_at(l, pointer, "names are small letters, digits and _");
        }
        if (st == MUGA_OK) {
            st = check_enforceable(l, schema, pointer, false);
        }
        json_t *value = json_object_get(schema, "default");
        if (st == MUGA_OK && defaults && !value) {
            st = fail_at(l, pointer, "a state needs a default to begin with");
        }
        if (st == MUGA_OK && value) {
            st = place_at(l, constrain_validate(schema, value, NULL, l->err), pointer);
        }
        if (st == MUGA_OK && (json_object_set(properties, name, schema) != 0 ||
                              json_array_append_new(required, json_string(name)) != 0 ||
                              (defaults && json_object_set(defaults, name, value) != 0))) {
            st = error_nomem(l->err, section);
        }
        json_decref(schema);
    }
    if (st == MUGA_OK) {
        *out = json_pack("{s:s, s:O, s:O, s:b}", "type", "object", "properties", properties, "required", required,
                         "additionalProperties", 0);
        st = *out ? MUGA_OK : error_nomem(l->err, section);
    }
    json_decref(properties);
    json_decref(required);
    return st;
}

/* ---- tools ---- */

static bool is_reserved(const char *name) {
    static const char *const words[] = {"answer", "ask", "escalate", "refuse", "none"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(name, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static muga_status read_approval(loader *l, manifest_tool *t, const char *pointer) {
    const json_t *approval = json_object_get(t->json, "approval");
    const char *word = json_string_value(approval);
    if (!approval) { /* the careful default */
        t->approval = t->effect == EFFECT_WRITE ? APPROVAL_ALWAYS : APPROVAL_NEVER;
    } else if (word || !json_object_get(approval, "when")) { /* {by: ...} alone: always, and by whom */
        t->approval = !word || strcmp(word, "always") == 0 ? APPROVAL_ALWAYS : APPROVAL_NEVER;
    } else {
        char where[96];
        snprintf(where, sizeof where, "%s/approval/when", pointer);
        template_expression *e = NULL;
        muga_status st = template_expression_compile(json_get_string(approval, "when"), &e, l->err);
        t->when = e;
        t->approval = APPROVAL_WHEN;
        return place_at(l, st, where);
    }
    return MUGA_OK;
}

static muga_status check_parameters(loader *l, const manifest_tool *t, const char *pointer) {
    char where[96];
    snprintf(where, sizeof where, "%s/parameters", pointer);
    const char *type = json_get_string(t->parameters, "type");
    const json_t *others = json_object_get(t->parameters, "additionalProperties");
    if (!type || strcmp(type, "object") != 0) {
        return fail_at(l, where, "must be a schema of type: object");
    }
    if (!json_is_false(others)) {
        return fail_at(l, where, "must say additionalProperties: false, so that nothing undeclared reaches the tool");
    }
    const char *name;
    json_t *v;
    json_object_foreach(json_object_get(t->parameters, "properties"), name, v) {
        if (strncmp(name, "session_", 8) == 0) {
            return fail_at(l, where, "names that begin with session_ are the session's values; take another");
        }
    }
    return check_enforceable(l, t->parameters, where, true);
}

/* Make the tool once, so that every fault of its definition shows now. */
static muga_status try_tool(loader *l, manifest_tool *t, const char *pointer, uint8_t material[SHA256_BYTES]) {
    const tool_kind *kind = t->kind;
    tool_setup setup = {
        .env = l->env, .m = l->m, .def = t, .leaves_machine = kind->leaves_machine, .untrusted = kind->untrusted};
    char where[128];
    void *tool = NULL;
    snprintf(setup.place, sizeof setup.place, "/%s", kind->keys[0].name);
    muga_status st = kind->open(&setup, &tool, l->err);
    kind->close(tool);
    t->leaves_machine = setup.leaves_machine;
    t->untrusted = setup.untrusted;
    memcpy(material, setup.material, SHA256_BYTES);
    snprintf(where, sizeof where, "%s%s", pointer, setup.place);
    return place_at(l, st, where);
}

/* The definition as written, and what else it is made of. */
static muga_status digest_tool(loader *l, manifest_tool *t, const uint8_t material[SHA256_BYTES]) {
    uint8_t parts[2][SHA256_BYTES];
    muga_status st = json_digest(t->json, parts[0], l->err);
    memcpy(parts[1], material, SHA256_BYTES);
    sha256_of(parts, sizeof parts, t->digest);
    return st;
}

static muga_status read_tool(loader *l, size_t i, manifest_tool *t) {
    char pointer[32];
    snprintf(pointer, sizeof pointer, "/tools/%zu", i);
    t->json = json_array_get(json_object_get(l->m->json, "tools"), i);
    t->line = (int)yaml_line(l->at.places, pointer);
    t->name = json_get_string(t->json, "name");
    t->description = json_get_string(t->json, "description");
    t->parameters = json_object_get(t->json, "parameters");
    t->effect = strcmp(json_get_string(t->json, "effect"), "write") == 0 ? EFFECT_WRITE : EFFECT_READ;
    t->idempotent = json_get_bool(t->json, "idempotent", false);
    t->timeout_ms = json_get_int(t->json, "timeout_ms", TIMEOUT_MS_DEFAULT);
    t->shown_bytes = (size_t)json_get_int(t->json, "max_result_bytes", RESULT_BYTES_DEFAULT);
    t->max_result_bytes = t->shown_bytes;
    const char *key = NULL;
    muga_status st = tool_kind_of(t->json, &t->kind, &key, l->err);
    if (st != MUGA_OK) {
        char where[96];
        snprintf(where, sizeof where, "%s%s%s", pointer, key ? "/" : "", key ? key : "");
        return place_at(l, st, where);
    }
    if (is_reserved(t->name)) {
        return fail_at(l, pointer, "answer, ask, escalate, refuse and none are words of the loop; take another name");
    }
    for (const manifest_tool *other = l->m->tools; other < t; other++) {
        if (strcmp(other->name, t->name) == 0) {
            return fail_at(l, pointer, "another tool has this name");
        }
    }
    uint8_t material[SHA256_BYTES];
    st = read_approval(l, t, pointer);
    if (st == MUGA_OK) {
        st = manifest_read_run(&l->at, l->m->learning, t, pointer, l->err);
    }
    if (st == MUGA_OK) {
        st = check_parameters(l, t, pointer);
    }
    if (st == MUGA_OK) {
        st = try_tool(l, t, pointer, material);
    }
    st = st == MUGA_OK ? labels_read(&l->at, t, pointer, l->err) : st;
    return st == MUGA_OK ? digest_tool(l, t, material) : st;
}

static muga_status read_tools(loader *l) {
    size_t n = json_array_size(json_object_get(l->m->json, "tools"));
    manifest_tool *tools = mem_alloc_array(n, sizeof *tools);
    if (!tools) {
        return error_nomem(l->err, "tools");
    }
    l->m->tools = tools;
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        l->m->n_tools = i + 1; /* so that what was compiled is freed */
        st = read_tool(l, i, &tools[i]);
    }
    return st;
}

/* ---- the other sections ---- */

static unsigned escalation_bits(const json_t *when) {
    static const char *const names[] = {"out_of_scope", "no_progress",   "low_margin",
                                        "limits",       "customer_asks", "tool_failed"};
    unsigned bits = when ? 0 : ESCALATE_LIMITS | ESCALATE_NO_PROGRESS | ESCALATE_TOOL_FAILED;
    for (size_t i = 0; i < json_array_size(when); i++) {
        for (size_t k = 0; k < ARRAY_LEN(names); k++) {
            if (strcmp(json_string_value(json_array_get(when, i)), names[k]) == 0) {
                bits |= 1u << k;
            }
        }
    }
    return bits;
}

static muga_status read_kind(loader *l) {
    const char *kind = json_get_string(l->m->json, "kind");
    l->m->kind = strcmp(kind, "goal") == 0    ? MANIFEST_GOAL
                 : strcmp(kind, "model") == 0 ? MANIFEST_MODEL
                                              : MANIFEST_REFLEX;
    return manifest_check_class(&l->at, l->m, l->err);
}

/* adapter: FILE, or {file, scale}; in the agent's folder, as all that belongs to it. */
static muga_status read_adapter(loader *l) {
    manifest *m = l->m;
    const json_t *v = json_object_get(m->json, "adapter");
    const char *pointer = json_is_object(v) ? "/adapter/file" : "/adapter";
    const char *name = json_is_object(v) ? json_get_string(v, "file") : json_string_value(v);
    m->adapter_scale = json_get_number(v, "scale", 1);
    if (!name) {
        return MUGA_OK;
    }
    if (name[0] == '/' || strstr(name, "..")) {
        return fail_at(l, pointer, "the adapter must lie in the agent's folder");
    }
    str path = STR_INIT;
    str_printf(&path, "%s/%s", m->dir, name);
    m->adapter = str_take(&path);
    if (!m->adapter) {
        return error_nomem(l->err, "a path");
    }
    os_stat info;
    muga_status st = l->env->files->stat(l->env->files->self, m->adapter, &info, l->err);
    if (st == MUGA_OK && info.type != OS_TYPE_FILE) {
        return fail_at(l, pointer,
                       info.type == OS_TYPE_NONE ? "the adapter is not there" : "the adapter is not a file");
    }
    return st;
}

/* learning: as the policy that consent is given to: {subject, mask, personal, public, store, keep_days}. */
static muga_status read_learning(loader *l) {
    manifest *m = l->m;
    m->learning = json_object_get(m->json, "learning");
    const char *consent = json_get_string(m->learning, "consent"), *kept = json_get_string(m->learning, "store");
    json_t *subject = json_object_get(m->learning, "subject"), *mask = json_object_get(m->learning, "mask"),
           *personal = json_object_get(m->learning, "personal"), *open = json_object_get(m->learning, "public");
    for (size_t i = 0; i < json_array_size(subject); i++) {
        const char *name = json_string_value(json_array_get(subject, i));
        if (!json_object_get(json_object_get(m->json, "session"), name)) {
            char pointer[64];
            snprintf(pointer, sizeof pointer, "/learning/subject/%zu", i);
            return check_fail(&l->at, MUGA_E_INPUT, pointer, l->err, "'%.60s' is no value of session:", name);
        }
    }
    bool never = consent ? strcmp(consent, "never") == 0 : !subject && !mask && !personal && !open && !kept;
    if (!m->learning || never) {
        return MUGA_OK;
    }
    if (!subject) {
        return fail_at(l, "/learning",
                       "key 'subject' is missing: the session values by which a person's turns are"
                       " found and dropped; or say consent: never");
    }
    m->data_policy = json_pack("{s:O, s:O*, s:O*, s:O*, s:s, s:I}", "subject", subject, "mask", mask, "personal",
                               personal, "public", open, "store", kept ? kept : "masked", "keep_days",
                               (json_int_t)json_get_int(m->learning, "keep_days", KEEP_DAYS_DEFAULT));
    return m->data_policy ? MUGA_OK : error_nomem(l->err, "a policy");
}

static muga_status read_sections(loader *l) {
    manifest *m = l->m;
    const json_t *j = m->json, *goal = json_object_get(j, "goal"), *scope = json_object_get(j, "scope"),
                 *limits = json_object_get(j, "limits"), *escalation = json_object_get(j, "escalation");
    m->name = json_get_string(j, "agent");
    m->model = json_get_string(j, "model");
    m->kv = json_get_string(j, "kv");
    m->goal_statement = json_get_string(goal, "statement");
    m->goal_target = json_get_number(goal, "target", 0);
    m->scope_domain = json_get_string(scope, "domain");
    const char *otherwise = json_get_string(scope, "otherwise");
    m->scope_otherwise = !otherwise || strcmp(otherwise, "escalate") == 0 ? OTHERWISE_ESCALATE
                         : strcmp(otherwise, "refuse") == 0               ? OTHERWISE_REFUSE
                                                                          : OTHERWISE_ASK;
    m->scope_say = json_get_string(scope, "say");
    m->scope_margin = json_get_number(scope, "margin", SCOPE_MARGIN_DEFAULT);
    m->escalation_to = json_get_string(escalation, "to");
    m->escalation_when = escalation_bits(json_object_get(escalation, "when"));
    m->max_steps = json_get_int(limits, "steps", STEPS_DEFAULT);
    m->max_tokens = json_get_int(limits, "tokens", TOKENS_DEFAULT);
    m->max_seconds = json_get_int(limits, "seconds", SECONDS_DEFAULT);
    m->max_repeats = json_get_int(limits, "repeats", REPEATS_DEFAULT);
    m->approval_ms = json_get_int(limits, "approval_seconds", APPROVAL_SECONDS_DEFAULT) * 1000;
    m->intent = json_object_get(j, "intent");
    m->examples = json_object_get(j, "examples");
    m->percept = json_object_get(j, "percept");
    const char *done = json_get_string(goal, "done");
    if (done) {
        template_expression *e = NULL;
        muga_status st = template_expression_compile(done, &e, l->err);
        m->goal_done = e;
        if (st != MUGA_OK) {
            return place_at(l, st, "/goal/done");
        }
    }
    muga_status st = guard_set_new(json_object_get(j, "guards"), &l->at, &m->guards, l->err);
    st = st == MUGA_OK ? read_adapter(l) : st;
    st = st == MUGA_OK ? read_learning(l) : st;
    return st == MUGA_OK ? read_kind(l) : st;
}

static muga_status add_hex(json_t *list, const uint8_t digest[SHA256_BYTES], muga_error *err) {
    char hex[SHA256_HEX];
    hex_write(digest, SHA256_BYTES, hex);
    return json_array_append_new(list, json_string(hex)) == 0 ? MUGA_OK : error_nomem(err, "a digest");
}

static muga_status digest_manifest(loader *l) {
    static const char *const policy_keys[] = {"agent",      "session", "guards", "scope",
                                              "escalation", "limits",  "policy", "approvals"};
    manifest *m = l->m;
    json_t *tools = json_array(), *policy = json_object(), *all = NULL;
    muga_status st = tools && policy ? MUGA_OK : error_nomem(l->err, "a digest");
    for (size_t i = 0; st == MUGA_OK && i < m->n_tools; i++) {
        st = add_hex(tools, m->tools[i].digest, l->err);
    }
    for (size_t i = 0; st == MUGA_OK && i < ARRAY_LEN(policy_keys); i++) {
        json_t *v = json_object_get(m->json, policy_keys[i]);
        st = json_object_set(policy, policy_keys[i], v ? v : json_null()) == 0 ? MUGA_OK
                                                                               : error_nomem(l->err, "a digest");
    }
    if (st == MUGA_OK) {
        all = json_pack("{s:O, s:O}", "manifest", m->json, "tools", tools);
        st = all && json_object_set(policy, "tools", tools) == 0 ? MUGA_OK : error_nomem(l->err, "a digest");
    }
    if (st == MUGA_OK) {
        st = json_digest(policy, m->policy_digest, l->err);
    }
    if (st == MUGA_OK) {
        st = json_digest(all, m->digest, l->err);
    }
    json_decref(all);
    json_decref(policy);
    json_decref(tools);
    return st;
}

/* ---- loading ---- */

static muga_status check_against_schema(loader *l) {
    str text = STR_INIT;
    json_t *schema = NULL;
    muga_status st = manifest_schema_write(&text, l->err);
    if (st == MUGA_OK) {
        st = json_parse(str_get(&text), text.len, "agent.schema.json", &schema, l->err);
    }
    str_release(&text);
    if (st == MUGA_OK) {
        st = check_schema(&l->at, schema, l->m->json, l->err);
    }
    json_decref(schema);
    return st;
}

static muga_status build(loader *l) {
    manifest *m = l->m;
    muga_status st = check_against_schema(l);
    if (st == MUGA_OK) {
        st = read_sections(l);
    }
    if (st == MUGA_OK) {
        st = build_object_schema(l, "session", &m->session_schema, NULL);
    }
    if (st == MUGA_OK) {
        st = build_object_schema(l, "state", &m->state_schema, m->state_default);
    }
    if (st == MUGA_OK) {
        st = read_tools(l);
    }
    st = st == MUGA_OK ? manifest_read_plan(m, &l->at, l->err) : st;
    if (st == MUGA_OK && m->percept) {
        st = check_enforceable(l, m->percept, "/percept", false);
    }
    if (st == MUGA_OK) {
        st = manifest_read_rules(&l->at, m, l->err);
    }
    st = st == MUGA_OK ? policy_read(l->env, m, &l->at, &m->policy, l->err) : st;
    st = st == MUGA_OK ? manifest_read_approvals(l->env, m, &l->at, l->err) : st;
    return st == MUGA_OK ? digest_manifest(l) : st;
}

muga_status manifest_load(const agent_env *env, const char *dir, const char *data_dir, manifest **out,
                          muga_error *err) {
    *out = NULL;
    str path = STR_INIT, text = STR_INIT;
    muga_error own; /* place_at reads the message, so there is always one */
    manifest *m = calloc(1, sizeof *m);
    loader l = {.env = env, .m = m, .at = {.file = MANIFEST_FILE}, .err = err ? err : &own};
    str_printf(&path, "%s/" MANIFEST_FILE, dir);
    muga_status st = m ? str_status(&path, l.err, "a path") : error_nomem(l.err, "a manifest");
    if (st == MUGA_OK) {
        m->dir = mem_copy_string(dir);
        m->data_dir = mem_copy_string(data_dir ? data_dir : dir);
        m->state_default = json_object();
        st = m->dir && m->data_dir && m->state_default ? MUGA_OK : error_nomem(l.err, "a manifest");
    }
    if (st == MUGA_OK) {
        st = os_read_file(env->files, str_get(&path), MANIFEST_MAX_BYTES, &text, l.err);
    }
    if (st == MUGA_OK) {
        st = yaml_parse_places(str_get(&text), text.len, MANIFEST_FILE, &m->json, &m->places, l.err);
        l.at.places = m->places;
    }
    if (st == MUGA_OK) {
        st = build(&l);
    }
    if (st == MUGA_OK) {
        *out = m;
    } else {
        manifest_free(m);
    }
    str_release(&text);
    str_release(&path);
    return st;
}

static void free_expression(const template_expression *e) {
    union {
        const template_expression *in;
        template_expression *out;
    } u = {e};
    template_expression_free(u.out);
}

void manifest_free(manifest *m) {
    if (!m) {
        return;
    }
    for (size_t i = 0; i < m->n_tools; i++) {
        free_expression(m->tools[i].when);
    }
    union {
        const manifest_tool *in;
        manifest_tool *out;
    } tools = {m->tools};
    free(tools.out);
    policy_free(m->policy);
    manifest_free_approvals(m);
    free_expression(m->goal_done);
    manifest_free_plan(m);
    guard_set_free(m->guards);
    json_decref(m->session_schema);
    json_decref(m->state_schema);
    json_decref(m->state_default);
    json_decref(m->data_policy);
    json_decref(m->shared);
    rules_free(m->rules);
    json_decref(m->places);
    json_decref(m->json);
    free(m->adapter);
    free(m->dir);
    free(m->data_dir);
    free(m);
}

const manifest_tool *manifest_tool_find(const manifest *m, const char *name) {
    for (size_t i = 0; i < m->n_tools; i++) {
        if (strcmp(m->tools[i].name, name) == 0) {
            return &m->tools[i];
        }
    }
    return NULL;
}
