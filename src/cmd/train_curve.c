/* The loss curve of a training run: as CSV, and drawn on a terminal in plain characters. */
#include "cmd/train.h"

#include <math.h>

#define COLUMNS 60
#define ROWS 12

static void put_number(str *s, double v) {
    str_append_c(s, ',');
    if (!isnan(v))
        str_printf(s, "%.9g", v);
}

muga_status train_curve_write(const train_rows *rows, const char *path, muga_error *err) {
    str s = STR_INIT;
    str_append_s(&s, "step,loss,held_out_loss,learning_rate,gradient_norm\n");
    for (size_t i = 0; i < rows->n; i++) {
        const train_row *r = &rows->at[i];
        str_printf(&s, "%llu", (unsigned long long)r->step);
        put_number(&s, r->loss);
        put_number(&s, r->held);
        put_number(&s, r->step ? r->lr : NAN);
        put_number(&s, r->step ? r->grad_norm : NAN);
        str_append_c(&s, '\n');
    }
    muga_status st = str_status(&s, err, "the loss curve");
    if (!st)
        st = os_write_file_atomic(&os_system()->files, path, s.data, s.len, err);
    str_release(&s);
    return st;
}

typedef struct curve {
    double loss[COLUMNS], held[COLUMNS]; /* means of a column's rows; NaN = none */
    double most, least;
} curve;

/* The mean over the rows that fall into a column; where no value falls, NaN. */
static void gather(const train_rows *rows, curve *c) {
    uint32_t n_loss[COLUMNS] = {0}, n_held[COLUMNS] = {0};
    uint64_t last = MAX(rows->at[rows->n - 1].step, (uint64_t)1);
    for (int k = 0; k < COLUMNS; k++)
        c->loss[k] = c->held[k] = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const train_row *r = &rows->at[i];
        int k = (int)MIN(r->step * COLUMNS / (last + 1), (uint64_t)COLUMNS - 1);
        if (!isnan(r->loss)) {
            c->loss[k] += r->loss;
            n_loss[k]++;
        }
        if (!isnan(r->held)) {
            c->held[k] += r->held;
            n_held[k]++;
        }
    }
    c->most = -INFINITY;
    c->least = INFINITY;
    for (int k = 0; k < COLUMNS; k++) {
        c->loss[k] = n_loss[k] ? c->loss[k] / n_loss[k] : NAN;
        c->held[k] = n_held[k] ? c->held[k] / n_held[k] : NAN;
        c->most = fmax(c->most, fmax(c->loss[k], c->held[k]));
        c->least = fmin(c->least, fmin(c->loss[k], c->held[k]));
    }
}

static int height(const curve *c, double v) {
    if (isnan(v))
        return -1;
    double range = c->most - c->least;
    return range > 0 ? (int)((v - c->least) / range * (ROWS - 1) + 0.5) : 0;
}

void train_curve_draw(const train_rows *rows) {
    curve c;
    if (rows->n < 2)
        return;
    gather(rows, &c);
    for (int row = ROWS - 1; row >= 0; row--) {
        char line[COLUMNS + 1];
        for (int k = 0; k < COLUMNS; k++)
            line[k] = height(&c, c.held[k]) == row ? 'o' : height(&c, c.loss[k]) == row ? '.' : ' ';
        line[COLUMNS] = 0;
        if (row == ROWS - 1 || row == 0)
            printf("%8.4f |%s\n", row ? c.most : c.least, line);
        else
            printf("         |%s\n", line);
    }
    printf("         +");
    for (int k = 0; k < COLUMNS; k++)
        putchar('-');
    printf("\n          step %llu to %llu   . loss   o held-out loss\n", (unsigned long long)rows->at[0].step,
           (unsigned long long)rows->at[rows->n - 1].step);
}
