/* Numbers are drawn in order and called in order. Owns nothing but its mutex. */
#include "engine/turns.h"

void turns_init(turns *t) {
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->next, NULL);
    t->n_asked = t->n_over = 0;
}

void turns_destroy(turns *t) {
    pthread_cond_destroy(&t->next);
    pthread_mutex_destroy(&t->lock);
}

bool turns_take(turns *t) {
    pthread_mutex_lock(&t->lock);
    uint64_t mine = t->n_asked++;
    bool waited = t->n_over != mine;
    while (t->n_over != mine)
        pthread_cond_wait(&t->next, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return waited;
}

void turns_give(turns *t) {
    pthread_mutex_lock(&t->lock);
    t->n_over++;
    if (t->n_over != t->n_asked)
        pthread_cond_broadcast(&t->next);
    pthread_mutex_unlock(&t->lock);
}

bool turns_busy(turns *t) {
    pthread_mutex_lock(&t->lock);
    bool busy = t->n_over != t->n_asked;
    pthread_mutex_unlock(&t->lock);
    return busy;
}
