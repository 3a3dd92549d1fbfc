// One round of commands and answers through the gate, see control/daemon/exchange.h. Answers are matched by their request
// number; an answer to an earlier round that was given up is passed over.
#include "control/daemon/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_MS 100

void weir_exchange_init(struct weir_exchange *exchange, struct weir_gate *gate, uint64_t *request_last)
{
	*exchange = (struct weir_exchange){ .gate = gate, .request_last = request_last };
	exchange->first = *request_last + 1;
}

void weir_exchange_fini(struct weir_exchange *exchange)
{
	free(exchange->commands);
	free(exchange->answers);
}

void weir_exchange_clear(struct weir_exchange *exchange)
{
	exchange->first = *exchange->request_last + 1;
	exchange->count = 0;
	exchange->answered = 0;
}

int weir_exchange_add(struct weir_exchange *exchange, uint16_t worker, const struct weir_message *command)
{
	struct weir_message *stored;

	if (exchange->count == exchange->room) {
		uint32_t room = exchange->room ? 2 * exchange->room : 64;
		struct weir_message *commands = realloc(exchange->commands, room * sizeof(*commands));
		struct weir_message *answers;

		if (!commands)
			return -ENOMEM;
		exchange->commands = commands;
		answers = realloc(exchange->answers, room * sizeof(*answers));
		if (!answers)
			return -ENOMEM;
		exchange->answers = answers;
		exchange->room = room;
	}
	stored = &exchange->commands[exchange->count];
	*stored = *command;
	stored->from = worker; // until it is sent: whom it is for; `worker` is an argument of some commands
	stored->request = exchange->first + exchange->count;
	*exchange->request_last = stored->request;
	exchange->answers[exchange->count].kind = 0;
	return (int)exchange->count++;
}

static uint64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void hear(struct weir_exchange *exchange, const struct weir_message *answer)
{
	uint64_t index = answer->request - exchange->first;

	if (answer->kind != WEIR_MESSAGE_DONE || answer->request < exchange->first || index >= exchange->count ||
	    exchange->answers[index].kind != 0)
		return;
	exchange->answers[index] = *answer;
	exchange->answered++;
}

int weir_exchange_run(struct weir_exchange *exchange, uint32_t *failed)
{
	uint64_t deadline = now_ms() + WEIR_EXCHANGE_TIMEOUT_MS;
	struct weir_message answer;

	for (uint32_t i = 0; i < exchange->count; i++) {
		struct weir_message command = exchange->commands[i];
		uint16_t worker = command.from;

		command.from = WEIR_FROM_CONTROL;
		weir_gate_send(exchange->gate, worker, &command);
	}
	while (exchange->answered < exchange->count && now_ms() < deadline) {
		if (weir_gate_receive(exchange->gate, &answer))
			hear(exchange, &answer);
		else
			weir_gate_wait(exchange->gate, WAIT_MS);
	}
	for (uint32_t i = 0; i < exchange->count; i++) {
		int result = exchange->answers[i].kind ? exchange->answers[i].result : -ETIMEDOUT;

		*failed = i;
		if (result < 0)
			return result;
	}
	return 0;
}
