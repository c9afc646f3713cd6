/* fair.h: how evenly a server shares what it has between tenants that want unequal amounts. Numbers only; `weir bench fair` asks. */
#ifndef WEIR_FAIR_H
#define WEIR_FAIR_H

/* What each of count tenants would get of all that was served if nobody got more than a hungrier one, and nobody more than he wanted: max-min fairness (Bertsekas and
   Gallager, Data Networks, 1992, 6.5.2). Into shares, in the unit of wanted; their sum is served, or all that was wanted if that is less. */
void fair_shares(const double *wanted, unsigned count, double served, double *shares);

/* Jain's index of got/shares: 1 when everybody got his fair share, 1/count when one got everything (Jain, Chiu, Hawe, A Quantitative Measure of Fairness, DEC-TR-301,
   1984). Who wanted nothing (a share of 0) does not count. NAN: nobody wanted anything. */
double fair_index(const double *got, const double *shares, unsigned count);

#endif
