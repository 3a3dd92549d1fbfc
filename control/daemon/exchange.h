// A round of commands to workers and their answers: sent together, answered in any order, waited for with a deadline. A
// round whose deadline passed may be kept: its answers are taken down whenever they come, also while other rounds are
// waited for. Whatever its commands point at lives until all of them are answered. Control thread.
#ifndef WEIR_DAEMON_EXCHANGE_H
#define WEIR_DAEMON_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/gate.h"

#define WEIR_EXCHANGE_TIMEOUT_MS 20000 // a worker that has not answered by then is not waited for any longer

struct weir_exchange;

// The router's side of the gate: numbers of requests, and rounds that wait for answers.
struct weir_requests {
	struct weir_gate *gate;
	uint64_t last; // number given out last
	struct weir_exchange *waiting;
};

struct weir_exchange {
	struct weir_requests *requests;
	struct weir_exchange *next; // of those that wait
	bool is_waiting;
	uint64_t first; // request of the first command
	struct weir_message *commands; // [count]
	struct weir_message *answers; // [count], kind 0: not yet
	uint32_t count;
	uint32_t room;
	uint32_t answered;
};

void weir_exchange_init(struct weir_exchange *exchange, struct weir_requests *requests);
// Answers that are still to come are passed over.
void weir_exchange_fini(struct weir_exchange *exchange);
// Forgets commands and answers, keeps the memory.
void weir_exchange_clear(struct weir_exchange *exchange);

// Adds a command for a worker; it is sent by weir_exchange_send(). Returns its index, or -ENOMEM (nothing was sent yet).
int weir_exchange_add(struct weir_exchange *exchange, uint16_t worker, const struct weir_message *command);

void weir_exchange_send(struct weir_exchange *exchange);
// Takes down what workers answer until this round is complete. false: timeout.
bool weir_exchange_wait(struct weir_exchange *exchange, uint32_t timeout_ms);
// 0: all answered with result 0. Otherwise the first negative result, with its index in *failed; -ETIMEDOUT: that one is
// not answered.
int weir_exchange_result(const struct weir_exchange *exchange, uint32_t *failed);

// The three of them, with WEIR_EXCHANGE_TIMEOUT_MS.
int weir_exchange_run(struct weir_exchange *exchange, uint32_t *failed);

#endif
