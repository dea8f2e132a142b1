/* Stands in for libFuzzer where the compiler has none: runs a target over files, and over mutations of each that are
 * the same on every machine.
 *
 *     fuzz_NAME [-mutations=N] FILE-or-FOLDER...
 *
 * A target ends the process when it finds something; what it was given is then in ./fuzz-crash, to be kept as a file of
 * the corpus once the fault is mended. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_MAX_BYTES (1u << 20)

static const uint8_t *running;
static size_t running_n;

/* Only calls that a signal handler may make. */
static void keep_input(int signal_number) {
    static const char said[] = "fuzz: the input is in ./fuzz-crash\n";
    FILE *f = fopen("fuzz-crash", "wb");
    if (f) {
        fwrite(running, 1, running_n, f);
        fclose(f);
    }
    ssize_t ignored = write(2, said, sizeof said - 1);
    (void)ignored;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void run_one(const char *p, size_t n) {
    running = (const uint8_t *)p;
    running_n = n;
    (void)LLVMFuzzerTestOneInput(running, n);
}

/* One change: a byte, a piece left out or doubled, a number or bracket put in, a piece of `other` put in. */
static void mutate(rng *r, span other, str *s) {
    static const char *const words[] = {"0",   "1",    "-1", "999999999", "1e400", "{",    "}",        "[",
                                        "]",   "(",    ")",  "\"",        "\\",    "|",    "*",        "{0,9}",
                                        "?",   "^",    "$",  "[^",        "\\u",   "\xFF", "\xF0\x9F", "null",
                                        "::=", "root", "#",  "true",      "\n",    ",",    ":",        "\\b"};
    size_t at = s->len ? rng_below(r, (uint32_t)s->len) : 0,
           n = s->len ? rng_below(r, (uint32_t)MIN(s->len - at, 24)) : 0;
    str tail = STR_INIT;
    str_append(&tail, str_get(s) + at, s->len - at);
    str_truncate(s, at);
    size_t skip = 0;
    switch (rng_below(r, 5)) {
    case 0: str_append_c(s, (char)rng_below(r, 256)), skip = 1; break;
    case 1: skip = n; break;
    case 2: str_append(s, str_get(&tail), MIN(n, tail.len)); break;
    case 3: str_append_s(s, words[rng_below(r, ARRAY_LEN(words))]); break;
    default: {
        size_t from = other.n ? rng_below(r, (uint32_t)other.n) : 0;
        str_append(s, other.p + from, MIN(other.n - from, n + 1));
    }
    }
    skip = MIN(skip, tail.len);
    str_append(s, str_get(&tail) + skip, tail.len - skip);
    str_release(&tail);
}

static void run_mutations(const str *input, span other, uint32_t n) {
    rng r = {hash64(str_get(input), input->len, 1)};
    for (uint32_t i = 0; i < n; i++) {
        str s = STR_INIT;
        str_append(&s, str_get(input), input->len);
        for (uint32_t k = 1 + rng_below(&r, 4); k > 0; k--)
            mutate(&r, other, &s);
        run_one(str_get(&s), s.len);
        str_release(&s);
    }
}

static bool read_file(const char *path, str *out) {
    FILE *f = fopen(path, "rb");
    char block[4096];
    str_clear(out);
    for (size_t n; f && out->len < FUZZ_MAX_BYTES && (n = fread(block, 1, sizeof block, f)) > 0;)
        str_append(out, block, n);
    if (f)
        fclose(f);
    return f != NULL;
}

typedef struct corpus {
    char **paths;
    size_t n, cap;
} corpus;

static void add_path(corpus *c, const char *path) {
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 64;
        c->paths = mem_resize_array(c->paths, c->cap, sizeof *c->paths);
    }
    c->paths[c->n++] = mem_copy_bytes(path, strlen(path));
}

static void add_all(corpus *c, const char *path) {
    struct stat st;
    DIR *d = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    if (!d) {
        add_path(c, path);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char file[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        add_path(c, file);
    }
    closedir(d);
}

static int path_order(const void *x, const void *y) {
    return strcmp(*(char *const *)x, *(char *const *)y);
}

int main(int argc, char **argv) {
    corpus c = {0};
    uint32_t n_mutations = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-mutations=", 11) == 0)
            n_mutations = (uint32_t)strtoul(argv[i] + 11, NULL, 10);
        else if (argv[i][0] != '-') /* other options are libFuzzer's */
            add_all(&c, argv[i]);
    }
    qsort(c.paths, c.n, sizeof *c.paths, path_order);
    signal(SIGABRT, keep_input);
    signal(SIGSEGV, keep_input);
    str input = STR_INIT, other = STR_INIT;
    int missing = 0;
    for (size_t i = 0; i < c.n; i++) {
        if (!read_file(c.paths[i], &input)) {
            fprintf(stderr, "fuzz: %s can't be read\n", c.paths[i]);
            missing = 1;
            continue;
        }
        run_one(str_get(&input), input.len);
        if (n_mutations && read_file(c.paths[(i + 1) % c.n], &other))
            run_mutations(&input, span_of(str_get(&other), other.len), n_mutations);
    }
    printf("%zu inputs, %u mutations of each\n", c.n, n_mutations);
    for (size_t i = 0; i < c.n; i++)
        free(c.paths[i]);
    free(c.paths);
    str_release(&input);
    str_release(&other);
    return missing || c.n == 0;
}
