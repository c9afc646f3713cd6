/* inner.h: what the files of relay/ know of each other. */
#ifndef WEIR_RELAY_INNER_H
#define WEIR_RELAY_INNER_H

#include "relay/flight.h"

/* flight.c */
void flight_drop_first(struct flight *f); /* chunk */
void flight_free(struct flight *f);       /* nobody of its own worker holds it; it goes when no other does either */

/* share.c: of shared ones, but for the first */
bool flight_look_for_room(struct flight *f);
void flight_changed(struct flight *f);    /* when the turn ends its producer and other workers hear of it; nothing happens if it is not shared */
void flight_drop_late(struct flight *f);  /* whoever is far behind the fastest */
void flight_unread(struct flight *f);     /* no reader of its own worker is left: cancels its producer, unless others read it */
void flight_link_left(struct flight *f);  /* another worker reads it no more */

/* joins.c: all on the worker whose flight it is */
void join_publish(struct join *j);        /* tells the other workers how far it is */
void join_close(struct join *j);          /* takes no more readers */
MUSTUSE bool join_close_unread(struct join *j); /* the same, if no other worker reads it */
MUSTUSE bool join_free(struct join *j);   /* true: it is gone; false: another worker reads it, and flight_link_left will follow */
void join_progress(struct join *j, size_t *slowest, size_t *fastest); /* of other workers, into what is there */
void join_drop(struct join *j, size_t below); /* other workers that have read so little */

#endif
