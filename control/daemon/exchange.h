// A round of commands to workers and their answers: sent together, answered in any order, waited for with a deadline.
// Control thread, inside one transaction at a time.
#ifndef WEIR_DAEMON_EXCHANGE_H
#define WEIR_DAEMON_EXCHANGE_H

#include <stdint.h>

#include "dataplane/io/gate.h"

#define WEIR_EXCHANGE_TIMEOUT_MS 20000 // a worker that has not answered by then is taken for dead

struct weir_exchange {
	struct weir_gate *gate;
	uint64_t *request_last; // the router's
	uint64_t first; // request of the first command
	struct weir_message *commands; // [count]
	struct weir_message *answers; // [count], kind 0: not yet
	uint32_t count;
	uint32_t room;
	uint32_t answered;
};

void weir_exchange_init(struct weir_exchange *exchange, struct weir_gate *gate, uint64_t *request_last);
void weir_exchange_fini(struct weir_exchange *exchange);
// Forgets commands and answers, keeps the memory.
void weir_exchange_clear(struct weir_exchange *exchange);

// Adds a command for a worker; it is sent by weir_exchange_run(). Returns its index, or -ENOMEM (nothing was sent yet).
int weir_exchange_add(struct weir_exchange *exchange, uint16_t worker, const struct weir_message *command);

// Sends all and waits for all answers. 0: all answered with result 0. Otherwise the first negative result, with its index
// in *failed; -ETIMEDOUT: the index of one that did not answer.
int weir_exchange_run(struct weir_exchange *exchange, uint32_t *failed);

#endif
