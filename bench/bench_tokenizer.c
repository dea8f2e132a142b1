/* Tokenizers by themselves: MB/s of text to ids, muga's beside llama.cpp's. Both are linked into this one program, get
 * the same bytes in the same memory, and take turns; opening a vocabulary, starting and printing are not in the time.
 * What is timed is what a caller of either library does: one call, ids in a buffer that is there already. Neither side
 * has a memory of texts; each has met the text once before the first figure.
 *
 *   bench/tokenizer builds and runs it (with -DPEER where llama.cpp is there); for muga alone:
 *   cc -std=gnu11 -O2 -Iinclude -Isrc bench/bench_tokenizer.c build/libmuga.a -lpthread -lm -ljansson -lpcre2-8 \
 *      -lutf8proc -o bench_tokenizer
 *
 *   bench_tokenizer VOCABULARY.gguf TEXT...
 *
 * A line a text: name, bytes, ids, muga's MB/s and the peer's (medians), the median of each round's own ratio, and
 * whether the ids are the same. The peer has a limit of seconds: past it one round is all it gets. */
#include "gguf/gguf.h"
#include "model/tokenizer.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef PEER
#include "bench_tokenizer_peer.h"
#endif

enum { ROUNDS = 3 };
#define SLOW_S 2.0   /* a peer's round that takes longer is not repeated */
#define ROUND_S 0.05 /* a round repeats the call until this is over */

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, compare_doubles);
    return v[n / 2];
}

typedef struct subject {
    const tokenizer *mine;
    token_list ids;
    char *text;
    size_t n;
#ifdef PEER
    const struct llama_vocab *peer;
    int32_t *peer_ids;
    int32_t n_peer;
#endif
} subject;

static void encode_mine(subject *s) {
    muga_error err;
    s->ids.n = 0;
    if (tokenizer_encode(s->mine, s->text, s->n, (tokenizer_flags){.lossy = true}, &s->ids, &err)) {
        fprintf(stderr, "bench_tokenizer: %s\n", err.message);
        exit(1);
    }
}

#ifdef PEER
static void encode_peer(subject *s) {
    s->n_peer = peer_encode(s->peer, s->text, (int32_t)s->n, s->peer_ids, (int32_t)s->n + 16);
    if (s->n_peer < 0) {
        fprintf(stderr, "bench_tokenizer: llama.cpp gives no ids\n");
        exit(1);
    }
}
#endif

/* Seconds of a call. */
static double time_calls(subject *s, void (*encode)(subject *s)) {
    double begin = now_s(), end;
    int n = 0;
    do {
        encode(s);
        n++;
        end = now_s();
    } while (end - begin < ROUND_S);
    return (end - begin) / n;
}

static void measure(subject *s, const char *name) {
    double mine[ROUNDS], mb = (double)s->n / 1e6;
    encode_mine(s);
#ifdef PEER
    double theirs[ROUNDS], ratio[ROUNDS], first = now_s();
    encode_peer(s);
    int n = now_s() - first > SLOW_S ? 1 : ROUNDS;
    for (int i = 0; i < n; i++) {
        mine[i] = time_calls(s, encode_mine);
        theirs[i] = time_calls(s, encode_peer);
        ratio[i] = theirs[i] / mine[i];
    }
    bool same = (size_t)s->n_peer == s->ids.n &&
                (s->ids.n == 0 || memcmp(s->peer_ids, s->ids.ids, s->ids.n * sizeof *s->ids.ids) == 0);
    double mine_s = median(mine, n), theirs_s = median(theirs, n);
    printf("%s\t%zu\t%zu\t%.2f\t%.3f\t%.1f\t%s\n", name, s->n, s->ids.n, mb / mine_s, mb / theirs_s, median(ratio, n),
           same ? "same" : "differ");
#else
    for (int i = 0; i < ROUNDS; i++)
        mine[i] = time_calls(s, encode_mine);
    printf("%s\t%zu\t%zu\t%.2f\t\t\t\n", name, s->n, s->ids.n, mb / median(mine, ROUNDS));
#endif
    fflush(stdout);
}

static void read_text(subject *s, const char *path) {
    FILE *f = fopen(path, "rb");
    long n = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    free(s->text);
    s->text = n > 0 ? malloc((size_t)n) : NULL;
    if (!s->text || fseek(f, 0, SEEK_SET) || fread(s->text, 1, (size_t)n, f) != (size_t)n) {
        fprintf(stderr, "bench_tokenizer: can't read %s\n", path);
        exit(1);
    }
    s->n = (size_t)n;
    fclose(f);
#ifdef PEER
    free(s->peer_ids);
    s->peer_ids = malloc((s->n + 16) * sizeof *s->peer_ids);
    if (!s->peer_ids)
        exit(1);
#endif
}

int main(int argc, char **argv) {
    subject s = {0};
    gguf_file *file;
    tokenizer *t;
    muga_error err;
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer VOCABULARY.gguf TEXT...\n");
        return 2;
    }
    if (gguf_open(argv[1], &file, &err) || tokenizer_open(file, &t, &err)) {
        fprintf(stderr, "bench_tokenizer: %s\n", err.message);
        return 1;
    }
    s.mine = t;
#ifdef PEER
    s.peer = peer_open(argv[1]);
    if (!s.peer) {
        fprintf(stderr, "bench_tokenizer: llama.cpp can't open %s\n", argv[1]);
        return 1;
    }
#endif
    for (int i = 2; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/');
        read_text(&s, argv[i]);
        measure(&s, slash ? slash + 1 : argv[i]);
    }
    tokenizer_free(t);
    gguf_close(file);
    return 0;
}
