// What weircat subscribe writes with: a thread of its own, so that an output that stands still (a terminal stopped by Ctrl-S, a
// slow program behind a pipe, a slow disk) never keeps the member from its router. Events are copied in, in batches; the
// writer says how far they were really written. Everything here but the thread itself is called by the main thread.
#ifndef WEIR_WEIRCAT_WRITER_H
#define WEIR_WEIRCAT_WRITER_H

#include "client/weircat/weircat.h"

struct cat_writer;

// keyfiles NULL: lines to `fd`. 0 or -errno.
int cat_writer_open(struct cat_writer **writer, const struct cat_options *options, struct cat_keyfiles *keyfiles, int fd);

#define CAT_SHARDS_MAX 4096 // of a topic, by the protocol
#define CAT_WRITER_EVENTS 256 // most of them at once
// How many events it takes now. 0: it is full.
int cat_writer_room(const struct cat_writer *writer);
// Copies them; at most as many as there is room for. 0 or -ENOMEM.
int cat_writer_give(struct cat_writer *writer, const struct weir_view *views, int count);
// Of what was given, the next events in order that were written or passed over; those that were passed over have term 0. 0:
// none. They are valid until the next call.
int cat_writer_take(struct cat_writer *writer, const struct weir_view **views);
// Given and not taken back yet.
uint64_t cat_writer_outstanding(const struct cat_writer *writer);
// Grows whenever the output took something.
uint64_t cat_writer_progress(const struct cat_writer *writer);
// Something could not be written: CAT_FAILED, and it was said; else 0.
int cat_writer_status(const struct cat_writer *writer);
// Until something was written, at most timeout_ms.
void cat_writer_wait(struct cat_writer *writer, int timeout_ms);
// The member's shards. Events of others that were not written yet are passed over: whoever has the shard now gets them.
void cat_writer_shards(struct cat_writer *writer, const struct weir_assignment *assignments, int count);

// false: the output has stood still for timeout_ms, and the thread with it. Then the writer lives on, and the process ends by
// _exit(). Otherwise everything was written, or a failure was said.
bool cat_writer_close(struct cat_writer *writer, int timeout_ms);

#endif
