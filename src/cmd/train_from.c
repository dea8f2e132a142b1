/* muga train --from: the adapter that a run begins from. */
#include "cmd/train.h"

muga_status train_from_open(const char *path, const char *base_sha256, train_from *out, muga_error *err) {
    muga_error why;
    *out = (train_from){.f = NULL};
    muga_status st = gguf_open(path, &out->f, err);
    if (st)
        return st;
    gguf_digest(out->f, out->sha256);
    st = model_adapter_check_base(out->f, base_sha256, &why);
    if (st)
        st = error_set(err, st, "the adapter %s; give that one as BASE", why.message);
    else
        st = train_adapter_start(out->f, &out->shape, err);
    return st ? error_prefix(err, st, "%.80s", path) : MUGA_OK;
}

muga_status train_from_begin(const train_from *x, const char *path, trainer *t, muga_error *err) {
    muga_status st = train_adapter_read(t, x->f, err);
    return st && st != MUGA_E_NOMEM ? error_prefix(err, st, "%.80s", path) : st;
}

void train_from_close(train_from *x) {
    gguf_close(x->f);
    x->f = NULL;
}
