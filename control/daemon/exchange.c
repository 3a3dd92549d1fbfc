// One round of commands and answers through the gate, see control/daemon/exchange.h. Answers are matched by their request
// number; an answer to a round that nobody keeps any more is passed over.
#include "control/daemon/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

#define WAIT_MS 100

void weir_exchange_init(struct weir_exchange *exchange, struct weir_requests *requests)
{
	*exchange = (struct weir_exchange){ .requests = requests };
}

static void forget(struct weir_exchange *exchange)
{
	for (struct weir_exchange **link = &exchange->requests->waiting; *link; link = &(*link)->next) {
		if (*link != exchange)
			continue;
		*link = exchange->next;
		break;
	}
	exchange->is_waiting = false;
}

void weir_exchange_fini(struct weir_exchange *exchange)
{
	if (exchange->is_waiting)
		forget(exchange);
	free(exchange->commands);
	free(exchange->answers);
}

void weir_exchange_clear(struct weir_exchange *exchange)
{
	if (exchange->is_waiting)
		forget(exchange);
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
	if (exchange->count == 0)
		exchange->first = exchange->requests->last + 1;
	stored = &exchange->commands[exchange->count];
	*stored = *command;
	stored->from = worker; // until it is sent: whom it is for; `worker` is an argument of some commands
	stored->request = exchange->first + exchange->count;
	exchange->requests->last = stored->request;
	exchange->answers[exchange->count].kind = 0;
	return (int)exchange->count++;
}

static void hear(struct weir_requests *requests, const struct weir_message *answer)
{
	struct weir_exchange *exchange = requests->waiting;
	uint64_t index;

	while (exchange && answer->request - exchange->first >= exchange->count)
		exchange = exchange->next;
	if (!exchange || answer->kind != WEIR_MESSAGE_DONE)
		return;
	index = answer->request - exchange->first;
	if (exchange->answers[index].kind != 0)
		return;
	exchange->answers[index] = *answer;
	if (++exchange->answered == exchange->count)
		forget(exchange);
}

void weir_exchange_send(struct weir_exchange *exchange)
{
	if (exchange->count == 0)
		return;
	exchange->next = exchange->requests->waiting;
	exchange->requests->waiting = exchange;
	exchange->is_waiting = true;
	for (uint32_t i = 0; i < exchange->count; i++) {
		struct weir_message command = exchange->commands[i];
		uint16_t worker = command.from;

		command.from = WEIR_FROM_CONTROL;
		weir_gate_send(exchange->requests->gate, worker, &command);
	}
}

bool weir_exchange_wait(struct weir_exchange *exchange, uint32_t timeout_ms)
{
	struct weir_requests *requests = exchange->requests;
	uint64_t deadline_ns = lib_deadline_in_ms((int)timeout_ms);
	struct weir_message answer;

	while (exchange->is_waiting) {
		int left_ms;

		if (weir_gate_receive(requests->gate, &answer)) {
			hear(requests, &answer);
			continue;
		}
		left_ms = lib_deadline_left_ms(deadline_ns);
		if (left_ms == 0)
			return false;
		weir_gate_wait(requests->gate, left_ms < WAIT_MS ? left_ms : WAIT_MS);
	}
	return true;
}

int weir_exchange_result(const struct weir_exchange *exchange, uint32_t *failed)
{
	for (uint32_t i = 0; i < exchange->count; i++) {
		int result = exchange->answers[i].kind ? exchange->answers[i].result : -ETIMEDOUT;

		*failed = i;
		if (result < 0)
			return result;
	}
	return 0;
}

int weir_exchange_run(struct weir_exchange *exchange, uint32_t *failed)
{
	weir_exchange_send(exchange);
	weir_exchange_wait(exchange, WEIR_EXCHANGE_TIMEOUT_MS);
	return weir_exchange_result(exchange, failed);
}
