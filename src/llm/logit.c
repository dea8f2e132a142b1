/* The conditional logit model (logit.h). Owns: likelihood, gradient, Newton's method. Its one idea: the Hessian is
 * never written down. Its product with a vector needs one pass over the cases, so that thousands of choices cost what
 * their scores cost.
 *
 *   theta = (weight, bias), D = n_features + n_choices numbers
 *   gradient      g = sum over i of (E_p[z] - z of the choice made) + ridge (theta - start)
 *   Hessian       H v = sum over i of Cov_p[z] v + ridge v,   z = (features, unit vector of the choice)
 */
#include "llm/logit.h"

#include "base/mem.h"
#include "kernel/kernel.h"

#include <math.h>

#define MAX_STEPS 200
#define MAX_ROUNDS 400   /* of conjugate gradients in a step */
#define MAX_HALVINGS 60  /* of a step */
#define SOLVED 1e-16     /* squared residual of a step, relative */
#define AT_MINIMUM 1e-13 /* g' H^-1 g, twice what the value can still fall by; relative to 1 + value */

typedef struct fit {
    const logit_data *d;
    double ridge;
    size_t n_theta;
    double *start, *theta, *gradient, *step, *next; /* [n_theta] */
    double *rest, *p, *q, *diagonal;                /* [n_theta], of conjugate gradients */
    double *prob;                                   /* [n][n_choices] at theta */
    double value;
} fit;

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* u[n_choices] of one case */
static void utilities(const double *theta, const double *x, size_t n_choices, size_t n_features, double *u) {
    const double *bias = theta + n_features;
    for (size_t l = 0; l < n_choices; l++)
        u[l] = dot(theta, x + l * n_features, n_features) + bias[l];
}

/* u to probabilities; returns log of the sum of exp(u). */
static double normalise(double *u, size_t n) {
    double max = u[0], sum = 0;
    for (size_t l = 1; l < n; l++)
        max = MAX(max, u[l]);
    for (size_t l = 0; l < n; l++)
        sum += u[l] = kernel_exp(u[l] - max);
    for (size_t l = 0; l < n; l++)
        u[l] /= sum;
    return max + kernel_log(sum);
}

/* The value at theta; leaves the probabilities there in f->prob. */
static double evaluate(fit *f, const double *theta) {
    const logit_data *d = f->d;
    double value = 0, far = 0;
    for (size_t i = 0; i < d->n; i++) {
        double *p = f->prob + i * d->n_choices;
        utilities(theta, d->x + i * d->n_choices * d->n_features, d->n_choices, d->n_features, p);
        double chosen = p[d->y[i]];
        value += normalise(p, d->n_choices) - chosen;
    }
    for (size_t k = 0; k < f->n_theta; k++)
        far += (theta[k] - f->start[k]) * (theta[k] - f->start[k]);
    return value + f->ridge / 2 * far;
}

/* out += sum over l of w[l] (x[l], unit l) */
static void add_choices(const logit_data *d, const double *x, const double *w, double *out) {
    for (size_t l = 0; l < d->n_choices; l++) {
        for (size_t k = 0; k < d->n_features; k++)
            out[k] += w[l] * x[l * d->n_features + k];
        out[d->n_features + l] += w[l];
    }
}

static void find_gradient(fit *f) {
    const logit_data *d = f->d;
    for (size_t k = 0; k < f->n_theta; k++)
        f->gradient[k] = f->ridge * (f->theta[k] - f->start[k]);
    for (size_t i = 0; i < d->n; i++) {
        const double *x = d->x + i * d->n_choices * d->n_features, *chosen = x + d->y[i] * d->n_features;
        add_choices(d, x, f->prob + i * d->n_choices, f->gradient);
        for (size_t k = 0; k < d->n_features; k++)
            f->gradient[k] -= chosen[k];
        f->gradient[d->n_features + d->y[i]] -= 1;
    }
}

/* The Hessian's diagonal, which scales the steps of conjugate gradients. */
static void find_diagonal(fit *f) {
    const logit_data *d = f->d;
    for (size_t k = 0; k < f->n_theta; k++)
        f->diagonal[k] = f->ridge;
    for (size_t i = 0; i < d->n; i++) {
        const double *x = d->x + i * d->n_choices * d->n_features, *p = f->prob + i * d->n_choices;
        for (size_t k = 0; k < d->n_features; k++) {
            double mean = 0, spread = 0;
            for (size_t l = 0; l < d->n_choices; l++)
                mean += p[l] * x[l * d->n_features + k];
            for (size_t l = 0; l < d->n_choices; l++)
                spread += p[l] * (x[l * d->n_features + k] - mean) * (x[l * d->n_features + k] - mean);
            f->diagonal[k] += spread;
        }
        for (size_t l = 0; l < d->n_choices; l++)
            f->diagonal[d->n_features + l] += p[l] * (1 - p[l]);
    }
}

/* out = H v. work: [n_choices] */
static void times_hessian(const fit *f, const double *v, double *work, double *out) {
    const logit_data *d = f->d;
    for (size_t k = 0; k < f->n_theta; k++)
        out[k] = f->ridge * v[k];
    for (size_t i = 0; i < d->n; i++) {
        const double *x = d->x + i * d->n_choices * d->n_features, *p = f->prob + i * d->n_choices;
        utilities(v, x, d->n_choices, d->n_features, work);
        double mean = dot(p, work, d->n_choices);
        for (size_t l = 0; l < d->n_choices; l++)
            work[l] = p[l] * (work[l] - mean);
        add_choices(d, x, work, out);
    }
}

/* H step = -gradient (Hestenes and Stiefel 1952, scaled by the diagonal). work: [n_choices] */
static void solve(fit *f, double *work) {
    size_t n = f->n_theta;
    find_diagonal(f);
    for (size_t k = 0; k < n; k++) {
        f->step[k] = 0;
        f->rest[k] = -f->gradient[k];
        f->p[k] = f->rest[k] / f->diagonal[k];
    }
    double size = dot(f->rest, f->p, n), first = size;
    for (int round = 0; round < MAX_ROUNDS && size > SOLVED * first; round++) {
        times_hessian(f, f->p, work, f->q);
        double along = size / dot(f->p, f->q, n), next = 0;
        for (size_t k = 0; k < n; k++) {
            f->step[k] += along * f->p[k];
            f->rest[k] -= along * f->q[k];
            next += f->rest[k] * f->rest[k] / f->diagonal[k];
        }
        for (size_t k = 0; k < n; k++)
            f->p[k] = f->rest[k] / f->diagonal[k] + next / size * f->p[k];
        size = next;
    }
}

/* One step down. false: theta is the minimum, as far as f64 can tell. */
static bool descend(fit *f, double *work) {
    find_gradient(f);
    solve(f, work);
    double slope = dot(f->gradient, f->step, f->n_theta); /* below 0: H is positive definite */
    if (!(-slope > AT_MINIMUM * (1 + f->value))) { /* what this last step changes is below the value's own rounding */
        for (size_t k = 0; k < f->n_theta; k++)
            f->theta[k] += f->step[k];
        return false;
    }
    double length = 1;
    for (int i = 0; i < MAX_HALVINGS; i++, length /= 2) {
        for (size_t k = 0; k < f->n_theta; k++)
            f->next[k] = f->theta[k] + length * f->step[k];
        double value = evaluate(f, f->next);
        if (value <= f->value + 1e-4 * length * slope) {
            f->value = value;
            memcpy(f->theta, f->next, f->n_theta * sizeof *f->theta);
            return true;
        }
    }
    return false; /* what is left is rounding */
}

static muga_status check(const logit_data *d, double ridge, muga_error *err) {
    size_t n;
    if (!size_mul(d->n, d->n_choices, &n) || n > LOGIT_MAX_NUMBERS)
        return error_set(err, MUGA_E_LIMIT, "%zu examples of %zu labels are more than %zu scores; give fewer examples",
                         d->n, d->n_choices, LOGIT_MAX_NUMBERS);
    if (d->n_choices == 0 || d->n_features == 0 || d->n_features > LOGIT_MAX_FEATURES || !(ridge > 0))
        return error_set(err, MUGA_E_USAGE, "%zu choices of %zu features with a ridge of %g can't be fitted",
                         d->n_choices, d->n_features, ridge);
    for (size_t i = 0; i < n * d->n_features; i++)
        if (!isfinite(d->x[i]))
            return error_set(err, MUGA_E_NONFINITE, "example %zu has a score that is not a finite number",
                             i / (d->n_choices * d->n_features));
    return MUGA_OK;
}

muga_status logit_fit(const logit_data *d, double ridge, logit *m, muga_error *err) {
    muga_status st = check(d, ridge, err);
    if (st)
        return st;
    fit f = {.d = d, .ridge = ridge, .n_theta = d->n_features + d->n_choices};
    double **const vectors[] = {&f.start, &f.theta, &f.gradient, &f.step, &f.next, &f.rest, &f.p, &f.q, &f.diagonal};
    double *all = mem_alloc_array(ARRAY_LEN(vectors) * f.n_theta + d->n_choices, sizeof *all);
    f.prob = mem_alloc_array(d->n * d->n_choices, sizeof *f.prob);
    if (!all || !f.prob) {
        st = error_nomem(err, "the fit");
        goto out;
    }
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
        *vectors[i] = all + i * f.n_theta;
    memcpy(f.start, m->weight, d->n_features * sizeof *f.start);
    memcpy(f.theta, m->weight, d->n_features * sizeof *f.theta);
    memcpy(f.theta + d->n_features, m->bias, d->n_choices * sizeof *f.theta);
    f.value = evaluate(&f, f.theta);
    int steps = 0;
    while (steps < MAX_STEPS && descend(&f, all + ARRAY_LEN(vectors) * f.n_theta))
        steps++;
    if (steps == MAX_STEPS || !isfinite(f.value)) {
        st = error_set(err, MUGA_E_INTERNAL, "the fit to %zu examples did not end after %d steps", d->n, steps);
        goto out;
    }
    memcpy(m->weight, f.theta, d->n_features * sizeof *f.theta);
    memcpy(m->bias, f.theta + d->n_features, d->n_choices * sizeof *f.theta);
out:
    free(f.prob);
    free(all);
    return st;
}

void logit_predict(const logit *m, const double *x, double *p) {
    for (size_t l = 0; l < m->n_choices; l++)
        p[l] = dot(m->weight, x + l * m->n_features, m->n_features) + (m->bias ? m->bias[l] : 0);
    normalise(p, m->n_choices);
}
