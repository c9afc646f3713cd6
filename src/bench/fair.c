/* fair.c: max-min shares and Jain's index; see fair.h. */
#include "bench/fair.h"
#include <math.h>
#include <stdbool.h>

/* Who wants less than an equal part of what is left gets all he wants, and then the others' part is larger: at most count rounds, as each satisfies somebody. */
void fair_shares(const double *wanted, unsigned count, double served, double *shares)
{
    unsigned hungry = count;
    double left = served, level = 0;
    for (unsigned i = 0; i < count; i++)
        shares[i] = -1;
    for (bool changed = true; changed && hungry > 0;) {
        changed = false;
        level = left / hungry;
        for (unsigned i = 0; i < count; i++)
            if (shares[i] < 0 && wanted[i] <= level) {
                shares[i] = wanted[i];
                left -= wanted[i];
                hungry--;
                changed = true;
            }
    }
    for (unsigned i = 0; i < count; i++)
        if (shares[i] < 0)
            shares[i] = level;
}

double fair_index(const double *got, const double *shares, unsigned count)
{
    double sum = 0, squares = 0;
    unsigned tenants = 0;
    for (unsigned i = 0; i < count; i++) {
        if (shares[i] <= 0)
            continue;
        double x = got[i] / shares[i];
        sum += x;
        squares += x * x;
        tenants++;
    }
    return squares > 0 ? sum * sum / (tenants * squares) : NAN;
}
