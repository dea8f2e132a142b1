/* TLS over OpenSSL 3. Certificates come from PEM files whose errors are named; clients aren't asked for theirs. */
#include "net/server_tls.h"

#include "base/mem.h"

#include <errno.h>

#ifdef MUGA_HAVE_OPENSSL

#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define LIBRARY "libssl.so.3"

#define FUNCTIONS(X)                                                                                                   \
    X(TLS_server_method)                                                                                               \
    X(SSL_CTX_new)                                                                                                     \
    X(SSL_CTX_free)                                                                                                    \
    X(SSL_CTX_ctrl)                                                                                                    \
    X(SSL_CTX_set_options)                                                                                             \
    X(SSL_CTX_use_certificate_chain_file)                                                                              \
    X(SSL_CTX_use_PrivateKey_file)                                                                                     \
    X(SSL_CTX_check_private_key)                                                                                       \
    X(SSL_CTX_set_default_passwd_cb)                                                                                   \
    X(SSL_new)                                                                                                         \
    X(SSL_free)                                                                                                        \
    X(SSL_set_fd)                                                                                                      \
    X(SSL_set_accept_state)                                                                                            \
    X(SSL_read)                                                                                                        \
    X(SSL_write)                                                                                                       \
    X(SSL_shutdown)                                                                                                    \
    X(SSL_get_error)                                                                                                   \
    X(ERR_clear_error)                                                                                                 \
    X(ERR_get_error)                                                                                                   \
    X(ERR_reason_error_string)
#define DECLARE(f) __typeof__(f) *f;

struct tls_identity {
    SSL_CTX *context;
    FUNCTIONS(DECLARE)
};

struct tls_stream {
    const tls_identity *id;
    SSL *ssl;
    bool is_broken;
};

static muga_status load(tls_identity *t, muga_error *err) {
    /* It stays loaded: OpenSSL can't be unloaded in order. libcrypto's functions are found through it. */
    void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *lacks = NULL;
    if (!lib)
        return error_set(err, MUGA_E_ENV,
                         "TLS needs OpenSSL, and " LIBRARY " is not here; install it (Debian: "
                         "libssl3)");
#define LOAD(f)                                                                                                        \
    *(void **)&t->f = dlsym(lib, #f);                                                                                  \
    lacks = t->f ? lacks : #f;
    FUNCTIONS(LOAD)
    dlclose(lib);
    return lacks ? error_set(err, MUGA_E_ENV, "this " LIBRARY " has no %s; install OpenSSL 3", lacks) : MUGA_OK;
}

/* A key with a passphrase: nobody can be asked here. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx) {
    (void)buf, (void)size, (void)rwflag, (void)ctx;
    return -1;
}

static muga_status refuse(const tls_identity *t, const char *what, const char *path, muga_error *err) {
    const char *why = t->ERR_reason_error_string(t->ERR_get_error());
    t->ERR_clear_error();
    return error_set(err, MUGA_E_ENV, "%s '%s': %s; a PEM file without a passphrase is needed", what, path,
                     why ? why : "not read");
}

static muga_status read_files(tls_identity *t, const char *certificate, const char *key, muga_error *err) {
    t->context = t->SSL_CTX_new(t->TLS_server_method());
    if (!t->context)
        return error_nomem(err, "TLS");
    t->SSL_CTX_ctrl(t->context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    t->SSL_CTX_ctrl(t->context, SSL_CTRL_MODE,
                    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS,
                    NULL);
    t->SSL_CTX_set_options(t->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    t->SSL_CTX_set_default_passwd_cb(t->context, no_passphrase);
    if (t->SSL_CTX_use_certificate_chain_file(t->context, certificate) != 1)
        return refuse(t, "the certificate", certificate, err);
    if (t->SSL_CTX_use_PrivateKey_file(t->context, key, SSL_FILETYPE_PEM) != 1 ||
        t->SSL_CTX_check_private_key(t->context) != 1)
        return refuse(t, "the certificate's key", key, err);
    return MUGA_OK;
}

muga_status tls_identity_open(const char *certificate, const char *key, tls_identity **out, muga_error *err) {
    tls_identity *t = mem_alloc_array(1, sizeof *t);
    *out = NULL;
    if (!t)
        return error_nomem(err, "TLS");
    muga_status st = load(t, err);
    if (!st)
        st = read_files(t, certificate, key, err);
    if (st)
        tls_identity_close(t);
    else
        *out = t;
    return st;
}

void tls_identity_close(tls_identity *t) {
    if (t && t->context)
        t->SSL_CTX_free(t->context);
    free(t);
}

tls_stream *tls_accept(const tls_identity *id, int fd) {
    tls_stream *t = mem_alloc_array(1, sizeof *t);
    if (!t)
        return NULL;
    t->id = id;
    t->ssl = id->SSL_new(id->context);
    if (!t->ssl || id->SSL_set_fd(t->ssl, fd) != 1) {
        if (t->ssl)
            id->SSL_free(t->ssl);
        free(t);
        return NULL;
    }
    id->SSL_set_accept_state(t->ssl);
    return t;
}

static ssize_t judge(tls_stream *t, int n) {
    if (n > 0)
        return n;
    switch (t->id->SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL:
        t->is_broken = true;
        errno = errno && errno != EAGAIN ? errno : ECONNRESET;
        return -1;
    default:
        t->is_broken = true;
        errno = EPROTO;
        return -1;
    }
}

ssize_t tls_read(tls_stream *t, void *p, size_t n) {
    t->id->ERR_clear_error();
    errno = 0;
    return judge(t, t->id->SSL_read(t->ssl, p, (int)MIN(n, (size_t)1 << 20)));
}

ssize_t tls_write(tls_stream *t, const void *p, size_t n) {
    t->id->ERR_clear_error();
    errno = 0;
    return judge(t, t->id->SSL_write(t->ssl, p, (int)MIN(n, (size_t)1 << 20)));
}

void tls_close(tls_stream *t) {
    if (!t)
        return;
    t->id->ERR_clear_error();
    if (!t->is_broken)
        t->id->SSL_shutdown(t->ssl);
    t->id->SSL_free(t->ssl);
    t->id->ERR_clear_error();
    free(t);
}

#else /* without OpenSSL's headers */

muga_status tls_identity_open(const char *certificate, const char *key, tls_identity **out, muga_error *err) {
    (void)key;
    *out = NULL;
    return error_set(err, MUGA_E_ENV,
                     "the certificate '%s': this build is without TLS; install OpenSSL's headers "
                     "(Debian: libssl-dev) and build again",
                     certificate);
}
void tls_identity_close(tls_identity *t) {
    (void)t;
}
tls_stream *tls_accept(const tls_identity *t, int fd) {
    (void)t, (void)fd;
    return NULL;
}
ssize_t tls_read(tls_stream *t, void *p, size_t n) {
    (void)t, (void)p, (void)n;
    errno = ENOTSUP;
    return -1;
}
ssize_t tls_write(tls_stream *t, const void *p, size_t n) {
    (void)t, (void)p, (void)n;
    errno = ENOTSUP;
    return -1;
}
void tls_close(tls_stream *t) {
    (void)t;
}

#endif
