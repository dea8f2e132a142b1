/* muga train: a LoRA adapter from examples. */
#include "cmd/train.h"
#include "cmd/measuring.h"
#include "train/adapter_file.h"

#include <math.h>
#include <unistd.h>

#define MAX_BATCH 4096u

typedef struct training {
    const char *base_name, *data_path, *out;
    char *base, *checkpoint, *curve; /* paths */
    uint32_t rank, epochs, batch, group, ctx, threads, patience, keep;
    uint64_t seed, measure_every, checkpoint_every;
    float alpha, lr, held_out;
    const char *targets, *type_name, *from;
    train_from start; /* of --from */
    tensor_type type; /* of the adapter's numbers */
    bool do_resume, restart, keep_all, json;
    str text; /* of the data, until it is read */
    engine *e;
    prompter *prompts;
    dataset data;
    dataset_split split;
    os_pool *pool;
    trainer *t;
    tune_result result;
    char base_sha256[SHA256_HEX], data_sha256[SHA256_HEX], settings[240];
    int64_t now_ms;
    /* progress */
    uint64_t begun_us, n_tok, n_row, n_seen; /* n_seen: steps since it began */
    double seconds;                          /* of the steps */
    bool line_open;
} training;

static uint64_t now_us(void) {
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

static void format_time(double seconds, char out[64]) {
    uint64_t s = (uint64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 64, "%llu h %02llu min", (unsigned long long)(s / 3600), (unsigned long long)(s / 60 % 60));
    else if (s >= 60)
        snprintf(out, 64, "%llu min %02llu s", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
    else
        snprintf(out, 64, "%llu s", (unsigned long long)s);
}

/* ---- before ---- */

static muga_status check_places(training *g, muga_error *err) {
    const os_files *f = &os_system()->files;
    os_stat there;
    str s = STR_INIT;
    str_printf(&s, "%s.checkpoint", g->out);
    g->checkpoint = str_take(&s);
    str_printf(&s, "%s.csv", g->out);
    g->curve = str_take(&s);
    if (!g->checkpoint || !g->curve)
        return error_nomem(err, "the names of files");
    muga_status st = cmd_check_out(g->out, g->base, err);
    if (!st)
        st = cmd_check_out(g->out, g->data_path, err);
    if (!st)
        st = f->stat(f->self, g->checkpoint, &there, err);
    if (st)
        return st;
    bool has = there.type != OS_TYPE_NONE;
    if (has && !g->do_resume && !g->restart)
        return error_set(err, MUGA_E_USAGE,
                         "%.120s is of a run that didn't end; --resume goes on with it, --restart begins anew",
                         g->checkpoint);
    if (!has && g->do_resume)
        return error_set(err, MUGA_E_NOT_FOUND, "no checkpoint %.150s to go on from; train without --resume",
                         g->checkpoint);
    return MUGA_OK;
}

/* The date that a template may ask for is the first run's: else the same data would be other tokens tomorrow. */
static muga_status choose_date(training *g, muga_error *err) {
    const os_clock *clock = &os_system()->clock;
    g->now_ms = clock->now_ms(clock->self);
    if (!g->do_resume)
        return MUGA_OK;
    train_checkpoint c;
    muga_status st = train_checkpoint_read(&os_system()->files, g->checkpoint, &c, err);
    if (!st) {
        g->now_ms = c.now_ms;
        train_checkpoint_release(&c);
    }
    return st;
}

static muga_status read_data(training *g, muga_error *err) {
    dataset_options o = {.now_ms = g->now_ms};
    uint32_t most = engine_params(g->e)->n_ctx_train;
    if (g->ctx > most)
        return error_set(err, MUGA_E_USAGE, "--ctx is at most the %u tokens that this model was trained for", most);
    g->ctx = g->ctx ? g->ctx : MIN(most, 2048u);
    o.max_tok = g->ctx;
    muga_status st = dataset_read(g->prompts, str_get(&g->text), g->text.len, g->data_path, &o, &g->data, err);
    str_release(&g->text);
    if (!st)
        st = dataset_split_new(&g->data, (double)g->held_out, g->seed, &g->split, err);
    dataset_digest(&g->data, g->data_sha256);
    return st;
}

static muga_status make_trainer(training *g, muga_error *err) {
    train_options o = train_options_default();
    o.rank = g->rank;
    o.alpha = g->alpha > 0 ? g->alpha : 2 * (float)g->rank;
    o.targets = g->targets;
    o.seed = g->seed;
    o.lr = g->lr;
    o.n_steps = tune_steps(g->split.n_train, g->batch, g->epochs);
    o.n_warmup = MIN(o.n_warmup, MAX(o.n_steps / 10, (uint64_t)1));
    o.max_tok = MAX(o.max_tok, g->ctx);
    o.keep_bytes = g->keep_all ? UINT64_MAX : (uint64_t)g->keep << 20;
    muga_status st = os_pool_new(g->threads ? (int)g->threads : os_cpu_count(), &g->pool, err);
    o.pool = g->pool;
    if (!st)
        st = train_new(engine_model(g->e), &o, &g->t, err);
    return st || !g->from ? st : train_from_begin(&g->start, g->from, g->t, err);
}

static void say_data(const training *g) {
    const dataset *d = &g->data;
    char text[240];
    snprintf(text, sizeof text, "%u samples, %llu tokens, %llu of them answers; %u are kept aside; the longest has %u",
             d->n, (unsigned long long)d->n_tok, (unsigned long long)d->n_target, g->split.n_held, d->longest);
    cmd_say(text);
    if (d->n_answers == 1)
        cmd_say("every sample wants the same answer: a model trained on it learns to say nothing else");
    if (d->n_repeated) {
        snprintf(text, sizeof text, "%u samples are there more than once", d->n_repeated);
        cmd_say(text);
    }
    if (g->split.n_held == 0)
        cmd_say("nothing is kept aside, so nothing will tell when it begins to learn by heart; --held-out 0.05 keeps "
                "some");
}

/* Predicting a token takes about a third of learning from it. */
static muga_status say_estimate(training *g, const tune_options *o, muga_error *err) {
    train_result r;
    train_sample samples[8];
    char text[240], time[64];
    uint32_t n = MIN(g->split.n_train, (uint32_t)ARRAY_LEN(samples));
    uint64_t n_tok, n_row, left = o->n_steps - MIN(train_steps_done(g->t), o->n_steps);
    uint64_t an_epoch = tune_steps(g->split.n_train, g->batch, 1);
    muga_status st = tune_epoch(g->t, &g->data, &g->split, o, &n_tok, &n_row, err);
    for (uint32_t i = 0; i < n; i++) {
        const dataset_sample *s = &g->data.samples[g->split.train[(uint64_t)i * g->split.n_train / n]];
        samples[i] = (train_sample){.ids = s->ids, .target = s->target, .n = s->n, .id = s->line};
    }
    uint64_t begun = now_us();
    if (!st)
        st = train_loss(g->t, samples, n, NULL, &r, err);
    if (st)
        return st;
    double a_row = 3.0 * (double)(now_us() - begun) / 1e6 / (double)r.n_row;
    format_time(a_row * (double)n_row / (double)an_epoch * (double)left, time);
    snprintf(text, sizeof text,
             "a step has %llu tokens, of which it computes %llu: what samples begin with in common once",
             (unsigned long long)(n_tok / an_epoch), (unsigned long long)(n_row / an_epoch));
    cmd_say(text);
    snprintf(text, sizeof text, "%llu steps of %u samples, %llu numbers to train; about %s", (unsigned long long)left,
             g->batch, (unsigned long long)train_parameters(g->t), time);
    cmd_say(text);
    return MUGA_OK;
}

/* ---- while it runs ---- */

static bool on_step(void *ctx, const tune_progress *p) {
    training *g = ctx;
    char text[240], held[40] = "", time[64];
    double seconds = (double)(now_us() - g->begun_us) / 1e6;
    g->n_tok += p->n_tok;
    g->n_row += p->n_row;
    g->seconds = seconds;
    double left = seconds / (double)++g->n_seen * (double)(p->n_steps - p->n_done);
    format_time(left, time);
    if (!isnan(p->best_loss))
        snprintf(held, sizeof held, ", held-out %.4f", p->best_loss);
    snprintf(text, sizeof text, "step %llu of %llu: loss %.4f%s, %.0f tokens/s, %s left", (unsigned long long)p->n_done,
             (unsigned long long)p->n_steps, p->row->loss, held, seconds > 0 ? (double)g->n_tok / seconds : 0, time);
    if (cmd_is_terminal(STDERR_FILENO)) {
        fprintf(stderr, "\r%-79.79s", text);
        g->line_open = true;
    } else if (!isnan(p->row->held) || p->n_done == p->n_steps) {
        fprintf(stderr, "%s\n", text);
    }
    return !cmd_interrupted();
}

static void close_line(training *g) {
    if (g->line_open)
        fprintf(stderr, "\n");
    g->line_open = false;
}

static muga_status run_steps(training *g, muga_error *err) {
    uint64_t an_epoch = tune_steps(g->split.n_train, g->batch, 1), n_steps = an_epoch * g->epochs;
    const os_files *f = &os_system()->files;
    uint64_t every = g->measure_every ? g->measure_every : MAX(an_epoch / 4, (uint64_t)1);
    snprintf(g->settings, sizeof g->settings,
             "batch %u, group %u, seed %llu, held-out %g, measured every %llu, patience %u", g->batch, g->group,
             (unsigned long long)g->seed, (double)g->held_out, (unsigned long long)every, g->patience);
    size_t at = strlen(g->settings);
    if (g->from)
        snprintf(g->settings + at, sizeof g->settings - at, ", from %s", g->start.sha256);
    tune_options o = {.batch = g->batch,
                      .group = g->group,
                      .n_steps = n_steps,
                      .seed = g->seed,
                      .measure_every = every,
                      .checkpoint_every = g->checkpoint_every,
                      .patience = g->patience,
                      .resume = g->do_resume,
                      .checkpoint = g->checkpoint,
                      .base_sha256 = g->base_sha256,
                      .data_sha256 = g->data_sha256,
                      .settings = g->settings,
                      .now_ms = g->now_ms,
                      .files = f,
                      .on_step = on_step,
                      .ctx = g};
    muga_status st = say_estimate(g, &o, err);
    g->begun_us = now_us();
    if (!st)
        st = tune_run(g->t, &g->data, &g->split, &o, &g->result, err);
    close_line(g);
    return st;
}

/* ---- after ---- */

static muga_status keep_results(training *g, muga_error *err) {
    const os_files *f = &os_system()->files;
    os_stat there;
    muga_status st = train_curve_write(&g->result.rows, g->curve, err);
    if (!st)
        st = train_adapter_write(g->t, model_arch_name(engine_model(g->e)), g->base_sha256, g->type, f, g->out, err);
    if (!st)
        st = f->stat(f->self, g->checkpoint, &there, err);
    if (!st && there.type != OS_TYPE_NONE)
        st = f->remove(f->self, g->checkpoint, err); /* the adapter is durable: nothing is left to go on with */
    return st;
}

static muga_status run(training *g, muga_error *err) {
    engine_options settings = ENGINE_OPTIONS_DEFAULT;
    settings.n_threads = (int)g->threads;
    muga_status st = cmd_resolve(g->base_name, &g->base, err);
    if (!st)
        st = check_places(g, err);
    if (!st)
        st = choose_date(g, err);
    if (!st) /* before the model, which takes longer to open than a wrong path to notice */
        st = cmd_read_input(g->data_path, DATASET_MAX_BYTES, &g->text, err);
    if (!st)
        st = cmd_open_engine(g->base_name, true, settings, &g->e, err);
    if (!st)
        st = prompter_new(g->e, &g->prompts, err);
    if (!st)
        st = read_data(g, err);
    if (st)
        return st;
    say_data(g);
    gguf_digest(engine_file(g->e), g->base_sha256);
    if (g->from) {
        st = train_from_open(g->from, g->base_sha256, &g->start, err);
        g->rank = g->start.shape.rank;
        g->alpha = g->start.shape.alpha;
    }
    if (!st)
        st = make_trainer(g, err);
    if (!st)
        st = run_steps(g, err);
    return st ? st : keep_results(g, err);
}

static int print_text(const training *g) {
    const tune_result *r = &g->result;
    train_curve_draw(&r->rows);
    if (!isnan(r->best_loss))
        printf("held-out loss %.4f before, %.4f after step %llu%s\n", r->first_loss, r->best_loss,
               (unsigned long long)r->best_step, r->stopped_early ? "; stopped, as it rose no further" : "");
    if (r->best_step == 0)
        printf("it never fell: the adapter changes nothing\n");
    printf("%s: rank %u, %u pairs; curve in %s\n", g->out, g->rank, train_tensor_count(g->t) / 2, g->curve);
    return cmd_finish_output(0);
}

static int print_json(const training *g) {
    const tune_result *r = &g->result;
    json_t *first = isnan(r->first_loss) ? json_null() : json_real(r->first_loss);
    json_t *best = isnan(r->best_loss) ? json_null() : json_real(r->best_loss);
    double last = r->rows.n ? r->rows.at[r->rows.n - 1].loss : NAN;
    json_t *v = json_pack(
        "{s:s, s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:i, s:i, s:I, s:I, s:I, s:f, s:s, s:s}", "file", g->out, "curve",
        g->curve, "steps", (json_int_t)r->n_done, "best_step", (json_int_t)r->best_step, "stopped_early",
        r->stopped_early, "held_out_before", first, "held_out_after", best, "loss",
        isnan(last) ? json_null() : json_real(last), "samples", (int)g->split.n_train, "held_out", (int)g->split.n_held,
        "parameters", (json_int_t)train_parameters(g->t), "tokens", (json_int_t)g->n_tok, "tokens_computed",
        (json_int_t)g->n_row, "seconds", g->seconds, "base_sha256", g->base_sha256, "data_sha256", g->data_sha256);
    if (!v)
        return cmd_error(MUGA_E_NOMEM, "out of memory for the result");
    cmd_print_json(v);
    json_decref(v);
    return cmd_finish_output(0);
}

static void release(training *g) {
    train_from_close(&g->start);
    train_free(g->t);
    os_pool_free(g->pool);
    train_rows_release(&g->result.rows);
    dataset_split_release(&g->split);
    dataset_release(&g->data);
    str_release(&g->text);
    prompter_free(g->prompts);
    engine_free(g->e);
    free(g->base);
    free(g->checkpoint);
    free(g->curve);
}

static int check_options(training *g) {
    static const struct {
        const char *name;
        tensor_type type;
    } types[] = {{"F32", TENSOR_F32}, {"F16", TENSOR_F16}, {"BF16", TENSOR_BF16}};
    size_t i = 0;
    while (i < ARRAY_LEN(types) && strcmp(types[i].name, g->type_name))
        i++;
    if (i == ARRAY_LEN(types))
        return cmd_error(MUGA_E_USAGE, "--type is F32, F16 or BF16, not \"%.20s\"", g->type_name);
    g->type = types[i].type;
    if (!g->out || !hub_is_path(g->out))
        return cmd_error(MUGA_E_USAGE, "-o needs the path of a file, with '/' or ending in .gguf");
    if (!strcmp(g->data_path, "-"))
        return cmd_error(MUGA_E_USAGE, "DATA is a file: an interrupted run must be able to read it again");
    if (g->rank == 0 || g->rank > TRAIN_MAX_RANK)
        return cmd_error(MUGA_E_USAGE, "--rank is from 1 to %u, not %u", TRAIN_MAX_RANK, g->rank);
    if (g->batch == 0 || g->batch > MAX_BATCH || g->epochs == 0 || g->epochs > 10000)
        return cmd_error(MUGA_E_USAGE, "--batch is from 1 to %u, --epochs from 1 to 10000", MAX_BATCH);
    if (g->group == 0 || g->group > MAX_BATCH)
        return cmd_error(MUGA_E_USAGE, "--group is from 1 to %u", MAX_BATCH);
    if (!(g->held_out >= 0 && g->held_out < 1))
        return cmd_error(MUGA_E_USAGE, "--held-out is a share of the samples, from 0 to below 1");
    if (!(g->lr > 0) || g->alpha < 0)
        return cmd_error(MUGA_E_USAGE, "--lr and --alpha are above 0");
    if (g->threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    if (g->do_resume && g->restart)
        return cmd_error(MUGA_E_USAGE, "--resume and --restart contradict each other");
    return -1;
}

int cmd_train(int argc, char **argv) {
    training g = {.rank = 16, .epochs = 3, .batch = 16, .patience = 3, .seed = 1, .checkpoint_every = 50, .keep = 400};
    g.lr = 1e-3f;
    g.held_out = 0.05f;
    g.type_name = "F32";
    g.group = 1;
    const cmd_option options[] = {
        {"--out", 'o', CMD_STRING, &g.out, "FILE", "the adapter; whole or not there"},
        {"--from", 0, CMD_STRING, &g.from, "ADAPTER", "go on from this adapter's pairs, with its rank and alpha"},
        {"--rank", 0, CMD_U32, &g.rank, "N", "of each pair (default 16)"},
        {"--alpha", 0, CMD_F32, &g.alpha, "A", "the product's weight is A / rank (default 2 x rank)"},
        {"--targets", 0, CMD_STRING, &g.targets, "LIST", "matrices, such as attn_q,attn_v (default: all of a layer)"},
        {"--type", 0, CMD_STRING, &g.type_name, "T", "of the adapter's numbers: F32, F16 or BF16 (default F32)"},
        {"--lr", 0, CMD_F32, &g.lr, "RATE", "highest learning rate (default 0.001)"},
        {"--epochs", 0, CMD_U32, &g.epochs, "N", "times that each sample is seen (default 3)"},
        {"--batch", 0, CMD_U32, &g.batch, "N", "samples a step (default 16)"},
        {"--group", 0, CMD_U32, &g.group, "N", "neighbours in DATA that the shuffle keeps together (default 1)"},
        {"--ctx", 0, CMD_U32, &g.ctx, "N", "tokens of a sample at most (default 2048, or the model's)"},
        {"--seed", 0, CMD_U64, &g.seed, "N", "of first values, order and what is kept aside (default 1)"},
        {"--held-out", 0, CMD_F32, &g.held_out, "SHARE", "of the samples, kept aside to measure on (default 0.05)"},
        {"--measure-every", 0, CMD_U64, &g.measure_every, "N", "steps (default: a quarter of an epoch)"},
        {"--patience", 0, CMD_U32, &g.patience, "N", "stop after N measurements without a better one (3; 0 = never)"},
        {"--checkpoint-every", 0, CMD_U64, &g.checkpoint_every, "N", "steps (default 50; 0 = when interrupted)"},
        {"--resume", 0, CMD_FLAG, &g.do_resume, NULL, "go on from the checkpoint of a run that didn't end"},
        {"--restart", 0, CMD_FLAG, &g.restart, NULL, "begin anew, whatever checkpoint is there"},
        {"--keep", 0, CMD_U32, &g.keep, "MB", "of what layers compute; the rest twice; the same result (default 400)"},
        {"--keep-activations", 0, CMD_FLAG, &g.keep_all, NULL, "all of it: faster, with much more memory"},
        {"--threads", 't', CMD_U32, &g.threads, "N", "threads (default: the cores there are)"},
        {"--json", 0, CMD_FLAG, &g.json, NULL, "one JSON object"}};
    cmd_positional p = {.min = 2, .max = 2};
    int code = cmd_parse("train", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    g.base_name = p.v[0];
    g.data_path = p.v[1];
    code = check_options(&g);
    if (code >= 0)
        return code;
    muga_error err = {0};
    cmd_catch_interrupt();
    code = run(&g, &err) ? cmd_fail(&err) : g.json ? print_json(&g) : print_text(&g);
    release(&g);
    return code;
}
